"""What this machine has: cores and memory, and how many runs fit beside each other."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_USED = 0.8
"""Share of the free memory that runs may take together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What runs may take.

    Attributes:
        cores: That this process may use.
        available_bytes: Memory that is free or could be; None where the system does not say.
    """

    cores: int
    available_bytes: int | None

    @classmethod
    def here(cls) -> "Machine":
        """Ask this machine."""
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        known = [amount for amount in (_system_bytes(), _group_bytes()) if amount is not None]
        return cls(cores=cores, available_bytes=min(known, default=None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """How runs share a machine.

    Attributes:
        jobs: Runs side by side.
        threads: CPU threads of each whose recipe does not say.
        reason: Why so many, for people.
    """

    jobs: int
    threads: int
    reason: str


def share_of(machine: Machine, *, runs: int, jobs: int | None, run_bytes: int | None, on_gpu: bool) -> Share:
    """Decide how many runs go side by side.

    Args:
        machine: Where they run.
        runs: How many there are.
        jobs: How many the user wants; None to decide here.
        run_bytes: The most memory that a run has taken; None if not known yet.
        on_gpu: Whether runs train on the one GPU.
    """
    if jobs is not None:
        reason = "as --jobs says"
    elif on_gpu:
        jobs, reason = 1, "they train on one GPU"
    else:
        jobs, reason = min(machine.cores, runs), f"{machine.cores} cores"
        if run_bytes is not None and machine.available_bytes is not None:
            fit = max(1, int(_MEMORY_USED * machine.available_bytes) // max(1, run_bytes))
            free = f"{run_bytes / 1e9:.1f} GB for a run, {machine.available_bytes / 1e9:.1f} GB free"
            jobs, reason = min(jobs, fit), f"{reason}, {free}"
    jobs = max(1, min(jobs, runs))
    return Share(jobs=jobs, threads=max(1, machine.cores // jobs), reason=reason)


def _system_bytes() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _group_bytes() -> int | None:
    """Return what a container's limit leaves; None without one."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (_CGROUP / limit).read_text(encoding="utf-8").strip()
            now = int((_CGROUP / used).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if most.isdecimal():
            return max(0, int(most) - now)
    return None
