"""When a segment of a file goes before streams that are ready, so that files get on although streams take every engine.

Files that no engine found time for in `PATIENCE_SECONDS` get a turn, and from then on one whenever so much time has
passed since the last that turns take `FILE_SHARE` of the time of all engines. Turns do not overlap: with many engines
they take one engine at most. Where an engine has time for files anyway, no turn comes due and no stream has to wait.
"""

from __future__ import annotations

import math

from onebit_service.scheduling.work import Clock

FILE_SHARE = 0.05
PATIENCE_SECONDS = 1.0


class FileTurns:
    """Not thread-safe: the scheduler's lock guards it."""

    def __init__(self, engines: int, clock: Clock) -> None:
        self._clock = clock
        self._rest = max(0.0, 1 / (FILE_SHARE * engines) - 1)
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        return self._clock() >= self._due

    def begin_waiting(self) -> None:
        """The queue is no longer empty."""
        self._due = max(self._due, self._clock() + PATIENCE_SECONDS)

    def begin(self) -> None:
        """A batch of files is computed, in its turn or because an engine had time."""
        self._due = math.inf

    def end(self, seconds: float) -> None:
        self._due = self._clock() + seconds * self._rest
