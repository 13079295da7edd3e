"""Requests for candidates as a run's own log would make them, and filters that let a given share of its catalogue pass.

Shape letters: I items, R requests of the log.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from load_generator.connection import LoadRequest
from lowerfunnel.events.store import EventStore

PATH = "/v1/candidates"
_CONTEXT = ("user_id", "surface", "context_item_id", "query")
_LAST_DAYS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLog:
    """What a load needs to know of the log behind a run."""

    item_id_I: list[int | str]
    advertiser_id_I: pa.StringArray
    request_R: list[dict[str, Any]]
    """`user_id`, `surface`, `context_item_id` and `query` of the requests of the log's last two days."""
    end: datetime
    """Right after the log's last event."""

    @classmethod
    def of_run(cls, run: Path) -> "RunLog":
        """Read the store of a run.

        Raises:
            RunError: If there is none.
            ValueError: If its log has no times.
        """
        store = EventStore.open(run / "store")
        if store.info.last_ts_us is None:
            raise ValueError(f"the log of {run} has no times, and requests are drawn from its last two days")
        items = pq.read_table(run / "store" / "items.parquet", columns=["item_id", "advertiser_id"])
        # The store promises microseconds; the request comes right after the last of them.
        end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=store.info.last_ts_us + 1)
        of_log = pq.read_table(
            run / "store" / "events",
            columns=["ts", "request_id", *_CONTEXT],
            filters=[("ts", ">=", end - timedelta(days=_LAST_DAYS))],
        )
        asked = of_log.filter(pc.is_valid(of_log.column("request_id")))
        first = asked.group_by("request_id", use_threads=False).aggregate([(name, "first") for name in _CONTEXT])
        rows = first.select([f"{name}_first" for name in _CONTEXT]).rename_columns(list(_CONTEXT))
        return cls(
            item_id_I=items.column("item_id").to_pylist(),
            advertiser_id_I=pa.concat_arrays(items.column("advertiser_id").chunks),
            request_R=rows.to_pylist(),
            end=end,
        )


def filters_of_share(
    log: RunLog, share: float, *, count: int, generator: np.random.Generator
) -> tuple[list[dict[str, Any]], list[float]]:
    """Return filters that allow the items of some advertisers, and the shares of the catalogue that they let pass.

    Advertisers are drawn evenly, and one that sells too many items for what is left is passed over.

    Args:
        log: Whose catalogue is meant.
        share: Wanted share, in (0, 1).
        count: Different filters.
        generator: Draws the advertisers.

    Raises:
        ValueError: If a filter cannot be brought within a tenth of the share.
    """
    counted = pc.value_counts(log.advertiser_id_I.drop_null())
    name_A, items_A = counted.field("values").to_pylist(), counted.field("counts").to_numpy()
    wanted = share * len(log.item_id_I)
    filters, shares = [], []
    for _ in range(count):
        allow, left = [], wanted
        for a in generator.permutation(len(items_A)).tolist():
            if items_A[a] <= left + 0.05 * wanted:
                allow.append(name_A[a])
                left -= int(items_A[a])
                if left <= 0.05 * wanted:
                    break
        if abs(left) > 0.1 * wanted:
            raise ValueError(f"no advertisers sell {wanted:.0f} items together, {wanted - left:.0f} at the nearest")
        filters.append({"advertisers": {"allow": allow}})
        shares.append(1 - left / wanted)
    return filters, [relative * share for relative in shares]


def candidate_requests(
    log: RunLog,
    generator: np.random.Generator,
    *,
    k: int = 100,
    known_share: float = 0.8,
    filters: Sequence[dict[str, Any]] = (),
    filtered_share: float = 1.0,
    deadline_ms: float = 50.0,
    at: datetime | None = None,
    debug_share: float = 0.0,
) -> Iterator[LoadRequest]:
    """Yield requests without end: contexts of the log's requests, most with their user, the others with one nobody knows.

    Args:
        log: What they are drawn from.
        generator: Draws them.
        k: Candidates wanted.
        known_share: Share whose user the log knows.
        filters: Filters to choose from.
        filtered_share: Share of the requests that carry one of them, if there are any.
        deadline_ms: Sent with each.
        at: The moment that each asks for; None is now.
        debug_share: Share that asks how long each stage took.

    Yields:
        Requests whose `about` is their body as a dictionary.
    """
    encoded = [json.dumps(each) for each in filters]
    stranger = 0
    while True:
        asked = log.request_R[generator.integers(len(log.request_R))]
        known, filtered, debug = generator.random(3)
        user_id = asked["user_id"]
        if known >= known_share:
            stranger += 1
            user_id = f"nobody {stranger}" if isinstance(user_id, str) else 2**62 + stranger
        body: dict[str, Any] = {
            "user_id": user_id,
            "surface": asked["surface"],
            "subject_item_id": asked["context_item_id"],
            "query": asked["query"],
        }
        body = {name: value for name, value in body.items() if value is not None}
        body |= {"k": k, "deadline_ms": deadline_ms}
        if at is not None:
            body["at"] = at.isoformat()
        if debug < debug_share:
            body["debug"] = True
        text = json.dumps(body)
        if encoded and filtered < filtered_share:
            chosen = int(generator.integers(len(encoded)))
            text = f'{text[:-1]}, "filters": {encoded[chosen]}}}'
            body["filters"] = filters[chosen]
        yield LoadRequest(PATH, text.encode(), about=body)


def allowed_items(log: RunLog, filters: dict[str, Any] | None) -> npt.NDArray[np.bool_]:
    """Return which of the I items the filters of `filters_of_share` let pass."""
    if filters is None:
        return np.ones(len(log.item_id_I), np.bool_)
    allow = pa.array(filters["advertisers"]["allow"], pa.string())
    passes: npt.NDArray[np.bool_] = pc.is_in(log.advertiser_id_I, allow).to_numpy(zero_copy_only=False)
    return passes


def fault_of_answer(asked: dict[str, Any], status: int, answer: dict[str, Any] | None) -> str | None:
    """Return what is wrong with an answer, one phrase; None for a good one. A short answer is good if it says so."""
    if status != 200 or answer is None:
        return f"status {status}"
    found, k = answer["candidates"], asked["k"]
    if len(found) > k:
        return "more candidates than asked for"
    if len(found) < k and not answer["partial"]:
        return "a short answer that does not say so"
    if len({candidate["item_id"] for candidate in found}) < len(found):
        return "an item twice"
    best: dict[str, float] = {}
    for candidate in found:
        source = candidate["sources"][0]
        if candidate["score"] > best.get(source, float("inf")):
            return f"the candidates of {source} are not sorted"
        best[source] = candidate["score"]
    if not answer["version"]:
        return "no version"
    return None
