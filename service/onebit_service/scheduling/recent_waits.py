"""How long ready streams had to wait for an engine lately: the measure of whether one more would be too many."""

from __future__ import annotations

from collections import deque

from onebit_service.scheduling.work import Clock

WINDOW_SECONDS = 3.0
# Fewer than this say nothing: one file segment in the way is no overload.
ENOUGH_WAITS = 20


class RecentWaits:
    """Not thread-safe: the scheduler's lock guards it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: deque[tuple[float, float]] = deque(maxlen=4096)

    def add(self, seconds: float) -> None:
        self._waits.append((self._clock(), seconds))

    def median_seconds(self) -> float:
        """Of the last seconds; 0 where there were hardly any."""
        oldest = self._clock() - WINDOW_SECONDS
        while self._waits and self._waits[0][0] < oldest:
            self._waits.popleft()
        waits = sorted(seconds for _, seconds in self._waits)
        return waits[len(waits) // 2] if len(waits) >= ENOUGH_WAITS else 0.0
