"""Hours of mixed load: memory must stay flat, and no final text may get lost or change.

    python -m loadtests.soak --minutes 5
    python -m loadtests.soak --minutes 5 --leaving 12   # and clients that leave at random moments, on every route

Streams at different speeds and packet sizes, files, clients that vanish in the middle of either, and requests that are
wrong. The same clip at the same precision must give the same text each time, whatever else goes on. Exit code 1 and a
line for each broken promise otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from loadtests.leaving import Leavers
from loadtests.server import MEBIBYTE, Server, server_under_test
from loadtests.speech import BYTES_PER_SECOND, pcm_clips
from loadtests.wire import Message, connect, frame, text_frame

SEED = 20250521
PRECISIONS = (1, 2, 4)
CLIPS = 12
# Longer than the service lets a file wait for its turn: a refusal is an answer.
ANSWER_SECONDS = 90.0
OVERLOADED = 503
TRY_AGAIN_LATER = 1013
SAMPLE_SECONDS = 1.0
# What the first minutes are: caches and arenas fill until every kind of request was there at its most crowded.
WARM_SHARE = 1 / 3
WARM_SECONDS = 150.0
GROWTH_BYTES = 8 * MEBIBYTE
GROWTH_BYTES_PER_HOUR = 1 * MEBIBYTE


@dataclass
class Ledger:
    """What was promised and what was kept."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: dict[tuple[str, int, int], str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def text(self, kind: str, clip: int, bits: int, text: str) -> None:
        known = self.texts.setdefault((kind, clip, bits), text)
        if known != text:
            self.broken.append(f"{kind} of clip {clip} at {bits} bit changed from {known!r} to {text!r}")


class Soak:
    def __init__(self, server: Server, until: float) -> None:
        self._server = server
        self._until = until
        self._clips = pcm_clips(CLIPS)
        self._random = random.Random(SEED)
        self.ledger = Ledger()

    async def run(self, streams: int, files: int, leaving: int) -> None:
        begin = time.monotonic()
        workers = [self._repeat(self._stream) for _ in range(streams)]
        workers += [self._repeat(self._vanishing_stream) for _ in range(max(1, streams // 4))]
        workers += [self._repeat(self._file) for _ in range(files)]
        workers += [self._repeat(self._vanishing_file), self._repeat(self._wrong_request)]
        leavers = Leavers(self._server.address, self._clips, SEED)
        workers += [self._repeat(leavers.once) for _ in range(leaving)]
        load = [asyncio.create_task(worker) for worker in workers]
        while time.monotonic() < self._until:
            await asyncio.sleep(SAMPLE_SECONDS)
            figures = await asyncio.to_thread(self._server.figures)
            self.ledger.memory.append((time.monotonic() - begin, figures.resident_bytes))
        await asyncio.gather(*load)
        self.ledger.counts += leavers.counts

    async def places(self, count: int) -> None:
        """Everybody has left: as many files as there are places are let in at once."""
        pcm = self._clips[0]
        answers = await asyncio.gather(
            *(asyncio.to_thread(self._post, "/transcribe?bits=1", pcm) for _ in range(count))
        )
        refused = sum(status != 200 for status, _ in answers)
        if refused:
            self.ledger.broken.append(f"{refused} of {count} places were not given back")

    async def _repeat(self, once) -> None:  # type: ignore[no-untyped-def]
        while time.monotonic() < self._until:
            try:
                await once()
            except OSError as error:
                self.ledger.broken.append(f"{once.__name__}: {error!r}")
                await asyncio.sleep(1)

    def _choose(self) -> tuple[int, int, bytes]:
        clip = self._random.randrange(len(self._clips))
        return clip, self._random.choice(PRECISIONS), self._clips[clip]

    async def _speak(self, wire, pcm: bytes, share: float) -> None:  # type: ignore[no-untyped-def]
        """A share of the clip, one to four times as fast as it was spoken."""
        speed = self._random.uniform(1, 4)
        size = self._random.choice((641, 3200, 6400, 16_001))
        for at in range(0, int(len(pcm) * share), size):
            wire.send(frame(pcm[at : at + size]))
            await asyncio.sleep(size / BYTES_PER_SECOND / speed)

    async def _stream(self) -> None:
        clip, bits, pcm = self._choose()
        finals: dict[int, str] = {}
        ends: list[Message] = []

        def heard(message: Message, _: float) -> None:
            if message["type"] == "final":
                finals[message["segment"]] = message["text"]
            elif message["type"] in ("done", "error"):
                ends.append(message)

        wire = await connect(self._server.address, heard)
        wire.send(text_frame(type="start", bits=bits, partials=self._random.random() < 0.5))
        await self._speak(wire, pcm, 1.0)
        wire.send(text_frame(type="stop"))
        try:
            code = await asyncio.wait_for(wire.closed, ANSWER_SECONDS)
        except TimeoutError:
            code = -1
            wire.transport.abort()
        if code == TRY_AGAIN_LATER:
            await self._come_back("streams")
            return
        if code != 1000 or not ends or ends[-1]["type"] != "done":
            self.ledger.broken.append(f"stream of clip {clip} at {bits} bit got no end: code {code}, {ends}")
            return
        self.ledger.counts["streams"] += 1
        self.ledger.text("stream", clip, bits, " ".join(finals[number] for number in sorted(finals)))

    async def _come_back(self, what: str) -> None:
        """A refusal for lack of room is an answer, not a broken promise."""
        self.ledger.counts[f"refused {what}"] += 1
        await asyncio.sleep(1)

    async def _vanishing_stream(self) -> None:
        _, bits, pcm = self._choose()
        wire = await connect(self._server.address, lambda *_: None)
        wire.send(text_frame(type="start", bits=bits))
        await self._speak(wire, pcm, self._random.random())
        if self._random.random() < 0.5:
            wire.send(text_frame(type="stop"))
        wire.transport.abort()
        self.ledger.counts["vanished streams"] += 1

    async def _file(self) -> None:
        clip, bits, pcm = self._choose()
        status, body = await asyncio.to_thread(self._post, f"/transcribe?bits={bits}", pcm)
        if status == OVERLOADED:
            await self._come_back("files")
            return
        if status != 200:
            self.ledger.broken.append(f"file of clip {clip} at {bits} bit: {status} {body[:200]!r}")
            return
        self.ledger.counts["files"] += 1
        self.ledger.text("file", clip, bits, json.loads(body)["text"])
        await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _vanishing_file(self) -> None:
        _, writer = await asyncio.open_connection(*self._server.address)
        pcm = self._choose()[2]
        head = f"POST /transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(pcm)}\r\n"
        writer.write(f"{head}Content-Type: audio/L16; rate=16000; channels=1\r\n\r\n".encode())
        writer.write(pcm[: self._random.randrange(len(pcm))])
        await asyncio.sleep(self._random.uniform(0, 0.3))
        writer.transport.abort()
        self.ledger.counts["vanished files"] += 1
        await asyncio.sleep(0.2)

    async def _wrong_request(self) -> None:
        path, body, expected = self._random.choice(
            [("/transcribe?bits=3", b"x", 422), ("/transcribe", b"", 422), ("/transcribe", b"no audio at all", 415)]
        )
        status, answer = await asyncio.to_thread(self._post, path, body, "application/octet-stream")
        if status not in (expected, OVERLOADED):
            self.ledger.broken.append(f"{path} with {body!r}: {status} instead of {expected}: {answer[:200]!r}")
        self.ledger.counts["wrong requests"] += 1
        await asyncio.sleep(self._random.uniform(0, 1))

    def _post(self, path: str, body: bytes, kind: str = "audio/L16; rate=16000; channels=1") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._server.address, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Memory:
    start_bytes: float
    end_bytes: float
    slope_bytes_per_hour: float
    hours: float

    @property
    def flat(self) -> bool:
        """Judged by the slope over everything after the warm-up, as growth within the time that was watched."""
        return self.slope_bytes_per_hour * self.hours <= GROWTH_BYTES + GROWTH_BYTES_PER_HOUR * self.hours


def memory_of(samples: list[tuple[float, float]]) -> Memory:
    last = samples[-1][0]
    warm_seconds = max(WARM_SHARE * last, min(WARM_SECONDS, last / 2))
    seconds, size = np.array([sample for sample in samples if sample[0] >= warm_seconds]).T
    slope = float(np.polyfit(seconds / 3600, size, 1)[0]) if len(seconds) > 1 else 0.0
    tenth = max(1, len(size) // 10)
    hours = float(seconds[-1] - seconds[0]) / 3600
    return Memory(float(np.median(size[:tenth])), float(np.median(size[-tenth:])), slope, hours)


async def wait_until_empty(server: Server) -> bool:
    """Whether everything that vanished was noticed."""
    for _ in range(100):
        found = await asyncio.to_thread(server.samples)
        if not found["asr_streams_active"] and not found["asr_queue_depth"]:
            return True
        await asyncio.sleep(0.2)
    return False


@dataclass(frozen=True)
class Crowd:
    """How many of each are there at once."""

    streams: int
    files: int
    leaving: int


async def soak(server: Server, minutes: float, crowd: Crowd) -> int:
    run = Soak(server, time.monotonic() + 60 * minutes)
    await run.run(crowd.streams, crowd.files, crowd.leaving)
    ledger, memory = run.ledger, memory_of(run.ledger.memory)
    if not await wait_until_empty(server):
        ledger.broken.append("the server still counts streams or files although every client has left")
    elif crowd.leaving:
        await run.places(int((await asyncio.to_thread(server.samples))["asr_queue_max"]))
    if not memory.flat:
        ledger.broken.append("memory grows")
    print(", ".join(f"{count} {what}" for what, count in sorted(ledger.counts.items())))
    print(
        f"memory after the warm-up {memory.start_bytes / 1e6:.1f} MB, at the end {memory.end_bytes / 1e6:.1f} MB, "
        f"slope {memory.slope_bytes_per_hour / 1e6:+.2f} MB an hour over {memory.hours * 60:.1f} minutes"
    )
    for line in ledger.broken[:20]:
        print(f"broken: {line}")
    print(f"{len(ledger.broken)} promises broken" if ledger.broken else "every promise kept")
    return bool(ledger.broken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server on this machine; none: one is started")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=12)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--leaving", type=int, default=0, help="clients that leave at random moments on every route")
    options = parser.parse_args()
    with server_under_test(options.url, reference_interval_seconds=0, log_level="error") as server:
        code = asyncio.run(soak(server, options.minutes, Crowd(options.streams, options.files, options.leaving)))
    raise SystemExit(code)


if __name__ == "__main__":
    main()
