"""An answer with what a person wants to see beside it: the timeline, the items, the nearest events, what was taken out.

Shape letters: K candidates, T events of the timeline that are on known items, D width of the towers, P places.
"""

import numpy as np

from lowerfunnel.events.timeline import Float32Array, Int64Array
from lowerfunnel.serving.catalogue.explain import explain
from lowerfunnel.serving.engine.answering import Answering, Asked
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.service import Card, Inspection, Removal, TimelineEntry
from lowerfunnel.serving.user_timeline import UserTimeline

NEAREST = 3
"""Events shown beside a candidate."""

EXAMPLES = 3
"""Items shown of those that a filter took out."""


def inspect(live: LiveVersion, answering: Answering, request: CandidateRequest) -> Inspection:
    """Answer a request, and say why."""
    one = answering.prepare(live, [request])[0]
    answer, blended = answering.finish(live, one)
    timeline = _timeline(live, one.timeline)
    nearest = _nearest(live, blended.place_K, one.timeline)
    cards = tuple(
        Card(candidate=candidate, item=view, nearest=near)
        for candidate, view, near in zip(answer.candidates, live.views(blended.place_K), nearest, strict=True)
    )
    return Inspection(answer=answer, timeline=timeline, cards=cards, removed=_removed(live, answering, one))


def _timeline(live: LiveVersion, timeline: UserTimeline) -> tuple[TimelineEntry, ...]:
    """Return the events, latest first."""
    item_id = timeline.item_id
    place_T = live.places_of(item_id)
    views = iter(live.views(place_T[place_T >= 0]))
    # Every column is made of bytes when it is asked for, so each is asked for once.
    rows = zip(
        timeline.ts_us, timeline.action, item_id, timeline.surface, timeline.dwell_s, place_T.tolist(), strict=True
    )
    entries = [
        TimelineEntry(
            ts_us=ts_us,
            action=action,
            item_id=item,
            item=next(views) if place >= 0 else None,
            surface=surface,
            dwell_s=dwell_s,
        )
        for ts_us, action, item, surface, dwell_s, place in rows
    ]
    return tuple(entries[::-1])


def _nearest(live: LiveVersion, place_K: Int64Array, timeline: UserTimeline) -> list[tuple[tuple[int, float], ...]]:
    """Return, for each candidate, places in the timeline (latest first) and cosines of what the items are to the model."""
    inputs = next(iter(live.inputs.values()))
    place_E = live.places_of(timeline.item_id)
    event_T = np.flatnonzero(place_E >= 0)
    if not len(event_T) or not len(place_K):
        return [()] * len(place_K)
    place_T = place_E[event_T]
    cosine_KT = _unit(inputs[place_K]) @ _unit(inputs[place_T]).T
    latest_first_T = len(timeline) - 1 - event_T
    # An item that was met several times is shown by its latest event.
    _, first_T = np.unique(place_T[::-1], return_index=True)
    distinct_T = len(place_T) - 1 - first_T
    near = []
    for row in cosine_KT[:, distinct_T]:
        best = np.argsort(-row, kind="stable")[:NEAREST]
        near.append(tuple((int(latest_first_T[distinct_T[t]]), float(row[t])) for t in best))
    return near


def _unit(x_PD: Float32Array) -> Float32Array:
    norm_P1 = np.linalg.norm(x_PD, axis=1, keepdims=True)
    return (x_PD / np.where(norm_P1 > 0, norm_P1, 1.0)).astype(np.float32)


def _removed(live: LiveVersion, answering: Answering, one: Asked) -> tuple[Removal, ...]:
    """Return what would have come without filters and did not, by the reason."""
    place_P = answering.without_filters(live, one).place_K
    in_snapshot_P = place_P < live.snapshot_items
    reasons: dict[str, list[int]] = {}
    parts = (
        (live.loaded.catalogue, place_P[in_snapshot_P], one.excluded_P[one.excluded_P < live.snapshot_items], 0),
        (
            live.fresh.catalogue,
            place_P[~in_snapshot_P] - live.snapshot_items,
            one.excluded_P[one.excluded_P >= live.snapshot_items] - live.snapshot_items,
            live.snapshot_items,
        ),
    )
    for segment, local_P, purchased_P, first in parts:
        for reason, found_P in explain(segment, one.request.filters, local_P, purchased=purchased_P):
            reasons.setdefault(reason, []).extend((found_P + first).tolist())
    return tuple(
        Removal(reason=reason, count=len(places), examples=tuple(live.views(np.array(places[:EXAMPLES], np.int64))))
        for reason, places in reasons.items()
    )
