"""Twice the capacity, files and streams together: how soon who is refused learns it, and whether the rest is served.

    python -m loadtests.overload --capacity 8 --seconds 20

A server is started that lets `--capacity` files and as many streams in. Twice as many clients of each kind come at it
without a pause: streams in real time, files as fast as they go. Who is refused comes again after `--retry-ms`. A
refusal takes from the beginning of the connection to its end, with everything that was said in it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from loadtests.server import Server, cpu_list, server_under_test
from loadtests.speech import BYTES_PER_SECOND, long_recording, pcm_clips
from loadtests.streams import quantile
from loadtests.wire import Message, Wire, audio_frames, connect, text_frame

PACKET_SECONDS = 0.1
ANSWER_SECONDS = 60.0
SEED = 20250521


@dataclass(frozen=True)
class Overload:
    bits: int
    capacity: int
    seconds: float
    file_seconds: float
    retry_seconds: float


@dataclass
class Tally:
    """Of one kind of client."""

    refused_seconds: list[float] = field(default_factory=list)
    served_seconds: list[float] = field(default_factory=list)
    without_hint: int = 0
    broken: list[str] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return {
            "refused": len(self.refused_seconds),
            "refused_p50_ms": quantile(self.refused_seconds, 0.5) * 1000,
            "refused_p90_ms": quantile(self.refused_seconds, 0.9) * 1000,
            "refused_p99_ms": quantile(self.refused_seconds, 0.99) * 1000,
            "refused_max_ms": max(self.refused_seconds, default=float("nan")) * 1000,
            "without_hint": self.without_hint,
            "served": len(self.served_seconds),
            "served_p50_ms": quantile(self.served_seconds, 0.5) * 1000,
            "served_p95_ms": quantile(self.served_seconds, 0.95) * 1000,
            "lost": len(self.broken),
            "first_lost": self.broken[:1],
        }


class Upload(asyncio.Protocol):
    """One request that is sent whole; its answer is all that comes until the server closes."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.answer = bytearray()
        self.closed: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.answer += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self.closed.set_result(exc)

    @property
    def status(self) -> int:
        """0 where no answer came."""
        return int(self.answer[9:12]) if self.answer.startswith(b"HTTP/1.1 ") else 0


def file_request(load: Overload) -> bytes:
    body = long_recording(load.file_seconds)
    head = (
        f"POST /transcribe?bits={load.bits}&timestamps=none HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: audio/L16; rate=16000; channels=1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send_files(server: Server, load: Overload, request: bytes, tally: Tally, until: float) -> None:
    while time.perf_counter() < until:
        begin = time.perf_counter()
        _, upload = await asyncio.get_running_loop().create_connection(lambda: Upload(request), *server.address)
        async with asyncio.timeout(ANSWER_SECONDS):
            lost = await upload.closed
        seconds = time.perf_counter() - begin
        if upload.status == 503:
            tally.refused_seconds.append(seconds)
            tally.without_hint += not re.search(rb"retry-after: [1-9]", upload.answer, re.IGNORECASE)
            await asyncio.sleep(load.retry_seconds)
        elif upload.status == 200:
            tally.served_seconds.append(seconds)
        else:
            tally.broken.append(f"{lost!r} {bytes(upload.answer[:200])!r}")


def _note(messages: list[Message], message: Message, _: float) -> None:
    messages.append(message)


async def speak(server: Server, load: Overload, clips: list[list[bytes]], tally: Tally, until: float) -> None:
    for frames in itertools.cycle(clips):
        if time.perf_counter() > until:
            return
        messages: list[Message] = []
        begin = time.perf_counter()
        try:
            wire = await connect(server.address, partial(_note, messages))
        except OSError as error:
            tally.broken.append(f"{error!r} after {time.perf_counter() - begin:.1f} s")
            continue
        wire.send(text_frame(type="start", bits=load.bits))
        while not messages and not wire.closed.done():
            await asyncio.wait([wire.closed], timeout=0.005)
        if messages and messages[0]["type"] == "ready":
            await _serve(wire, frames, messages, tally)
            continue
        code = await asyncio.wait_for(wire.closed, ANSWER_SECONDS)
        if code == 1013 and messages and messages[0].get("code") == "overloaded":
            tally.refused_seconds.append(time.perf_counter() - begin)
            tally.without_hint += not messages[0].get("retry_after_seconds")
            await asyncio.sleep(load.retry_seconds)
        else:
            tally.broken.append(f"closed with {code} after {messages}")


async def _serve(wire: Wire, frames: list[bytes], messages: list[Message], tally: Tally) -> None:
    due = time.perf_counter()
    for packet in frames:
        due += PACKET_SECONDS
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        wire.send(packet)
    stopped = time.perf_counter()
    wire.send(text_frame(type="stop"))
    code = await asyncio.wait_for(wire.closed, ANSWER_SECONDS)
    if code == 1000 and messages[-1]["type"] == "done":
        tally.served_seconds.append(time.perf_counter() - stopped)
    else:
        tally.broken.append(f"closed with {code} after {messages[-1:]}")


async def run_overload(server: Server, load: Overload) -> dict[str, dict[str, Any]]:
    chance = random.Random(SEED)
    clips = [audio_frames(pcm, int(PACKET_SECONDS * BYTES_PER_SECOND)) for pcm in pcm_clips(20)]
    request = file_request(load)
    files, streams = Tally(), Tally()
    until = time.perf_counter() + load.seconds
    async with asyncio.TaskGroup() as clients:
        for _ in range(2 * load.capacity):
            clients.create_task(send_files(server, load, request, files, until))
            clients.create_task(speak(server, load, chance.sample(clips, len(clips)), streams, until))
    return {"files": files.report(), "streams": streams.report()}


def line(kind: str, report: dict[str, Any]) -> str:
    return (
        f"{kind}: {report['refused']} refused, p50 {report['refused_p50_ms']:.1f} p90 {report['refused_p90_ms']:.1f} "
        f"p99 {report['refused_p99_ms']:.1f} max {report['refused_max_ms']:.1f} ms, "
        f"{report['without_hint']} without a hint; "
        f"{report['served']} served, p50 {report['served_p50_ms']:.0f} p95 {report['served_p95_ms']:.0f} ms; "
        f"{report['lost']} lost {report['first_lost'] or ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--capacity", type=int, default=8, help="files, and streams, that the server lets in")
    parser.add_argument("--seconds", type=float, default=20.0, help="no client comes after this")
    parser.add_argument("--file-seconds", type=float, default=60.0)
    parser.add_argument("--retry-ms", type=float, default=200.0)
    parser.add_argument("--server-cpus", type=cpu_list, default=[], help="processors for the server: 0,1")
    parser.add_argument("--json", type=Path, help="write the reports here")
    options = parser.parse_args()
    load = Overload(options.bits, options.capacity, options.seconds, options.file_seconds, options.retry_ms / 1000)
    settings = {"max_files": load.capacity, "max_streams": load.capacity, "reference_interval_seconds": 0}
    with server_under_test(None, options.server_cpus, **settings, log_level="warning") as server:
        reports = asyncio.run(run_overload(server, load))
    for kind, report in reports.items():
        print(line(kind, report))
    if options.json:
        options.json.write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
