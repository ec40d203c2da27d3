"""From the threads that decode and compute back to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


def call_on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Safe from every thread; on a loop that is closed nobody is left who waits."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
