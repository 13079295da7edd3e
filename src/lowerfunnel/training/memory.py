"""Memory of the process: its peak, and keeping large blocks from going back to the system after every step."""

import ctypes
import platform
import resource
import sys
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30
_PROCESS = Path("/proc/self")


def keep_large_blocks() -> bool:
    """Tell glibc to keep freed blocks up to 1 GiB for reuse; returns whether it took the setting.

    By default it returns large blocks at once, and the page faults of the next step cost up to half of its time. It
    holds for the whole process, so a program calls it once when training starts; other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))


def forget_peak() -> bool:
    """Let `peak_bytes` count from now on; returns whether the system can (Linux)."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """Return the most memory that this process has held at once, since it began or since `forget_peak`."""
    try:
        status = (_PROCESS / "status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
