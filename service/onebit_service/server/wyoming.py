"""Listens for clients of the Wyoming protocol, as many as the settings allow, and ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog
from wyoming.error import Error

from onebit_service.errors import DrainingError, InvalidParameterError, ListenError, OverloadedError, meaning_of
from onebit_service.routes.error_answers import public_error
from onebit_service.routes.peer import ClientGoneError
from onebit_service.routes.wyoming_events import LINE_BYTES
from onebit_service.routes.wyoming_session import WyomingSession
from onebit_service.server.listening import bound_listener, bracketed
from onebit_service.service import Service

log = structlog.get_logger("onebit.wyoming")

POLL_SECONDS = 0.05
FAREWELL_SECONDS = 2.0


class WyomingServer:
    def __init__(self, service: Service, uri: str, hotwords: Sequence[str] = ()) -> None:
        """`hotwords` are preferred in every dictation. Raises InvalidParameterError and SearchOptionError."""
        self._service = service
        self._uri = urlsplit(uri)
        self._hotwords = hotwords
        self._sessions: dict[asyncio.Task[None], WyomingSession] = {}
        service.search(None, hotwords)
        if not self._is_usable():
            raise InvalidParameterError("uri", f"--uri: {uri!r} is neither tcp://HOST:PORT nor unix:///PATH")

    def _is_usable(self) -> bool:
        try:
            port = self._uri.port
        except ValueError:
            return False
        is_tcp = self._uri.scheme == "tcp" and bool(self._uri.hostname) and port is not None
        return is_tcp or (self._uri.scheme == "unix" and bool(self._uri.path))

    async def run(self) -> int:
        """Until SIGTERM or SIGINT, and until what is being said then has been answered. The exit code."""
        signalled = self._signals()
        self._service.start()
        try:
            while not self._service.loaded:
                if self._service.failure is not None:
                    return 1
                await asyncio.sleep(POLL_SECONDS)
            listener = await self._listen()
            print(f"Wyoming: {self._address(listener)}", flush=True)
            await signalled.wait()
            listener.close()
            await self._drain()
            return 0
        finally:
            self._service.stop()

    def _signals(self) -> asyncio.Event:
        signalled = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, signalled.set)
        return signalled

    async def _listen(self) -> asyncio.Server:
        if self._uri.scheme == "tcp":
            assert self._uri.hostname is not None
            assert self._uri.port is not None
            listener = bound_listener(self._uri.hostname, self._uri.port)
            return await asyncio.start_server(self._meet, sock=listener, limit=LINE_BYTES)
        try:
            return await asyncio.start_unix_server(self._meet, self._uri.path, limit=LINE_BYTES)
        except OSError as error:
            raise ListenError(f"cannot listen on {self._uri.path}: {error.strerror or error}") from error

    def _address(self, listener: asyncio.Server) -> str:
        if self._uri.scheme == "unix":
            return f"unix://{self._uri.path}"
        host, port = listener.sockets[0].getsockname()[:2]
        return f"tcp://{bracketed(host)}:{port}"

    async def _drain(self) -> None:
        """Who speaks is heard to the end, within `drain_seconds`; then everybody is told and hung up on."""
        scheduler, seconds = self._service.scheduler, self._service.settings.drain_seconds
        log.info("draining", seconds=seconds)
        scheduler.begin_drain()
        await asyncio.sleep(POLL_SECONDS)  # who has just come is met first
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(session.is_dictating for session in self._sessions.values()):
                    await asyncio.sleep(POLL_SECONDS)
        for session in self._sessions.values():
            session.interrupt(DrainingError("the server is shutting down"))
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=FAREWELL_SECONDS)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its coming to its going."""
        task = asyncio.current_task()
        assert task is not None
        session = WyomingSession(self._service, self._hotwords, reader, writer)
        try:
            if len(self._sessions) >= self._service.settings.max_streams:
                raise OverloadedError(f"{len(self._sessions)} clients are connected already")
            self._sessions[task] = session
            await session.run()
        except (ConnectionError, ClientGoneError, asyncio.CancelledError):
            pass  # nobody is left to be told; and asyncio complains of cancelled tasks of its server
        except Exception as error:
            await self._tell(session, error)
        finally:
            self._sessions.pop(task, None)
            writer.close()

    async def _tell(self, session: WyomingSession, error: Exception) -> None:
        shown = public_error(error)
        meaning = meaning_of(shown)
        if meaning.code == "internal":
            log.error("client_failed", exc_info=error)
        else:
            log.info("client_refused", code=meaning.code, reason=str(shown))
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await session.send(Error(str(shown), meaning.code))
                await session.linger()
