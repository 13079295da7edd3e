"""Settings of a candidate server, beside those of its HTTP edge."""

import math
from dataclasses import dataclass, field

LIST_SOURCES = ("popular", "fresh")
"""Generators that need no model: what sells most, and what came last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlendConfig:
    """Which generators answer, and how their lists become one."""

    quotas: dict[str, float] = field(default_factory=lambda: {"conversion": 1.0})
    """Share of the places of an answer by generator: "conversion" is the run that is served, "popular" and "fresh" are
    lists, and any other name is a further run (`--generator NAME=DIR`)."""
    most_per_advertiser: int | None = None
    """Items of one advertiser in an answer, at most, where the request names no limit of its own."""

    def __post_init__(self) -> None:
        if not self.quotas or any(not (math.isfinite(share) and share > 0) for share in self.quotas.values()):
            raise ValueError(f"quotas must name generators with shares above 0, got {self.quotas}")
        if self.most_per_advertiser is not None and self.most_per_advertiser < 1:
            raise ValueError(f"most_per_advertiser must be at least 1, got {self.most_per_advertiser}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreReadConfig:
    """How long an answer waits for the online store."""

    timeout_ms: float = 15.0
    """A timeline that has not come by then is done without: the answer is made from the request alone and says so. At most
    half of a request's deadline."""
    failures: int = 5
    """Failed reads in a row after which the store is left alone for a while."""
    rest_s: float = 1.0
    """How long it is left alone; then one read tries it again."""

    def __post_init__(self) -> None:
        for name in ("timeout_ms", "failures", "rest_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshnessConfig:
    """How changes of the catalogue reach the answers."""

    poll_s: float = 0.25
    """How often changes that came through servers of other machines are looked for; those of this machine tell of them."""
    most_items: int = 20_000
    """Items beside the published snapshot, at most; more are refused until a run that holds them is published."""

    def __post_init__(self) -> None:
        if not self.poll_s > 0 or self.most_items < 1:
            raise ValueError(f"poll_s and most_items must be above 0, got {self.poll_s} and {self.most_items}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """Checks of live answers against exact search, in the background."""

    every_s: float = 1.0
    """How often one of the latest queries is searched exactly; 0 turns it off."""
    k: int = 100
    """Length of the lists compared."""

    def __post_init__(self) -> None:
        if not self.every_s >= 0 or self.k < 1:
            raise ValueError(f"every_s must not be negative and k at least 1, got {self.every_s} and {self.k}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestLogConfig:
    """What is written down of requests as they were served, for `lowerfunnel replay`."""

    share: float = 0.1
    """Share of the requests that are written down, chosen by their ids; 0 turns it off. A line costs about as much time as
    the answer itself, though on a thread of its own."""
    most_mb: int = 1024
    """Megabytes of files kept; the oldest go first."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.most_mb < 1:
            raise ValueError(f"share must lie in [0, 1] and most_mb be at least 1, got {self.share} and {self.most_mb}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """What answers."""

    blend: BlendConfig = field(default_factory=BlendConfig)
    """Generators and their shares."""
    store: StoreReadConfig = field(default_factory=StoreReadConfig)
    """Waiting for the online store."""
    freshness: FreshnessConfig = field(default_factory=FreshnessConfig)
    """New and changed items."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """Recall, measured while serving."""
    request_log: RequestLogConfig = field(default_factory=RequestLogConfig)
    """Requests as served."""
    largest_tower_batch: int = 1
    """Requests that arrive together and are encoded by one call, at most. 1 encodes each by itself, which is quicker until
    the machine is saturated; more then makes the slowest answers quicker (benchmarks/bench_query_tower.py)."""

    def __post_init__(self) -> None:
        if self.largest_tower_batch < 1:
            raise ValueError(f"largest_tower_batch must be at least 1, got {self.largest_tower_batch}")
