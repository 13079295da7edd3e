"""What a load run measured.

Shape letters: N requests that count, in the order in which they were due.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadResult:
    """Of the requests that were due after the warm-up."""

    latency_ms_N: npt.NDArray[np.float64]
    """From when a request was due to when its answer was whole, or to when it was given up."""
    status_N: npt.NDArray[np.int16]
    """HTTP status; 0 for a request that failed."""
    statuses: dict[int, int]
    """Answers by status."""
    failures: dict[str, int]
    """Requests without an answer: "timeout", "disconnected", "unreadable"."""
    complaints: dict[str, int]
    """What `on_answer` found wrong, by its words, and how often."""
    offered_per_s: float
    """Requests that were due, a second."""
    achieved_per_s: float
    """Answers that came, a second, until the last of them."""
    late_p99_ms: float
    """How late the generator itself was in looking at the clock. It is part of every latency."""
    most_waiting: int
    """Requests that were due and waited for a free connection, at the most."""
    cpu_s: float
    """CPU time of the generator's process, warm-up included."""
    cpu_ms_per_request: float
    """The same for one request; of all that the process did, so measure with one load at a time."""
    cpu_share: float
    """The same as a share of one core."""
    wall_s: float
    """From the first request that was due to the last answer, warm-up included."""

    def __len__(self) -> int:
        return len(self.latency_ms_N)

    @property
    def failed(self) -> int:
        """Requests that got no answer, or one of a status of 400 and above."""
        return int(((self.status_N == 0) | (self.status_N >= 400)).sum())

    def percentile_ms(self, percent: float, *, status: int | None = None) -> float:
        """Return a percentile of the latencies, a request that was met exactly (no interpolation); nan without requests.

        Args:
            percent: From 0 to 100.
            status: Only of answers of this status; None for all, those that failed with the time until they were given up.
        """
        latency_ms = self.latency_ms_N if status is None else self.latency_ms_N[self.status_N == status]
        if not len(latency_ms):
            return float("nan")
        return float(np.percentile(latency_ms, percent, method="higher"))

    def __str__(self) -> str:
        quantiles = "  ".join(
            f"{name} {self.percentile_ms(percent):.2f}"
            for name, percent in (("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100))
        )
        counts = ", ".join(f"{count:,} x {status}" for status, count in sorted(self.statuses.items()))
        lines = [f"ms: {quantiles}"]
        lines.append(
            f"{len(self):,} requests: {counts or 'no answer'}; {self.offered_per_s:.1f}/s due, "
            f"{self.achieved_per_s:.1f}/s answered"
        )
        lines.append(
            f"generator: {self.cpu_ms_per_request:.3f} ms CPU a request, {self.cpu_share:.1%} of a core, "
            f"late by {self.late_p99_ms:.2f} ms at p99, at most {self.most_waiting} waiting for a connection"
        )
        for name, counted in (("failures", self.failures), ("complaints", self.complaints)):
            if counted:
                lines.append(f"{name}: " + ", ".join(f"{count:,} x {what}" for what, count in counted.items()))
        return "\n".join(lines)


@dataclass(slots=True)
class Tally:
    """Counts while a run goes on."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    complaints: Counter[str] = field(default_factory=Counter)
