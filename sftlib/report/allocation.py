"""Memory that was freed stays with the process. Arrays of a batch come and go by the thousand; the C library would give each
back to the system and take it again page by page, which was a third of the time of a merge."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
KEPT_BYTES = 128 * 2**20
GROWTH_BYTES = 16 * 2**20
LARGEST_BYTES = 32 * 2**20  # the most that glibc allows; what is larger is mapped and given back


def keep_freed_memory() -> None:
    """For commands that read tables; does nothing where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, size in (
        (_TRIM_THRESHOLD, KEPT_BYTES),
        (_TOP_PAD, GROWTH_BYTES),
        (_MMAP_THRESHOLD, LARGEST_BYTES),
    ):
        mallopt(option, size)
