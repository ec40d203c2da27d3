"""The server process: uvicorn, with an orderly end.

uvicorn alone closes its listener at SIGTERM and drops every WebSocket. Here the listener stays, so that
`/health/ready` can say 503 and new work gets a proper refusal, while running work finishes.
"""

from __future__ import annotations

import math
import signal
import socket
import time
from functools import partial
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from onebit_service.errors import DrainingError
from onebit_service.routes.peer import PeerProtocol, PeerWebSocket
from onebit_service.server.allocator import IdleTrim
from onebit_service.server.listening import bound_listener, curl_line, tls_fault
from onebit_service.service import Service

log = structlog.get_logger("onebit.server")

# For the answers of what was cut off to leave, and for connections to close after that.
FAREWELL_SECONDS = 2.0
LEAST_FAREWELL_SECONDS = 1.0
LARGEST_FRAME_BYTES = 1 << 20


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._signals = 0
        self._drain_until = float("inf")
        self._cut_off = False
        self._idle_trim = IdleTrim()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once. Runs inside a signal handler: it only takes note."""
        self._signals += 1
        if self._signals > 1 and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None:
            return True
        if self._signals and not self.should_exit:
            self._drain()
        elif self._service.loaded:
            self._idle_trim.look(self._service.scheduler.busy)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.force_exit and self._service.loaded:
            self._service.scheduler.fail_all(_cut_off_error())
        await super().shutdown(sockets)
        # uvicorn leaves this out at a forced end; but threads that are inside the engine when the interpreter goes away
        # leave the engine's objects behind, which it complains about.
        if self.force_exit:
            await self.lifespan.shutdown()

    def _drain(self) -> None:
        now = time.monotonic()
        if not self._service.loaded:
            self.should_exit = True
            return
        scheduler = self._service.scheduler
        if not scheduler.draining:
            log.info("draining", seconds=self._service.settings.drain_seconds)
            scheduler.begin_drain()
            self._drain_until = now + self._service.settings.drain_seconds
        if now >= self._drain_until and not self._cut_off:
            self._cut_off = True
            self._drain_until = now + FAREWELL_SECONDS
            scheduler.fail_all(_cut_off_error())
        self.should_exit = not scheduler.busy or (self._cut_off and now >= self._drain_until)
        # What is computed may still be on its way to a client that takes its time, but not for longer than all of this.
        self.config.timeout_graceful_shutdown = math.ceil(max(self._drain_until - now, LEAST_FAREWELL_SECONDS))


def _cut_off_error() -> DrainingError:
    return DrainingError("the server is shutting down and could not finish this", 5.0)


def serve(app: FastAPI) -> int:
    """Runs until a signal; the exit code is 0 after an orderly end. Raises SettingError and ListenError before."""
    service: Service = app.state.service
    settings = service.settings
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        http=partial(PeerProtocol, head_seconds=settings.upload_idle_seconds),  # type: ignore[arg-type]
        ws=PeerWebSocket,
        ws_max_size=LARGEST_FRAME_BYTES,
        ws_per_message_deflate=False,
        # Streams have an idle timer of their own; pongs would wait behind audio that is held back.
        ws_ping_interval=None,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    try:
        config.load()
    except OSError as error:
        raise tls_fault(settings, error) from error
    listener = bound_listener(settings.host, settings.port)
    port = listener.getsockname()[1]
    print(f"Try:  {curl_line(settings, port)}", flush=True)
    log.info("listening", host=settings.host, port=port)
    server = Server(config, service)
    server.run([listener])
    return 0 if service.failure is None and server.started else 1
