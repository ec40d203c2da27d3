"""Bytes that wait on disk: an upload that is ahead of its reader can be received on without taking memory."""

from __future__ import annotations

import os
import tempfile
import threading
from typing import IO

BLOCK_BYTES = 1 << 16


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


class Spool:
    """First in, first out. Not thread-safe: the lock of the feed that owns it guards it."""

    def __init__(self, budget: SpoolBudget) -> None:
        self._budget = budget
        self._file: IO[bytes] | None = None
        self._written_bytes = self._read_bytes = 0

    def __len__(self) -> int:
        return self._written_bytes - self._read_bytes

    def append(self, data: bytes, always: bool) -> bool:
        """False: there is no room; `always` takes no notice of the budget and raises OSError where the disk is full."""
        if not self._budget.take(len(data), always):
            return False
        try:
            self._write(data)
        except OSError:
            self._budget.give_back(len(data))
            if always:
                raise
            return False
        return True

    def take(self) -> bytes:
        """The next block; empty where nothing waits."""
        if self._file is None:
            return b""
        data = os.pread(self._file.fileno(), min(BLOCK_BYTES, len(self)), self._read_bytes)
        self._read_bytes += len(data)
        if not len(self):
            # What was read must not keep room that others could use.
            self.close()
        return data

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._budget.give_back(self._written_bytes)
        self._written_bytes = self._read_bytes = 0

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="onebit-", buffering=0)  # noqa: SIM115  # closed by `close`
        at = self._written_bytes
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file.fileno(), view, at)
            view, at = view[count:], at + count
        self._written_bytes = at
