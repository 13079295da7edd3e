"""What was answered in the last minutes, in memory: the figures behind the charts of the page.

A ring of buckets of one length in time. A bucket holds counts only, and latencies as a histogram whose cells grow by
4.4%, so that the memory does not depend on the traffic and a percentile is off by at most 2.2%. What is in the answers
is kept for the last of them only, and counted when somebody looks.
"""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from lowerfunnel.serving.requests import Candidate, CandidateAnswer

CELLS_PER_DOUBLING = 16
"""Cells of the histogram of latencies between one duration and twice of it."""
SHORTEST_S = 1e-6
"""What is shorter is counted as this."""

_Key = TypeVar("_Key", int, str)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What happened in one stretch of time."""

    ago_s: float
    """Seconds from the end of the stretch to now."""
    length_s: float
    answers: int
    p50_ms: float | None
    """Of the answers of the stretch; None without one."""
    p99_ms: float | None
    shed: int
    """Requests that were turned away as too many came."""
    partial: int
    degraded: int
    unknown_user: int
    recall: float | None
    """Mean of the recall probes; None without one."""
    items: int | None
    """Distinct items among the last answers, as last counted in the stretch; None if nobody counted."""
    advertisers: int | None
    """Distinct advertisers among the same; None also where no answer named any."""
    versions: dict[str, int]
    """Answers by version, in the order of their first answer."""

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return self.answers / self.length_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What the last answers hold, taken together."""

    answers: int
    candidates: int
    items: int
    """Distinct ones."""
    advertisers: int | None
    """Distinct ones; None if no answer named any."""


@dataclass(kw_only=True, slots=True)
class _Bucket:
    number: int = -1
    answers: int = 0
    shed: int = 0
    partial: int = 0
    degraded: int = 0
    unknown_user: int = 0
    probes: int = 0
    recall_sum: float = 0.0
    coverage: Coverage | None = None
    latency: dict[int, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


class RecentAnswers:
    """The last minutes of a server. Every method may be called from many threads.

    Args:
        span_s: How far back it remembers.
        bucket_s: The shortest stretch that it can tell apart.
        most_answers: Answers among which distinct items and advertisers are counted.
        most_candidates: The same answers hold at most so many candidates; the latest answer always counts.
        clock: Seconds that only rise.

    Raises:
        ValueError: If a length or a number is not above 0, or `span_s` is no multiple of `bucket_s`.
    """

    def __init__(
        self,
        *,
        span_s: float = 360.0,
        bucket_s: float = 2.0,
        most_answers: int = 200,
        most_candidates: int = 20_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (bucket_s > 0 and span_s > 0 and most_answers > 0 and most_candidates > 0):
            raise ValueError(
                "all of these have to be above 0: "
                f"span_s={span_s}, bucket_s={bucket_s}, most_answers={most_answers}, most_candidates={most_candidates}"
            )
        buckets = round(span_s / bucket_s)
        if not math.isclose(buckets * bucket_s, span_s):
            raise ValueError(f"the span has to be a multiple of a bucket, got span_s={span_s}, bucket_s={bucket_s}")
        self.span_s = span_s
        self.bucket_s = bucket_s
        self._clock = clock
        # One more than are shown: the last one is still being filled.
        self._ring = [_Bucket() for _ in range(buckets + 1)]
        self._last: deque[tuple[tuple[Candidate, ...], Sequence[Hashable | None] | None]] = deque()
        self._last_candidates = 0
        self._most_answers = most_answers
        self._most_candidates = most_candidates
        self._lock = threading.Lock()

    def observe(
        self, answer: CandidateAnswer, *, duration_s: float, advertisers: Sequence[Hashable | None] | None = None
    ) -> None:
        """Count an answer that was given.

        Args:
            answer: What was answered. Its candidates are kept until enough newer ones have come.
            duration_s: How long it took.
            advertisers: The advertiser of each candidate, where the caller has them at hand.
        """
        cell = math.floor(math.log2(duration_s / SHORTEST_S) * CELLS_PER_DOUBLING) if duration_s > SHORTEST_S else 0
        candidates, version = answer.candidates, answer.version
        with self._lock:
            bucket = self._bucket()
            bucket.answers += 1
            bucket.partial += answer.partial
            bucket.degraded += bool(answer.degraded)
            bucket.unknown_user += not answer.known_user
            bucket.latency[cell] = bucket.latency.get(cell, 0) + 1
            bucket.versions[version] = bucket.versions.get(version, 0) + 1
            self._last.append((candidates, advertisers))
            self._last_candidates += len(candidates)
            while len(self._last) > self._most_answers or (
                self._last_candidates > self._most_candidates and len(self._last) > 1
            ):
                self._last_candidates -= len(self._last.popleft()[0])

    def observe_shed(self) -> None:
        """Count a request that was turned away."""
        with self._lock:
            self._bucket().shed += 1

    def observe_probe(self, recall: float) -> None:
        """Count one comparison of an answer with the exact one, and what the last answers cover.

        Raises:
            ValueError: If `recall` is not from 0 to 1.
        """
        if not 0 <= recall <= 1:
            raise ValueError(f"a recall is from 0 to 1, got {recall}")
        with self._lock:
            bucket = self._bucket()
            bucket.probes += 1
            bucket.recall_sum += recall
        self.coverage()

    def coverage(self) -> Coverage:
        """Count the distinct items and advertisers among the last answers; about a millisecond."""
        with self._lock:
            last = list(self._last)
        items = {candidate.item_id for candidates, _ in last for candidate in candidates}
        named = [advertisers for _, advertisers in last if advertisers is not None]
        distinct = {advertiser for advertisers in named for advertiser in advertisers} - {None}
        counted = Coverage(
            answers=len(last),
            candidates=sum(len(candidates) for candidates, _ in last),
            items=len(items),
            advertisers=len(distinct) if named else None,
        )
        if last:
            with self._lock:
                self._bucket().coverage = counted
        return counted

    def series(self, *, step_s: float, span_s: float, window_s: float | None = None) -> list[Moment]:
        """Return the last `span_s` seconds, a moment every `step_s`, earliest first, without the unfinished bucket.

        Distinct items and advertisers are those that `coverage` counted when it was last called in a moment.

        Args:
            step_s: A multiple of `bucket_s`.
            span_s: A multiple of `step_s`.
            window_s: How far each moment looks back from its end, a multiple of `bucket_s`; None is `step_s`. A longer one
                makes moments overlap, and their figures calmer.

        Raises:
            ValueError: If it is not so, or if the first moment looks back farther than is remembered.
        """
        window_s = step_s if window_s is None else window_s
        per_step, per_window = round(step_s / self.bucket_s), round(window_s / self.bucket_s)
        steps = round(span_s / step_s) if step_s > 0 else 0
        whole = (
            math.isclose(per_step * self.bucket_s, step_s)
            and math.isclose(per_window * self.bucket_s, window_s)
            and math.isclose(steps * step_s, span_s)
        )
        reach_s = span_s - step_s + window_s
        if min(per_step, per_window, steps) < 1 or not whole or reach_s > self.span_s * (1 + 1e-9):
            raise ValueError(
                f"steps have to be whole buckets of {self.bucket_s} s and look back at most {self.span_s} s, "
                f"got step_s={step_s}, span_s={span_s}, window_s={window_s}"
            )
        # A bucket whose time is over is never written to again, so only the list of them has to be taken in one piece.
        with self._lock:
            now_s = self._clock()
            ring = list(self._ring)
        last = math.floor(now_s / self.bucket_s)
        moments = []
        for step in range(steps):
            end = last - (steps - 1 - step) * per_step
            numbers = range(end - per_window, end)
            there = [ring[n % len(ring)] for n in numbers if ring[n % len(ring)].number == n]
            moments.append(_moment(there, ago_s=now_s - end * self.bucket_s, length_s=window_s))
        return moments

    def _bucket(self) -> _Bucket:
        """Return the bucket of now, emptied if it last held another time; the lock is held."""
        number = math.floor(self._clock() / self.bucket_s)
        place = number % len(self._ring)
        bucket = self._ring[place]
        if bucket.number != number:
            bucket = self._ring[place] = _Bucket(number=number)
        return bucket


def _moment(buckets: Sequence[_Bucket], *, ago_s: float, length_s: float) -> Moment:
    latency = _added(bucket.latency for bucket in buckets)
    probes = sum(bucket.probes for bucket in buckets)
    counted = [bucket.coverage for bucket in buckets if bucket.coverage is not None]
    return Moment(
        ago_s=ago_s,
        length_s=length_s,
        answers=sum(bucket.answers for bucket in buckets),
        p50_ms=_percentile_ms(latency, 0.50),
        p99_ms=_percentile_ms(latency, 0.99),
        shed=sum(bucket.shed for bucket in buckets),
        partial=sum(bucket.partial for bucket in buckets),
        degraded=sum(bucket.degraded for bucket in buckets),
        unknown_user=sum(bucket.unknown_user for bucket in buckets),
        recall=sum(bucket.recall_sum for bucket in buckets) / probes if probes else None,
        items=counted[-1].items if counted else None,
        advertisers=counted[-1].advertisers if counted else None,
        versions=_added(bucket.versions for bucket in buckets),
    )


def _added(counts: Iterable[dict[_Key, int]]) -> dict[_Key, int]:
    total: dict[_Key, int] = {}
    for key, count in itertools.chain.from_iterable(one.items() for one in counts):
        total[key] = total.get(key, 0) + count
    return total


def _percentile_ms(latency: dict[int, int], share: float) -> float | None:
    """Return the middle (on a log scale) of the cell that holds the duration of rank ceil(share * n)."""
    rank = math.ceil(share * sum(latency.values()))
    for cell in sorted(latency):
        rank -= latency[cell]
        if rank <= 0:
            return SHORTEST_S * 1000 * math.exp2((cell + 0.5) / CELLS_PER_DOUBLING)
    return None
