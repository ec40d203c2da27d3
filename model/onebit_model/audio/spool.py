"""Bytes that wait on disk: an upload that is ahead of its reader can be received on without taking memory."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from typing import IO

BLOCK_BYTES = 1 << 16
PART_BYTES = 1 << 20


class SpoolBudget:
    """What all spools together may take on disk. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._lock = threading.Lock()

    def take(self, count: int, always: bool) -> bool:
        with self._lock:
            if count > self._left_bytes and not always:
                return False
            self._left_bytes -= count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._left_bytes += count


class _Part:
    """One temporary file: written to its end, then read to its end."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="onebit-", buffering=0)  # noqa: SIM115  # closed by Spool
        self.written_bytes = self.read_bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        at = self.written_bytes
        view = memoryview(data)
        while view:
            count = os.pwrite(self.file.fileno(), view, at)
            view, at = view[count:], at + count
        self.written_bytes = at

    def read(self) -> bytes:
        data = os.pread(self.file.fileno(), min(BLOCK_BYTES, self.written_bytes - self.read_bytes), self.read_bytes)
        self.read_bytes += len(data)
        return data


class Spool:
    """First in, first out, in files of `PART_BYTES`: what was read gives its room back while more is written.

    Not thread-safe: the lock of the feed that owns it guards it.
    """

    def __init__(self, budget: SpoolBudget) -> None:
        self._budget = budget
        self._parts: deque[_Part] = deque()
        self._waiting_bytes = 0

    def __len__(self) -> int:
        return self._waiting_bytes

    def append(self, data: bytes | memoryview, always: bool) -> bool:
        """False: there is no room; `always` takes no notice of the budget and raises OSError where the disk is full."""
        if not self._budget.take(len(data), always):
            return False
        try:
            if not self._parts or self._parts[-1].written_bytes >= PART_BYTES:
                self._parts.append(_Part())
            self._parts[-1].write(data)
        except OSError:
            self._budget.give_back(len(data))
            if always:
                raise
            return False
        self._waiting_bytes += len(data)
        return True

    def take(self) -> bytes:
        """The next block; empty where nothing waits."""
        if not self._waiting_bytes:
            return b""
        data = self._parts[0].read()
        self._waiting_bytes -= len(data)
        if self._parts[0].read_bytes == self._parts[0].written_bytes:
            self._drop(self._parts.popleft())
        return data

    def close(self) -> None:
        while self._parts:
            self._drop(self._parts.popleft())
        self._waiting_bytes = 0

    def _drop(self, part: _Part) -> None:
        part.file.close()
        self._budget.give_back(part.written_bytes)
