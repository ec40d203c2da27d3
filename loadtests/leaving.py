"""Clients that leave at random moments, on every route and in every way that a connection can end."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from loadtests.wire import connect, frame, text_frame

PRECISIONS = (1, 2, 4)
LONGEST_STAY_SECONDS = 3.0
BOUNDARY = "leaving"
OPENAI = "/v1/audio/transcriptions"

Fields = Sequence[tuple[str, str]]


def request(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def form(path: str, before: Fields, audio: bytes, behind: Fields = ()) -> bytes:
    def part(head: str, value: bytes) -> bytes:
        return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"

    parts = [part(f'name="{name}"', value.encode()) for name, value in before]
    parts.append(part('name="file"; filename="speech.wav"', audio))
    parts += [part(f'name="{name}"', value.encode()) for name, value in behind]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return request(path, f"multipart/form-data; boundary={BOUNDARY}", body)


def wave(pcm: bytes) -> bytes:
    """s16le at 16 kHz with the header of a WAV."""
    rate, size = 16_000, len(pcm)
    shape = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + shape
        + b"data"
        + struct.pack("<I", size)
        + pcm
    )


ROUTES: dict[str, Callable[[bytes, int], bytes]] = {
    "raw": lambda audio, bits: request(f"/transcribe?bits={bits}", "audio/wav", audio),
    "form": lambda audio, bits: form("/transcribe", [("bits", str(bits))], audio),
    "form, file first": lambda audio, bits: form("/transcribe", [], audio, [("bits", str(bits))]),
    "openai": lambda audio, bits: form(OPENAI, [("model", f"onebit-{bits}bit")], audio),
    "openai, file first": lambda audio, bits: form(OPENAI, [], audio, [("model", f"onebit-{bits}bit")]),
    "events": lambda audio, bits: form(OPENAI, [("model", f"onebit-{bits}bit"), ("stream", "true")], audio),
    "page": lambda _audio, _bits: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "metrics": lambda _audio, _bits: b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
}


class Leavers:
    def __init__(self, address: tuple[str, int], clips: Sequence[bytes], seed: int) -> None:
        self._address = address
        self._clips = clips
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()

    async def once(self) -> None:
        """Somebody comes, asks for something, and is gone."""
        route = self._random.choice([*ROUTES, "stream", "stream"])
        if route == "stream":
            await self._stream()
        else:
            await self._request(route)
        self.counts[f"left {route}"] += 1

    async def _request(self, route: str) -> None:
        audio = wave(b"".join(self._random.choices(self._clips, k=self._random.choice((1, 3, 10)))))
        data = ROUTES[route](audio, self._random.choice(PRECISIONS))
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(data[: int(len(data) * self._random.choice((self._random.random(), 1.0)))])
        reads = self._random.random() < 0.7
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(self._stay_seconds()):
                await writer.drain()
                if reads:
                    await reader.read()
                else:
                    await asyncio.sleep(LONGEST_STAY_SECONDS)
        self._leave(writer.transport)

    async def _stream(self) -> None:
        wire = await connect(self._address, lambda *_: None)
        pcm = self._random.choice(self._clips)
        if self._random.random() < 0.9:
            wire.send(text_frame(type="start", bits=self._random.choice(PRECISIONS)))
            for at in range(0, int(len(pcm) * self._random.random()), 6400):
                wire.send(frame(pcm[at : at + 6400]))
            if self._random.random() < 0.3:
                wire.send(text_frame(type=self._random.choice(("finalize", "stop"))))
        await asyncio.sleep(self._stay_seconds())
        self._leave(wire.transport)

    def _stay_seconds(self) -> float:
        return LONGEST_STAY_SECONDS * self._random.random() ** 2

    def _leave(self, transport: asyncio.Transport) -> None:
        """In good order, with half of the connection first, or as a program that is killed."""
        way = self._random.choice(("close", "half", "kill"))
        if way == "close" or transport.is_closing():
            transport.close()
        elif way == "half":
            transport.write_eof()
            asyncio.get_running_loop().call_later(LONGEST_STAY_SECONDS, transport.abort)
        else:
            at_once = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            transport.abort()
