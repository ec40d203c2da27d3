"""Streams in real time: how many a server carries while final texts come in time, and what they cost it.

    python -m loadtests.streams --bits 1 --packet-ms 100 --search
    python -m loadtests.streams --bits 4 --packet-ms 20 --streams 40 --seconds 60

A final text is late by the time from `stop` to the `final` that answers it (to `done` where nothing was left to say).
Only streams that stop while all others speak are measured, not those of the first seconds and of the last; that part
of a run goes on until each place had a stop of its own. A first partial is late by the time from the onset of speech
in the clip to its text; what is never said has none. The server and this client share the machine unless
--server-cpus says otherwise; what the client itself takes is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import itertools
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from loadtests.server import Figures, Server, cpu_list, server_under_test
from loadtests.speech import BYTES_PER_SECOND, pcm_clips, samples_of
from loadtests.wire import Message, Wire, audio_frames, connect, text_frame
from onebit_model.recognition.segmentation import onset_seconds

SEED = 20250521
CLIPS = 20
STOP = text_frame(type="stop")
ANSWER_SECONDS = 30.0
FIRST_STREAMS = 8
LARGEST_STREAMS = 2000
SETTINGS = {"max_streams": LARGEST_STREAMS, "reference_interval_seconds": 0, "log_level": "warning"}


def quantile(values: Sequence[float], share: float) -> float:
    """One of the values; not a number where there are none."""
    return float(np.quantile(values, share, method="higher")) if values else float("nan")


@dataclass(frozen=True)
class Load:
    bits: int
    chunk: int
    packet_seconds: float
    streams: int
    seconds: float
    clip_seconds: float
    bound_seconds: float


@dataclass(frozen=True)
class Clip:
    frames: list[bytes]
    onset_seconds: float

    @staticmethod
    def cut(pcm: bytes, packet_bytes: int) -> Clip:
        """Whole packets: the end of a clip is spoken in real time too."""
        whole = pcm[: len(pcm) // packet_bytes * packet_bytes]
        return Clip(audio_frames(whole, packet_bytes), onset_seconds(samples_of(whole)))


@dataclass
class Tally:
    """What came back, over all streams of one run."""

    partial_seconds: list[float] = field(default_factory=list)
    final_seconds: list[float] = field(default_factory=list)
    late_sends: list[float] = field(default_factory=list)
    unmeasured: int = 0
    finished: int = 0
    lost: int = 0
    refused: int = 0
    audio_seconds: float = 0.0


class Window:
    """The part of a run whose stops are measured, while everybody speaks. It goes on until each place was measured
    once, at most for a clip and its answer, and not once a loss or refusal has settled the verdict.
    """

    def __init__(self, load: Load, tally: Tally, begin: float) -> None:
        self._begin = begin
        self._end = begin + load.seconds
        self._tally = tally
        tally.unmeasured = load.streams

    @property
    def is_over(self) -> bool:
        is_settled = not self._tally.unmeasured or self._tally.lost > 0 or self._tally.refused > 0
        return is_settled and time.perf_counter() > self._end

    @property
    def is_open(self) -> bool:
        return time.perf_counter() >= self._begin and not self.is_over


@dataclass(frozen=True)
class Report:
    bits: int
    chunk: int
    packet_ms: float
    streams: int
    measured: int
    finished: int
    lost: int
    refused: int
    first_partials: int
    first_partial_p50_ms: float
    first_partial_p95_ms: float
    final_p50_ms: float
    final_p95_ms: float
    final_p99_ms: float
    within_bound: bool
    server_cpu_seconds_per_stream_second: float
    server_cores: float
    streams_per_core: float
    server_resident_mb: float
    client_cores: float
    client_late_p99_ms: float

    def line(self) -> str:
        verdict = "within the bound" if self.within_bound else "NOT within the bound"
        if not self.measured:
            verdict = "NOTHING MEASURED"
        return (
            f"{self.streams:4d} streams, {self.bits} bit, chunk {self.chunk}, packets of {self.packet_ms:g} ms: "
            f"first partial p50 {self.first_partial_p50_ms:.0f} p95 {self.first_partial_p95_ms:.0f} ms, "
            f"final p50 {self.final_p50_ms:.0f} p95 {self.final_p95_ms:.0f} p99 {self.final_p99_ms:.0f} ms, {verdict}; "
            f"{self.measured} measured, {self.finished} finished, {self.lost} lost, {self.refused} refused; "
            f"server {self.server_cpu_seconds_per_stream_second:.5f} CPU s per stream s, "
            f"{self.server_cores:.2f} cores, {self.streams_per_core:.0f} streams per core used, "
            f"{self.server_resident_mb:.0f} MB; "
            f"client {self.client_cores:.2f} cores, sends late by {self.client_late_p99_ms:.1f} ms (p99)"
        )


class Talker:
    """One place in the load: speaks a clip in real time, stops, waits for the final text, and starts again."""

    def __init__(self, server: Server, load: Load, clips: list[Clip], tally: Tally, window: Window) -> None:
        self._server = server
        self._load = load
        self._clips = itertools.cycle(clips)
        self._tally = tally
        self._window = window
        self._onset_at = 0.0
        self._stopped_at = 0.0
        self._stop_counts = False
        self._was_measured = False
        self._answered = False
        self._refused = False

    async def talk(self, clock: Clock, begin_seconds: float) -> None:
        """Begins at a moment of its own before the window, as callers do: else all chunks would be complete at once."""
        await asyncio.sleep(begin_seconds)
        while not self._window.is_over:
            await self._once(clock, next(self._clips))

    async def _once(self, clock: Clock, clip: Clip) -> None:
        self._stopped_at, self._answered, self._refused = 0.0, False, False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                wire = await connect(self._server.address, self._heard)
        except OSError:
            self._tally.lost += 1
            await asyncio.sleep(1)
            return
        wire.send(text_frame(type="start", bits=self._load.bits, chunk=self._load.chunk))
        self._onset_at = time.perf_counter() + clip.onset_seconds
        await clock.send_paced(wire, clip.frames)
        self._stop_counts = self._window.is_open
        self._stopped_at = time.perf_counter()
        wire.send(STOP)
        try:
            code = await asyncio.wait_for(asyncio.shield(wire.closed), ANSWER_SECONDS)
        except TimeoutError:
            wire.transport.abort()
            code = -1
        self._count(code, len(clip.frames))

    def _heard(self, message: Message, moment: float) -> None:
        if message["type"] in ("final", "done") and self._stopped_at and not self._answered:
            self._answered = True
            if self._stop_counts:
                self._tally.final_seconds.append(moment - self._stopped_at)
                self._tally.unmeasured -= not self._was_measured
                self._was_measured = True
        elif message["type"] == "partial" and self._onset_at:
            if self._window.is_open:
                self._tally.partial_seconds.append(moment - self._onset_at)
            self._onset_at = 0.0
        elif message["type"] == "error":
            self._refused = message["code"] in ("overloaded", "rate_limited", "draining", "loading")

    def _count(self, code: int, frames: int) -> None:
        if self._refused:
            self._tally.refused += 1
        elif code == 1000 and self._answered:
            self._tally.finished += 1
            self._tally.audio_seconds += frames * self._load.packet_seconds
        else:
            self._tally.lost += 1


class Clock:
    """Sends the packets of all streams when each is due: one timer instead of one for each stream."""

    def __init__(self, packet_seconds: float, late: list[float]) -> None:
        self._packet_seconds = packet_seconds
        self._late = late
        self._due: list[tuple[float, int, Wire, list[bytes], int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    async def send_paced(self, wire: Wire, frames: list[bytes]) -> None:
        """The first packet when its audio would have been recorded; then one each time it has been again."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first = time.perf_counter() + self._packet_seconds
        heapq.heappush(self._due, (first, next(self._numbers), wire, frames, 0, done))
        self._wake.set()
        await done

    async def run(self) -> None:
        while True:
            now = time.perf_counter()
            while self._due and self._due[0][0] <= now:
                self._send_one(now)
            self._wake.clear()
            pause = self._due[0][0] - time.perf_counter() if self._due else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    def _send_one(self, now: float) -> None:
        due, number, wire, frames, at, done = heapq.heappop(self._due)
        self._late.append(now - due)
        wire.send(frames[at])
        if at + 1 < len(frames) and not wire.closed.done():
            heapq.heappush(self._due, (due + self._packet_seconds, number, wire, frames, at + 1, done))
        elif not done.done():
            done.set_result(None)


async def run_load(server: Server, load: Load) -> Report:
    packet_bytes = int(load.packet_seconds * BYTES_PER_SECOND)
    clips = [Clip.cut(pcm, packet_bytes) for pcm in pcm_clips(CLIPS, load.clip_seconds)]
    longest = max(len(clip.frames) for clip in clips) * load.packet_seconds
    least = load.clip_seconds + load.seconds
    print(f"{load.streams:4d} streams, {least:.0f} to {least + longest:.0f} s ...", flush=True)
    tally = Tally()
    clock = Clock(load.packet_seconds, tally.late_sends)
    ticking = asyncio.create_task(clock.run())
    before, client_before, begin = server.figures(), sum(os.times()[:2]), time.perf_counter()
    window = Window(load, tally, begin + load.clip_seconds)
    chance = random.Random(SEED)
    talks = (Talker(server, load, chance.sample(clips, len(clips)), tally, window).talk for _ in range(load.streams))
    talkers = [asyncio.create_task(talk(clock, chance.uniform(0, load.clip_seconds))) for talk in talks]
    peak_bytes = 0.0
    while not all(talker.done() for talker in talkers):
        await asyncio.wait(talkers, timeout=2.0)
        peak_bytes = max(peak_bytes, (await asyncio.to_thread(server.figures)).resident_bytes)
    ticking.cancel()
    await asyncio.gather(*talkers)
    after, wall = server.figures(), time.perf_counter() - begin
    client_cores = (sum(os.times()[:2]) - client_before) / wall
    return _report(load, tally, (before, after), peak_bytes, wall, client_cores)


def _report(
    load: Load, tally: Tally, figures: tuple[Figures, Figures], peak_bytes: float, wall: float, client_cores: float
) -> Report:
    before, after = figures
    cpu_seconds = after.cpu_seconds - before.cpu_seconds
    p95 = quantile(tally.final_seconds, 0.95)
    cost = cpu_seconds / tally.audio_seconds if tally.audio_seconds else float("nan")
    return Report(
        bits=load.bits,
        chunk=load.chunk,
        packet_ms=load.packet_seconds * 1000,
        streams=load.streams,
        measured=len(tally.final_seconds),
        finished=tally.finished,
        lost=tally.lost,
        refused=tally.refused,
        first_partials=len(tally.partial_seconds),
        first_partial_p50_ms=quantile(tally.partial_seconds, 0.5) * 1000,
        first_partial_p95_ms=quantile(tally.partial_seconds, 0.95) * 1000,
        final_p50_ms=quantile(tally.final_seconds, 0.5) * 1000,
        final_p95_ms=p95 * 1000,
        final_p99_ms=quantile(tally.final_seconds, 0.99) * 1000,
        within_bound=not (tally.unmeasured or tally.lost or tally.refused) and p95 <= load.bound_seconds,
        server_cpu_seconds_per_stream_second=cost,
        server_cores=cpu_seconds / wall,
        streams_per_core=1 / cost if cost else float("nan"),
        server_resident_mb=peak_bytes / 1e6,
        client_cores=client_cores,
        client_late_p99_ms=quantile(tally.late_sends, 0.99) * 1000,
    )


async def search(server: Server, load: Load, trials: int, first: int = FIRST_STREAMS) -> list[Report]:
    """Doubles the streams until the bound breaks, then halves the distance; at most `trials` runs."""
    reports: list[Report] = []
    good, bad, streams = 0, 0, first
    while len(reports) < trials and streams <= LARGEST_STREAMS:
        report = await run_load(server, Load(**(asdict(load) | {"streams": streams})))
        reports.append(report)
        print(report.line(), flush=True)
        if report.within_bound:
            good = streams
        else:
            bad = streams
            await asyncio.sleep(2)
        if bad and bad - good <= max(2, good // 20):
            break
        streams = (good + bad) // 2 if bad else good * 2
    return reports


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server on this machine; none: one is started")
    parser.add_argument("--bits", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--chunk", type=int, default=8, choices=(8, 16))
    parser.add_argument("--packet-ms", type=float, default=100.0)
    number = parser.add_mutually_exclusive_group()
    number.add_argument("--streams", type=int, default=20)
    number.add_argument("--search", action="store_true", help="look for the largest number within the bound")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the measured part of a run")
    parser.add_argument("--clip-seconds", type=float, default=10.0, help="shortest stream")
    parser.add_argument("--bound-ms", type=float, default=500.0, help="for the p95 of final texts")
    parser.add_argument("--trials", type=int, default=12, help="most runs of a search")
    parser.add_argument("--server-cpus", type=cpu_list, default=[], help="processors for a server started here: 0,1")
    parser.add_argument("--json", type=Path, help="write the reports here")
    options = parser.parse_args()
    load = Load(
        options.bits,
        options.chunk,
        options.packet_ms / 1000,
        options.streams,
        options.seconds,
        options.clip_seconds,
        options.bound_ms / 1000,
    )
    with server_under_test(options.url, options.server_cpus, **SETTINGS) as server:
        idle = server.figures().resident_bytes / 1e6
        print(f"{server.url}: {idle:.0f} MB when idle", flush=True)
        if options.search:
            reports = asyncio.run(search(server, load, options.trials))
        else:
            reports = [asyncio.run(run_load(server, load))]
            print(reports[0].line())
    _conclude(reports, options.json)


def _conclude(reports: list[Report], path: Path | None) -> None:
    carried = max((report.streams for report in reports if report.within_bound), default=0)
    cores = len(os.sched_getaffinity(0))
    print(
        f"carried within the bound: {carried} streams on {cores} cores, {carried / cores:.0f} per core of the machine"
    )
    if path:
        path.write_text(json.dumps([asdict(report) for report in reports], indent=1))


if __name__ == "__main__":
    main()
