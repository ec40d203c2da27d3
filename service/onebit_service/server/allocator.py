"""How the C library hands out memory. Its defaults are made for many threads that allocate at once; here threads
compute without allocating, and what a stream, a file or the loading of the model has freed must go back to the system.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

# glibc, malloc.h
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
# Blocks from this size on are mapped one by one and so go back when they are freed. It is glibc's own first value,
# which would rise with the largest block that was ever freed.
MAPPED_BLOCK_BYTES = 128 << 10
IDLE_SECONDS = 5.0


def spare_memory() -> None:
    """One heap for all threads, and large blocks apart from it; before anything large is allocated."""
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES)


class IdleTrim:
    """Gives back what is free in the middle of the heap, once after each time of work: it takes some milliseconds."""

    def __init__(self) -> None:
        self._trim = _glibc("malloc_trim")
        self._busy_at: float | None = None

    def look(self, busy: bool) -> None:
        """To be called all the time."""
        now = time.monotonic()
        if busy:
            self._busy_at = now
        elif self._busy_at is not None and now - self._busy_at >= IDLE_SECONDS:
            self._busy_at = None
            if self._trim is not None:
                self._trim(0)


def _glibc(name: str) -> Any:
    """None with another C library."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
