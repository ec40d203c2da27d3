"""Has the client of a request or a stream left?

ASGI tells it only to those who read on, and an upload that is held back is not read: its end would be noticed once
everything that waits in the kernel had been computed. So the state of the TCP connection itself is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LOOK_SECONDS = 0.2
# Linux, include/net/tcp_states.h; every other state means that one side has closed.
ESTABLISHED = 1


class ClientGoneError(Exception):
    """Nobody is left to answer; not an error of anybody."""


class Connection:
    """The TCP connection of a request. `lost` is set when the server has closed it: from then on the descriptor may be
    that of another connection."""

    def __init__(self, connected: Any) -> None:
        self.lost = asyncio.Event()
        self._socket = connected

    @property
    def is_open(self) -> bool:
        """As far as the system tells."""
        return not self.lost.is_set() and _tcp_state(self._socket) in (None, ESTABLISHED)

    async def closed(self) -> None:
        """Returns when one of the two sides has closed it."""
        while self.is_open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.lost.wait(), LOOK_SECONDS)


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with the connection in the state of its requests.

    uvicorn waits for ever for the head of a request: connections that never send one would use up all descriptors.
    """

    def __init__(self, *arguments: Any, head_seconds: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_seconds = head_seconds
        self._head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connection = Connection(transport.get_extra_info("socket"))
        self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["connection"] = self._connection
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost.set()
        self._head_came()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._head_came()
        self._head_due = self.loop.call_later(self._head_seconds, self._give_up)

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _give_up(self) -> None:
        # A head that comes while the request before it is being answered may wait for it.
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()
        else:
            self.transport.close()


class PeerWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with the connection in the state of the stream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connection = Connection(transport.get_extra_info("socket"))
        self.app_state = self.app_state | {"connection": self._connection}

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost.set()
        super().connection_lost(exc)


class Peer:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._connection: Connection | None = getattr(request.state, "connection", None)
        self._body_ended = asyncio.Event()

    def body_ended(self) -> None:
        """From here on the request may be asked for its next message."""
        self._body_ended.set()

    async def left(self) -> None:
        """Returns when the client has closed the connection."""
        if self._connection is None:  # another server than ours
            await self._body_ended.wait()
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            return
        await self._connection.closed()


def _tcp_state(connection: Any) -> int | None:
    """None where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        state: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return None
    return state
