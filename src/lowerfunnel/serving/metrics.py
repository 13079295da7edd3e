"""What Prometheus reads from a server. No id of a user, item or advertiser is a label: their number has no bound."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from lowerfunnel.errors import require
from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.requests import CandidateAnswer

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Those of OpenTelemetry, and two below."""
STAGE_BUCKETS_S = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0,
)  # fmt: skip
"""From a tenth of a millisecond: a search of vectors is done before most histograms begin."""
CANDIDATE_BUCKETS = (0, 1, 10, 25, 50, 100, 200, 500, 1000)
AGE_BUCKETS_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 7 * 86400.0)


class ServerMetrics:
    """Counters and histograms of one server, in a registry of its own. Every method may be called from many threads.

    Raises:
        MissingPackageError: When made, if prometheus_client is not installed.
    """

    def __init__(self) -> None:
        client = require("prometheus_client", extra="serve")
        self._client = client
        self.registry = client.CollectorRegistry()
        prefix = {"namespace": "lowerfunnel", "registry": self.registry}
        counter, gauge, histogram = client.Counter, client.Gauge, client.Histogram

        self._requests = histogram(
            "http_request_duration_seconds", "From the first header to the last byte given to the socket.",
            ("route", "method", "status"), buckets=HTTP_BUCKETS_S, **prefix,
        )  # fmt: skip
        self._shed = counter("http_shed_total", "Requests answered with 503 at once.", ("route",), **prefix)
        self._in_hand = gauge("lane_requests", "Requests that run or wait, by lane.", ("lane",), **prefix)
        self._log_dropped = gauge("log_dropped_lines", "Lines of the log that were never written.", **prefix)

        self._answers = counter(
            "retrieval_requests_total",
            "Requests for candidates, by what came: full, partial or empty.",
            ("result",),
            **prefix,
        )
        self._degraded = counter(
            "retrieval_degraded_total", "Answers that left something out.", ("left_out",), **prefix
        )
        self._ignored = counter(
            "retrieval_ignored_total", "Answers without something that the model does not know.", ("what",), **prefix
        )
        self._partial = counter("retrieval_partial_total", "Answers with fewer candidates than wanted.", **prefix)
        self._found = histogram("retrieval_candidates", "Candidates of an answer.", buckets=CANDIDATE_BUCKETS, **prefix)
        self._plans = counter(
            "retrieval_filter_strategy_total", "How generators searched.", ("generator", "strategy"), **prefix
        )
        self._stages = histogram(
            "stage_seconds", "Time of each stage of an answer.", ("stage",), buckets=STAGE_BUCKETS_S, **prefix
        )
        self._search = histogram(
            "ann_search_seconds", "Time of the vector search of an answer.", buckets=STAGE_BUCKETS_S, **prefix
        )
        self._probe = gauge("ann_recall_probe_ratio", "Recall of the latest probe against exact search.", **prefix)
        self._probes = client.Summary(
            "ann_recall_probes", "Recall of all probes against exact search, as sum and count.", **prefix
        )

        self._events = counter(
            "ingest_events_total",
            "Events that came, by action and what became of them.",
            ("event_name", "result"),
            **prefix,
        )
        self._ages = histogram("ingest_event_age_seconds", "Age of accepted events.", buckets=AGE_BUCKETS_S, **prefix)

        self._model = gauge("model_info", "1 for the version that serves.", ("version",), **prefix)
        self._age = gauge("model_age_seconds", "Since the version that serves was set.", **prefix)
        self._items = gauge("index_items", "Items of the version that serves.", **prefix)
        self._delta = gauge("index_delta_items", "Items beside it that came or changed since.", **prefix)
        self._swaps = counter("index_swap_total", "Publications and rollbacks.", ("result",), **prefix)
        self._version: str | None = None
        # `labels` looks its child up under a lock; the hot ones are kept.
        self._request_children: dict[tuple[str, str, int], Histogram] = {}
        self._stage_children: dict[str, Histogram] = {}
        self._plan_children: dict[tuple[str, str], Counter] = {}
        self._answer_children: dict[str, Counter] = {
            result: self._answers.labels(result) for result in ("full", "partial", "empty")
        }

    def observe_request(self, *, route: str, method: str, status: int, duration_s: float) -> None:
        """Count a request over HTTP. `route` is a template, never a path that a client wrote."""
        key = (route, method, status)
        child = self._request_children.get(key)
        if child is None:
            child = self._request_children[key] = self._requests.labels(route, method, str(status))
        child.observe(duration_s)
        if status == 503:
            self._shed.labels(route).inc()

    def observe_answer(self, answer: CandidateAnswer) -> None:
        """Count an answer, its stages and how it was found."""
        found = len(answer.candidates)
        self._answer_children["empty" if found == 0 else "partial" if answer.partial else "full"].inc()
        self._found.observe(found)
        if answer.partial:
            self._partial.inc()
        for left_out in answer.degraded:
            self._degraded.labels(left_out).inc()
        for unknown in answer.ignored:
            self._ignored.labels(unknown).inc()
        for plan in answer.plans.items():
            counter = self._plan_children.get(plan)
            if counter is None:
                counter = self._plan_children[plan] = self._plans.labels(*plan)
            counter.inc()
        for stage, took_ms in answer.stage_ms.items():
            histogram = self._stage_children.get(stage)
            if histogram is None:
                histogram = self._stage_children[stage] = self._stages.labels(stage)
            histogram.observe(took_ms / 1000)
            if stage == "search":
                self._search.observe(took_ms / 1000)

    def observe_probe(self, recall: float) -> None:
        """Note the recall, 0 to 1, of one answer's search against exact search."""
        self._probe.set(recall)
        self._probes.observe(recall)

    def observe_swap(self, result: Literal["published", "rolled_back", "refused"]) -> None:
        """Count a change of the version that serves, or one that was refused."""
        self._swaps.labels(result).inc()

    def observe_events(self, events: Sequence[tuple[str | None, str, float | None]]) -> None:
        """Count events: the action of each, what became of it, and its age in seconds where it was accepted."""
        for action, result, age_s in events:
            self._events.labels(action if action in ACTIONS else "unknown", result).inc()
            if age_s is not None:
                self._ages.observe(age_s)

    def set_version(self, version: str, items: int, delta_items: int) -> None:
        """Say which version serves, and how many items it has, in its snapshot and beside it."""
        if version != self._version:
            if self._version is not None:
                self._model.remove(self._version)
            self._model.labels(version).set(1)
            since = time.monotonic()
            self._age.set_function(lambda: time.monotonic() - since)
            self._version = version
        self._items.set(items)
        self._delta.set(delta_items)

    def set_in_hand(self, lane: str, requests: int) -> None:
        """Say how many requests of a lane run or wait."""
        self._in_hand.labels(lane).set(requests)

    def set_log_dropped(self, lines: int) -> None:
        """Say how many lines of the log were lost."""
        self._log_dropped.set(lines)

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format."""
        text: bytes = self._client.generate_latest(self.registry)
        return text
