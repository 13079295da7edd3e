"""Keeping large blocks of memory from going back to the system after every step."""

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30


def keep_large_blocks() -> bool:
    """Tell glibc to keep freed blocks up to 1 GiB for reuse; returns whether it took the setting.

    By default it returns large blocks at once, and the page faults of the next step cost up to half of its time. It
    holds for the whole process, so a program calls it once when training starts; other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))
