"""The least that a WebSocket client of `onebit.v1` needs: what it costs is taken from the server on the same cores.

Frames from a client must be masked (RFC 6455, 5.3); with a mask of zeros a masked payload is the payload itself, so
that frames of audio are made once and sent as they are.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import Callable
from typing import Any

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NO_CLOSE_FRAME = 1006
ZERO_MASK = b"\0\0\0\0"

Message = dict[str, Any]


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    head = bytes([0x80 | opcode])
    if len(payload) < 126:
        return head + bytes([0x80 | len(payload)]) + ZERO_MASK + payload
    if len(payload) < 1 << 16:
        return head + b"\xfe" + struct.pack(">H", len(payload)) + ZERO_MASK + payload
    return head + b"\xff" + struct.pack(">Q", len(payload)) + ZERO_MASK + payload


def text_frame(**fields: object) -> bytes:
    return frame(json.dumps(fields).encode(), TEXT)


def audio_frames(pcm: bytes, packet_bytes: int) -> list[bytes]:
    return [frame(pcm[at : at + packet_bytes]) for at in range(0, len(pcm), packet_bytes)]


class Wire(asyncio.Protocol):
    """One connection. `on_message` gets every message with the moment of its arrival."""

    def __init__(self, on_message: Callable[[Message, float], None]) -> None:
        self._on_message = on_message
        self._buffer = bytearray()
        self._upgraded = False
        self.opened = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._code = NO_CLOSE_FRAME

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(
            b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: onebit.v1\r\nSec-WebSocket-Key: "
            + base64.b64encode(os.urandom(16))
            + b"\r\n\r\n"
        )

    def send(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        while self._take_frame():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))
        if not self.closed.done():
            self.closed.set_result(self._code)

    def _upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self._buffer[:end]).split(b" ", 2)[1]
        del self._buffer[: end + 4]
        if status != b"101":
            self.opened.set_exception(ConnectionError(f"handshake answered with {status.decode()}"))
            self.transport.close()
            return False
        self._upgraded = True
        self.opened.set_result(None)
        return True

    def _take_frame(self) -> bool:
        """Frames of a server are never masked; this one does not fragment them."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        length, at = buffer[1] & 0x7F, 2
        if length == 126:
            if len(buffer) < 4:
                return False
            length, at = int.from_bytes(buffer[2:4], "big"), 4
        elif length == 127:
            if len(buffer) < 10:
                return False
            length, at = int.from_bytes(buffer[2:10], "big"), 10
        if len(buffer) < at + length:
            return False
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[at : at + length])
        del buffer[: at + length]
        self._handle(opcode, payload)
        return True

    def _handle(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._on_message(json.loads(payload), time.perf_counter())
        elif opcode == PING:
            self.send(frame(payload, PONG))
        elif opcode == CLOSE:
            self._code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.send(frame(payload[:2], CLOSE))
            self.transport.close()


async def connect(address: tuple[str, int], on_message: Callable[[Message, float], None]) -> Wire:
    _, wire = await asyncio.get_running_loop().create_connection(lambda: Wire(on_message), *address)
    await wire.opened
    return wire
