"""From requests to answers, by one live version, stage by stage.

    timelines (store) -> features -> query towers -> filters -> search -> blend

Shape letters: R requests, E width of the vectors, P places.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lowerfunnel.errors import StoreError
from lowerfunnel.events.timeline import Int64Array
from lowerfunnel.index.allowed import Allowed
from lowerfunnel.retrieval.corpus import NEVER
from lowerfunnel.serving.blending.blend import Blended, blend
from lowerfunnel.serving.blending.capped import search_capped
from lowerfunnel.serving.blending.source_list import SourceList
from lowerfunnel.serving.engine.fitting import ignored_by
from lowerfunnel.serving.engine.live import LiveVersion
from lowerfunnel.serving.engine.query_towers import QueryTowers
from lowerfunnel.serving.engine.searching import Search, list_search, vector_search
from lowerfunnel.serving.engine.timelines import TimelineReader
from lowerfunnel.serving.requests import Candidate, CandidateAnswer, CandidateRequest, Filters
from lowerfunnel.serving.settings import LIST_SOURCES, EngineConfig
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.user_timeline import NOTHING, UserTimeline
from lowerfunnel.serving.versions.loaded import Float32Array

_STORE_SHARE = 0.5
"""Share of a request's deadline that the store may take."""


@dataclass(kw_only=True, slots=True)
class Asked:
    """One request on its way."""

    request: CandidateRequest
    began_s: float
    timeline: UserTimeline = NOTHING
    at_us: int = NEVER
    excluded_P: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    vectors: dict[str, Float32Array] = field(default_factory=dict)
    """By generator, [E]."""
    features: dict[str, QueryFeatures] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    plans: dict[str, str] = field(default_factory=dict)
    stage_ms: dict[str, float] = field(default_factory=dict)
    eligible: int = 0

    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.began_s + self.request.deadline_ms / 1000 - time.perf_counter()

    def stage(self, name: str, since_s: float) -> None:
        """Add the time since a moment to a stage."""
        self.stage_ms[name] = self.stage_ms.get(name, 0.0) + (time.perf_counter() - since_s) * 1000


class Answering:
    """Answers requests by a live version that is given for each call. May be called from many threads."""

    def __init__(self, reader: TimelineReader, towers: QueryTowers, config: EngineConfig) -> None:
        self._reader, self._towers = reader, towers
        self._config = config

    def prepare(self, live: LiveVersion, requests: Sequence[CandidateRequest]) -> list[Asked]:
        """Return the requests with timelines, features and query vectors.

        A store that fails or is slow leaves a request with nothing known of its user, which `degraded` says.
        """
        began_s = time.perf_counter()
        asked = [Asked(request=request, began_s=began_s) for request in requests]
        for one in asked:
            self._read_timeline(live, one)
        if not asked:
            return asked
        at_us = [one.at_us for one in asked]
        for name, generator in live.loaded.generators.items():
            if name not in self._config.blend.quotas:
                continue
            since_s = time.perf_counter()
            features = generator.features.gather(requests, [one.timeline for one in asked], at_us, live)
            for one in asked:
                one.stage("features", since_s)
            since_s = time.perf_counter()
            vector_RE = self._towers.encode(generator, live.inputs[name], features)
            for row, one in enumerate(asked):
                one.vectors[name] = vector_RE[row]
                one.features[name] = features if len(asked) == 1 else features.row(row)
                one.stage("tower", since_s)
        return asked

    def finish(self, live: LiveVersion, one: Asked) -> tuple[CandidateAnswer, Blended]:
        """Search, blend and answer one prepared request; return the answer and the places in it."""
        request = one.request
        since_s = time.perf_counter()
        allowed = live.allowed(request.filters, excluded_P=one.excluded_P)
        one.eligible = allowed[0].count + allowed[1].count
        one.stage("filter", since_s)
        since_s = time.perf_counter()
        lists = self._search(live, one, allowed)
        one.stage("search", since_s)
        since_s = time.perf_counter()
        blended = blend(
            lists,
            {name: quota for name, quota in self._config.blend.quotas.items() if name in lists},
            request.k,
            most_per_advertiser=self._most(request.filters),
            advertiser_of=live.advertiser_of,
        )
        ids = live.item_ids(blended.place_K)
        one.stage("blend", since_s)
        one.stage_ms["total"] = (time.perf_counter() - one.began_s) * 1000
        answer = CandidateAnswer(
            request_id=request.request_id,
            version=live.version,
            candidates=tuple(map(Candidate._make, zip(ids, blended.score_K.tolist(), blended.sources, strict=True))),
            partial=len(ids) < request.k,
            degraded=tuple(one.degraded),
            ignored=ignored_by(live, request, one.features),
            known_user=len(one.timeline) > 0,
            eligible_items=one.eligible,
            plans=one.plans,
            stage_ms=one.stage_ms,
        )
        return answer, blended

    def without_filters(self, live: LiveVersion, one: Asked) -> Blended:
        """Return what would have come without filters, stock and budgets: what there is to explain."""
        everything = (Allowed.everything(live.snapshot_items), Allowed.everything(len(live.fresh)))
        free = replace(one.request, filters=Filters(exclude_purchased=False))
        return blend(
            self._search(live, Asked(request=free, began_s=time.perf_counter(), vectors=one.vectors), everything),
            self._config.blend.quotas,
            free.k,
            most_per_advertiser=None,
            advertiser_of=live.advertiser_of,
        )

    def _read_timeline(self, live: LiveVersion, one: Asked) -> None:
        request, order = one.request, live.loaded.manifest.order
        since_s = time.perf_counter()
        if request.user_id is not None:
            timeout_s = min(self._config.store.timeout_ms, request.deadline_ms * _STORE_SHARE) / 1000
            # Of many requests each waits for the store in its turn, and all of them only until the deadline.
            timeout_s = min(timeout_s, one.left_s())
            try:
                if timeout_s <= 0:
                    raise StoreError("the deadline has passed before the store was asked")
                before_us = request.at_us if order == "time" else None
                one.timeline = self._reader.read(request.user_id, before_us=before_us, timeout_s=timeout_s)
            except StoreError:
                one.degraded.append("store")
        if order == "time":
            now_us = time.time_ns() // 1000
            latest_us = int(one.timeline.event_E["ts_us"][-1]) if len(one.timeline) else 0
            # What was acknowledged counts, even if the clock that stamped it is ahead of ours.
            one.at_us = max(now_us, latest_us + 1) if request.at_us is None else request.at_us
        if request.filters.exclude_purchased and len(one.timeline):
            one.excluded_P = _purchased(live, one.timeline)
        one.stage("store", since_s)

    def _search(self, live: LiveVersion, one: Asked, allowed: tuple[Allowed, Allowed]) -> Mapping[str, SourceList]:
        k = one.request.k
        lists: dict[str, SourceList] = {}
        if not allowed[0].count + allowed[1].count:
            return lists
        most = self._most(one.request.filters)
        for name in self._config.blend.quotas:
            search: Search
            if name in LIST_SOURCES:
                search = list_search(live, name, allowed)
                one.plans[name] = "list"
            elif lists and one.left_s() <= 0:
                # There is an answer already, and no time for more of it.
                if "deadline" not in one.degraded:
                    one.degraded.append("deadline")
                continue
            else:
                generator = live.loaded.generators[name]
                search = vector_search(live, generator, one.vectors[name], allowed)
                one.plans[name] = generator.index.plan(allowed[0], k).strategy
            lists[name] = search(k) if most is None else search_capped(search, k, most, live.advertiser_of)
        return lists

    def _most(self, filters: Filters) -> int | None:
        return (
            self._config.blend.most_per_advertiser
            if filters.most_per_advertiser is None
            else filters.most_per_advertiser
        )


def _purchased(live: LiveVersion, timeline: UserTimeline) -> Int64Array:
    """Return the places of the items that a user has converted on."""
    is_conversion = next(iter(live.loaded.generators.values())).is_conversion
    event_N: Int64Array = np.flatnonzero(is_conversion[timeline.event_E["action"]])
    if not len(event_N):
        return event_N
    place_P = live.places_of(list(set(timeline.items_at(event_N))))
    return place_P[place_P >= 0]
