"""A small asynchronous client for streams: `async with open_stream(url) as stream: ...`.

async with open_stream("ws://127.0.0.1:8000/stream", StreamOptions(bits=1)) as stream:
    sending = asyncio.create_task(stream.send_all(packets))
    async for message in stream:
        print(message.text)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidURI
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from onebit_model.config import SAMPLE_RATE, LiveChunk
from onebit_model.text.search import Decoder
from onebit_service.routes.stream_messages import (
    SUBPROTOCOL,
    Done,
    ErrorMessage,
    FinalMessage,
    PartialMessage,
    Ready,
    ServerMessage,
    StreamEncoding,
)

_MESSAGES: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)


@dataclass(frozen=True)
class StreamOptions:
    """The fields of `start`; what is None is left to the server."""

    bits: int | None = None
    sample_rate: int = SAMPLE_RATE
    encoding: StreamEncoding = "s16le"
    channels: int = 1
    chunk: LiveChunk = 8
    partials: bool = True
    words: bool = True
    finals: Decoder | None = None
    hotwords: list[str] = field(default_factory=list)
    endpoint_silence_seconds: float = 0.8


class StreamRefusedError(Exception):
    """The server ended the stream with an `error` message, or without any."""

    def __init__(self, message: ErrorMessage | None, close_code: int | None) -> None:
        said = f"{message.code}: {message.message}" if message else "the connection was closed"
        super().__init__(f"{said} (close code {close_code})")
        self.message = message
        self.close_code = close_code


class StreamClient:
    """An open stream: send audio, iterate over `partial` and `final` messages until `done`."""

    def __init__(self, connection: ClientConnection, ready: Ready) -> None:
        self._connection = connection
        self.ready = ready
        self.done: Done | None = None

    async def send(self, audio: bytes) -> None:
        """Audio in the encoding of the options; waits while the server is behind."""
        await self._connection.send(audio)

    async def finalize(self) -> None:
        await self._control("finalize")

    async def keepalive(self) -> None:
        await self._control("keepalive")

    async def stop(self) -> None:
        await self._control("stop")

    async def send_all(self, packets: AsyncIterator[bytes] | Iterable[bytes]) -> None:
        """All packets and then `stop`."""
        async for packet in packets if isinstance(packets, AsyncIterator) else _one_by_one(packets):
            await self.send(packet)
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[PartialMessage | FinalMessage]:
        while True:
            message = await _receive(self._connection)
            if isinstance(message, Done):
                self.done = message
                return
            if isinstance(message, PartialMessage | FinalMessage):
                yield message

    async def _control(self, kind: str) -> None:
        await self._connection.send(json.dumps({"type": kind}))


async def _receive(connection: ClientConnection) -> ServerMessage:
    try:
        message = _MESSAGES.validate_json(await connection.recv())
    except ConnectionClosed as closed:
        raise StreamRefusedError(None, closed.rcvd.code if closed.rcvd else None) from closed
    if isinstance(message, ErrorMessage):
        await connection.wait_closed()
        raise StreamRefusedError(message, connection.close_code)
    return message


def _check_url(url: str) -> None:
    """Raises InvalidURI for every address that none can be connected to, which websockets does for some only."""
    try:
        parse_uri(url).host.encode("idna")
    except ValueError as error:
        raise InvalidURI(url, str(error)) from error


@asynccontextmanager
async def open_stream(
    url: str, options: StreamOptions | None = None, key: str | None = None
) -> AsyncIterator[StreamClient]:
    """Connects and configures; raises StreamRefusedError when the server does not want to."""
    _check_url(url)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    fields = {name: value for name, value in asdict(options or StreamOptions()).items() if value is not None}
    # Nothing is gained by compressing audio, and the server does not offer it.
    async with connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers=headers,
        compression=None,
        max_size=None,
        # Pings keep the way open, but their answers wait behind audio that the server holds back.
        ping_timeout=None,
    ) as connection:
        # A refusal says more than the failure to send.
        with suppress(ConnectionClosed):
            await connection.send(json.dumps({"type": "start", **fields}))
        ready = await _receive(connection)
        assert isinstance(ready, Ready)
        yield StreamClient(connection, ready)


async def paced(packets: AsyncIterator[bytes] | Iterable[bytes], seconds: float) -> AsyncIterator[bytes]:
    """One packet every `seconds`, as a microphone gives them; of packets that are read as they are needed, too."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    async for packet in packets if isinstance(packets, AsyncIterator) else _one_by_one(packets):
        due += seconds
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield packet


async def _one_by_one(packets: Iterable[bytes]) -> AsyncIterator[bytes]:
    for packet in packets:
        yield packet
