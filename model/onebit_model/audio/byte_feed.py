"""Bytes on their way from a producer to one reading thread, with a bound on what waits in memory between them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from onebit_model.audio.spool import Spool

READ_BYTES = 1 << 16


class ByteFeed:
    """A pipe inside the process: the producer never blocks, the reader does.

    `offer` says whether there is room for more; a producer that was told no waits for `on_room`, which the reader's
    thread calls once half of the capacity is free again. With a spool, what goes beyond the capacity waits there, and
    there is room as long as the spool has some.
    """

    def __init__(
        self,
        capacity_bytes: int = 1 << 20,
        on_room: Callable[[], None] | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._capacity_bytes = capacity_bytes
        self._on_room = on_room
        # In this order: what is read next, what waits on disk, what found no room there.
        self._chunks: deque[memoryview] = deque()
        self._spool = spool
        self._late: deque[memoryview] = deque()
        self._waiting_bytes = 0  # in memory
        self._full = False
        self._closed = False
        self._abandoned = False
        self._error: BaseException | None = None
        self._when_aborted: list[Callable[[], None]] = []
        self._changed = threading.Condition()

    def offer(self, data: bytes, always: bool = False) -> bool:
        """Takes the data in any case; False: wait for `on_room` before the next. With `always` the spool takes what its
        budget forbids; raises OSError where the disk has no room for it."""
        with self._changed:
            if data and not self._abandoned and self._error is None:
                self._put(data, always)
            if self._spool is None:
                self._full = self._waiting_bytes >= self._capacity_bytes
            else:
                self._full = bool(self._late)
            self._changed.notify()
            return not self._full

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def abort(self, error: BaseException) -> None:
        """Nothing more will come, and what is there is not wanted any more: the reader raises `error`."""
        with self._changed:
            self._error = self._error or error
            self._drop_all()
            calls, self._when_aborted = self._when_aborted, []
        for call in calls:
            call()

    def when_aborted(self, call: Callable[[], None]) -> None:
        """For a reader that waits for something else than the feed: what ends its waiting, from any thread."""
        with self._changed:
            if self._error is None:
                self._when_aborted.append(call)
                return
        call()

    def peek(self, count: int) -> bytes:
        """The next `count` bytes without taking them; fewer only at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended() or self._available_bytes() >= count)
            self._raise_error()
            while sum(map(len, self._chunks)) < count and self._refill():
                pass
            head = b"".join(self._chunks)
            self._chunks = deque([memoryview(head)] if head else [])
            return head[:count]

    def read(self, count: int) -> bytes:
        """At least one and at most `count` bytes; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended() or self._available_bytes() > 0)
            self._raise_error()
            data = self._take(count)
            room = self._full and self._has_room()
            self._full = self._full and not room
        if room and self._on_room is not None:
            self._on_room()
        return data

    def put_back(self, data: bytes) -> None:
        """By the reader: what it took and leaves to whoever reads next."""
        with self._changed:
            if data and not self._abandoned and self._error is None:
                self._chunks.appendleft(memoryview(data))
                self._waiting_bytes += len(data)

    def abandon(self) -> None:
        """The reader wants no more: what waits and what still comes is dropped, and a read in progress ends."""
        with self._changed:
            self._closed = True
            self._abandoned = True
            self._drop_all()
        if self._on_room is not None:
            self._on_room()

    def _put(self, data: bytes, always: bool) -> None:
        is_ahead = self._late or self._waiting_bytes >= self._capacity_bytes or self._spool
        if self._spool is not None and is_ahead:
            if not self._late and self._spool.append(data, always):
                return
            self._late.append(memoryview(data))
        else:
            self._chunks.append(memoryview(data))
        self._waiting_bytes += len(data)

    def _has_room(self) -> bool:
        if self._spool is None:
            return self._waiting_bytes <= self._capacity_bytes // 2
        while self._late and self._spool.append(self._late[0], always=False):
            self._waiting_bytes -= len(self._late.popleft())
        return not self._late

    def _refill(self) -> bool:
        """Brings what comes next into `_chunks`; False where there is nothing."""
        if self._spool:
            data = self._spool.take()
            self._chunks.append(memoryview(data))
            self._waiting_bytes += len(data)
        elif self._late:
            self._chunks.append(self._late.popleft())
        else:
            return False
        return True

    def _take(self, count: int) -> bytes:
        if not self._chunks and not self._refill():
            return b""
        data = self._chunks.popleft()
        if len(data) > count:
            self._chunks.appendleft(data[count:])
            data = data[:count]
        self._waiting_bytes -= len(data)
        return bytes(data)

    def _drop_all(self) -> None:
        self._chunks.clear()
        self._late.clear()
        self._waiting_bytes = 0
        if self._spool is not None:
            self._spool.close()
        self._changed.notify()

    def _available_bytes(self) -> int:
        return self._waiting_bytes + (len(self._spool) if self._spool is not None else 0)

    def _ended(self) -> bool:
        return self._closed or self._error is not None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class Lookahead:
    """What was read of a feed and not used yet, for whoever has to see further than it takes."""

    def __init__(self, feed: ByteFeed) -> None:
        self._feed = feed
        self.waiting = bytearray()

    def has(self, count: int) -> bool:
        """Are so many bytes waiting? Reads them; fewer only at the end."""
        while len(self.waiting) < count:
            data = self._feed.read(READ_BYTES)
            if not data:
                return False
            self.waiting += data
        return True

    def take(self, count: int) -> bytes:
        data = bytes(self.waiting[:count])
        del self.waiting[:count]
        return data

    def put_back(self, before: bytes = b"") -> None:
        """Leaves to the feed's next reader `before` and then everything that waits here."""
        self._feed.put_back(before + bytes(self.waiting))
        self.waiting.clear()
