"""How changes of the catalogue reach the live version: items put and deleted, budgets and stock.

The store numbers every change. What was made through this server is applied before the write returns; what was made
through others is found by asking the store for everything after the last number seen.

Shape letters: N fresh items, D width of the towers, E width of their vectors.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lowerfunnel.errors import DataError
from lowerfunnel.serving.catalogue.eligibility_state import EligibilityState
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.engine.live import FreshItems, LiveVersion
from lowerfunnel.serving.records import ItemChange, ItemRecord
from lowerfunnel.serving.requests import Id
from lowerfunnel.serving.store.contract import OnlineStore
from lowerfunnel.serving.versions.loaded import Float32Array, LoadedVersion

_log = logging.getLogger("lowerfunnel.serving")


class CatalogueChanges:
    """Everything that changed since the snapshots were made, and its way into a live version.

    One lock orders all changes; answers never take it.
    """

    def __init__(self, store: OnlineStore, *, most_items: int) -> None:
        self._store = store
        self._most_items = most_items
        self._lock = threading.RLock()
        self._items_seen = 0
        self._eligibility_seen = 0
        self._changed: dict[Id, ItemRecord | None] = {}
        """The latest state of each item that ever changed, in the order of the changes; None is deleted."""
        self.eligibility = EligibilityState()

    @property
    def lock(self) -> threading.RLock:
        """Held while a change is applied or a version is made live, so that none of the two misses the other."""
        return self._lock

    def catch_up(self, live: LiveVersion | None) -> LiveVersion | None:
        """Take in what the store holds beyond what was seen; return the live version with it, the same if nothing changed.

        Raises:
            StoreError: If the store does not answer; nothing is taken in then.
        """
        with self._lock:
            eligibility = self._store.eligibility_since(self._eligibility_seen)
            changes = self._store.items_since(self._items_seen)
            if eligibility:
                self.eligibility.update(
                    advertisers={c.advertiser_id: c.eligible for c in eligibility if c.advertiser_id is not None},
                    items={c.item_id: c.eligible for c in eligibility if c.item_id is not None},
                )
                self._eligibility_seen = eligibility[-1].sequence
            if not changes:
                return live
            changed = live if live is None else self._apply(live, changes)
            for change in changes:
                self._changed.pop(change.item_id, None)
                self._changed[change.item_id] = change.record
            self._items_seen = changes[-1].sequence
            return changed

    def attach(self, loaded: LoadedVersion) -> LiveVersion:
        """Bring a newly loaded version up to date: deleted items go, items that it holds otherwise or not stand beside it."""
        with self._lock:
            self.eligibility.attach(loaded.catalogue.eligibility)
            held = self._held(loaded)
            records = {
                item_id: record
                for item_id, record in self._changed.items()
                if record is not None and not same_item(held.get(item_id), record)
            }
            gone = [item_id for item_id, record in self._changed.items() if record is None or item_id in records]
            live = LiveVersion.of(loaded, self._fresh(loaded, records, None))
            _remove(loaded.catalogue, gone)
            return live

    def room_for(self, live: LiveVersion | None, item_ids: Sequence[Id]) -> bool:
        """Tell whether more fresh items may come."""
        if live is None:
            return True
        return len(set(live.fresh.records) | set(item_ids)) <= self._most_items

    def unreadable(self, loaded: LoadedVersion, records: Sequence[ItemRecord]) -> dict[int, str]:
        """Return the records that a version cannot serve, by their positions, and why: a sentence each."""
        try:
            _embedded(loaded, records)
        except DataError:
            if len(records) == 1:
                return {0: _reason(loaded, records[0])}
            # Both halves: of many records few are wrong.
            half = len(records) // 2
            late = self.unreadable(loaded, records[half:])
            return self.unreadable(loaded, records[:half]) | {half + place: reason for place, reason in late.items()}
        return {}

    def _apply(self, live: LiveVersion, changes: Sequence[ItemChange]) -> LiveVersion:
        """Return the live version with changes; the snapshot's own rows of what changed go before it is live.

        So no answer holds an item twice, or at its old price after the new one; one that is under way may lack it.
        """
        records = dict(live.fresh.records)
        for change in changes:
            records.pop(change.item_id, None)
            if change.record is not None:
                records[change.item_id] = change.record
        fresh = self._fresh(live.loaded, records, live.fresh)
        _remove(live.loaded.catalogue, [change.item_id for change in changes])
        return LiveVersion.of(live.loaded, fresh)

    def _fresh(self, loaded: LoadedVersion, records: Mapping[Id, ItemRecord], before: FreshItems | None) -> FreshItems:
        """Build the fresh items; vectors of records that stay are taken over.

        A record that this version cannot read, such as one put for a model of other vectors, is left out and told of.
        """
        new = [record for item_id, record in records.items() if before is None or before.records.get(item_id) != record]
        try:
            embedded = _embedded(loaded, new)
        except DataError:
            unreadable = {new[place].item_id for place in self.unreadable(loaded, new)}
            _log.warning(
                "%d items of the store do not fit version %s and are not served by it", len(unreadable), loaded.version
            )
            new = [record for record in new if record.item_id not in unreadable]
            records = {item_id: record for item_id, record in records.items() if item_id not in unreadable}
            embedded = _embedded(loaded, new)
        new_row = {record.item_id: row for row, record in enumerate(new)}
        # Rows of what was embedded now come behind those that were there; records say which row each one takes.
        known = {} if before is None else before.place_of
        row_N = np.array([new_row[i] + len(known) if i in new_row else known[i] for i in records], np.int64)
        input_ND, vector_NE = {}, {}
        for name, (x_MD, v_ME) in embedded.items():
            if before is not None:
                x_MD = np.concatenate([before.input_ND[name], x_MD])  # noqa: PLW2901
                v_ME = np.concatenate([before.vector_NE[name], v_ME])  # noqa: PLW2901
            input_ND[name], vector_NE[name] = x_MD[row_N], v_ME[row_N]
        catalogue = CatalogueSegment.of_records(list(records.values()), loaded.manifest.item_id_type)
        self.eligibility.attach(catalogue.eligibility)
        return FreshItems(
            records=dict(records),
            place_of={item_id: place for place, item_id in enumerate(records)},
            catalogue=catalogue,
            input_ND=input_ND,
            vector_NE=vector_NE,
            advertiser_A=catalogue.advertiser_codes_in(loaded.catalogue),
        )

    def _held(self, loaded: LoadedVersion) -> dict[Id, ItemRecord]:
        """Return how a version's snapshot holds the items that ever changed."""
        wanted = [item_id for item_id in self._changed if type(item_id) is _type_of(loaded)]
        if not wanted:
            return {}
        place_N = loaded.catalogue.places_of(wanted)
        records = loaded.records(place_N[place_N >= 0])
        return {record.item_id: record for record in records}


def _embedded(loaded: LoadedVersion, records: Sequence[ItemRecord]) -> dict[str, tuple[Float32Array, Float32Array]]:
    """Return inputs and vectors of records by generator; raises `DataError` for a record that cannot be served."""
    # Alone for its checks: the segment that is served holds other records too.
    CatalogueSegment.of_records(
        list({record.item_id: record for record in records}.values()), loaded.manifest.item_id_type
    )
    found = {}
    for name, generator in loaded.generators.items():
        input_ND, vector_NE = found[name] = generator.embedder.embed(records)
        usable_N = np.isfinite(input_ND).all(axis=1) & np.isfinite(vector_NE).all(axis=1)
        if not usable_N.all():
            record = records[int(usable_N.argmin())]
            raise DataError(
                f"item {record.item_id!r} has no finite vector by the generator {name}; send its content and visual "
                "vectors in the size of those that the model was trained on"
            )
    return found


def _reason(loaded: LoadedVersion, record: ItemRecord) -> str:
    try:
        _embedded(loaded, [record])
    except DataError as error:
        return str(error)
    return "it cannot be read together with the others of this call; send it alone"


def _type_of(loaded: LoadedVersion) -> type:
    return int if loaded.manifest.item_id_type == "int64" else str


def _remove(catalogue: CatalogueSegment, item_ids: Sequence[Id]) -> None:
    place_N = catalogue.places_of(item_ids)
    catalogue.eligibility.remove(place_N[place_N >= 0])


def same_item(held: ItemRecord | None, record: ItemRecord) -> bool:
    """Tell whether a snapshot holds an item just as it was put. Vectors are compared as float32, which it keeps."""
    if held is None or replace(held, content=None, visual=None) != replace(record, content=None, visual=None):
        return False
    return all(
        _same_vector(one, other) for one, other in ((held.content, record.content), (held.visual, record.visual))
    )


def _same_vector(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return bool(np.array_equal(np.array(one, np.float32), np.array(other, np.float32)))
