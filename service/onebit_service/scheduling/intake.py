"""Whether what is offered is let in: places that nobody gives back must show before somebody looks for them."""

from __future__ import annotations

from onebit_service.scheduling.work import Clock

STUCK_SECONDS = 60.0


class Intake:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused_since: float | None = None

    def moved(self) -> None:
        """Something was let in, or a place came back, so that something could be."""
        self._refused_since = None

    def refused(self) -> None:
        if self._refused_since is None:
            self._refused_since = self._clock()

    @property
    def is_stuck(self) -> bool:
        """For a minute nothing was let in although something was offered, and nothing came to its end."""
        return self._refused_since is not None and self._clock() - self._refused_since >= STUCK_SECONDS
