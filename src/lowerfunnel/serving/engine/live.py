"""The version that answers, with the items that came since: one object, replaced as a whole.

A place tells an item: 0..I-1 are those of the snapshot, I, I + 1, ... the fresh ones beside it. A request takes the live
version once and asks nothing else, so that every part of its answer is of one version.

Shape letters: I items of the snapshot, N fresh items, D width of the towers, E width of their vectors, P places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lowerfunnel.events.timeline import Int32Array, Int64Array
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.serving.catalogue.segment import CatalogueSegment
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import Filters, Id
from lowerfunnel.serving.service import ItemView
from lowerfunnel.serving.versions.loaded import Float32Array, LoadedVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshItems:
    """Items that were put since the snapshot, in the order in which they were last put."""

    records: Mapping[Id, ItemRecord]
    place_of: Mapping[Id, int]
    """Place of each among themselves."""
    catalogue: CatalogueSegment
    input_ND: Mapping[str, Float32Array]
    """By generator: what each item is in a history."""
    vector_NE: Mapping[str, Float32Array]
    """By generator: its served vector."""
    advertiser_A: Int32Array
    """Code that counts as the same advertiser in both segments, by the fresh segment's own code; -1 stays -1."""

    def __len__(self) -> int:
        return len(self.records)


class ItemInputs:
    """What items are in a history, by place: those of the snapshot and the fresh ones as one table of rows."""

    def __init__(self, snapshot_ID: Float32Array, fresh_ND: Float32Array) -> None:
        self._snapshot_ID, self._fresh_ND = snapshot_ID, fresh_ND
        self.shape = (len(snapshot_ID) + len(fresh_ND), snapshot_ID.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place_P: Int32Array | Int64Array) -> Float32Array:
        """Return the rows of places, [P, D]."""
        items = len(self._snapshot_ID)
        if not len(self._fresh_ND) or int(place_P.max(initial=-1)) < items:
            rows_PD: Float32Array = self._snapshot_ID[place_P]
            return rows_PD
        fresh_P = place_P >= items
        row_PD = np.empty((len(place_P), self.shape[1]), np.float32)
        row_PD[~fresh_P] = self._snapshot_ID[place_P[~fresh_P]]
        row_PD[fresh_P] = self._fresh_ND[place_P[fresh_P] - items]
        return row_PD


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveVersion:
    """A loaded version and the items beside its snapshot."""

    loaded: LoadedVersion
    fresh: FreshItems
    inputs: Mapping[str, ItemInputs]
    """By generator."""

    @classmethod
    def of(cls, loaded: LoadedVersion, fresh: FreshItems) -> "LiveVersion":
        """Put the two together."""
        inputs = {
            name: ItemInputs(generator.item_input_ID, fresh.input_ND[name])
            for name, generator in loaded.generators.items()
        }
        return cls(loaded=loaded, fresh=fresh, inputs=inputs)

    @property
    def version(self) -> str:
        """Its id."""
        return self.loaded.version

    @property
    def snapshot_items(self) -> int:
        """How many items the snapshot has, I."""
        return self.loaded.catalogue.items

    def places_of(self, item_ids: Sequence[Id], /) -> Int64Array:
        """Return the place of each item, -1 where it is not known; a fresh one stands for that of the snapshot."""
        place_P = self.loaded.catalogue.places_of(item_ids)
        if len(self.fresh):
            for position, item_id in enumerate(item_ids):
                local = self.fresh.place_of.get(item_id)
                if local is not None:
                    place_P[position] = self.snapshot_items + local
        return place_P

    def item_ids(self, place_P: Int64Array) -> list[Id]:
        """Return the ids of items."""
        found: list[Id] = [0] * len(place_P)
        for segment, row, local in self._by_segment(place_P):
            for position, item_id in zip(row.tolist(), segment.ids_of(local), strict=True):
                found[position] = item_id
        return found

    def views(self, place_P: Int64Array) -> list[ItemView]:
        """Return items as a person sees them."""
        found: dict[int, ItemView] = {}
        for segment, row, local in self._by_segment(place_P):
            found.update(zip(row.tolist(), segment.views(local), strict=True))
        return [found[position] for position in range(len(place_P))]

    def advertiser_of(self, place_P: Int64Array) -> Int32Array:
        """Return a code of each item's advertiser that is one in both segments, -1 for an item without one."""
        code_P = np.empty(len(place_P), np.int32)
        for segment, row, local in self._by_segment(place_P):
            own = segment.advertiser_of(local)
            code_P[row] = self.fresh.advertiser_A[own] if segment is self.fresh.catalogue else own
        return code_P

    def allowed(self, filters: Filters, *, excluded_P: Int64Array) -> tuple[Allowed, Allowed]:
        """Return which items of the snapshot, and which fresh ones, may come back; `excluded_P` never do.

        An item of the snapshot that was put again does not: its bit goes before this version goes live.
        """
        in_snapshot_P = excluded_P < self.snapshot_items
        of_snapshot = self.loaded.catalogue.allowed(filters, excluded=excluded_P[in_snapshot_P])
        of_fresh = self.fresh.catalogue.allowed(filters, excluded=excluded_P[~in_snapshot_P] - self.snapshot_items)
        return of_snapshot, of_fresh

    def _by_segment(self, place_P: Int64Array) -> list[tuple[CatalogueSegment, Int64Array, Int64Array]]:
        """Return, for each segment that has some of the places, their positions and places in it."""
        place_P = np.asarray(place_P, np.int64)
        fresh_P = place_P >= self.snapshot_items
        parts = []
        if not fresh_P.all():
            row = np.flatnonzero(~fresh_P)
            parts.append((self.loaded.catalogue, row, place_P[row]))
        if fresh_P.any():
            row = np.flatnonzero(fresh_P)
            parts.append((self.fresh.catalogue, row, place_P[row] - self.snapshot_items))
        return parts
