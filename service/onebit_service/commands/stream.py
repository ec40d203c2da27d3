"""What `onebit stream` does: a file, standard input or the microphone to a server, its text live in the terminal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text
from websockets.exceptions import ConnectionClosed

from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.reading import AudioOptions, open_audio
from onebit_model.config import SAMPLE_RATE
from onebit_model.errors import MissingAudioError
from onebit_service.client import StreamClient, StreamOptions, open_stream, paced
from onebit_service.commands.serving import FileFeed, naming_audio, open_source
from onebit_service.routes.stream_messages import FinalMessage, PartialMessage

PACKET_SECONDS = 0.1
PACKET_BYTES = int(PACKET_SECONDS * SAMPLE_RATE) * 2
RECORDERS = (
    ["arecord", "-q", "-t", "raw", "-f", "S16_LE", "-r", str(SAMPLE_RATE), "-c", "1"],
    ["parec", "--raw", "--format=s16le", f"--rate={SAMPLE_RATE}", "--channels=1"],
    ["rec", "-q", "-t", "raw", "-e", "signed", "-b", "16", "-r", str(SAMPLE_RATE), "-c", "1", "-"],
)


@dataclass(frozen=True)
class StreamJob:
    """What the command line asked for; without a file it is the microphone."""

    url: str
    file: Path | None
    options: StreamOptions
    key: str | None = None
    real_time: bool = False


async def run_stream(job: StreamJob) -> None:
    if job.file is None:
        # Ctrl+C reaches the recorder too: it ends, and with it the stream, in good order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    async with open_stream(job.url, job.options, job.key) as stream:
        await _converse(stream, job)


async def _converse(stream: StreamClient, job: StreamJob) -> None:
    """Until `done`; audio that cannot be read ends it at once, for nobody would ever send `stop`."""
    sending = asyncio.create_task(stream.send_all(_packets(job)))
    showing = asyncio.create_task(_show(stream, Console()))
    try:
        await asyncio.wait((sending, showing), return_when=asyncio.FIRST_EXCEPTION)
        # What the server says when it closes tells more than that nothing can be sent any more.
        with suppress(ConnectionClosed):
            if sending.done():
                await sending
        await showing
    finally:
        for task in (sending, showing):
            task.cancel()
        await asyncio.gather(sending, showing, return_exceptions=True)


async def _show(stream: StreamClient, console: Console) -> None:
    """Finals stay; below them stands what is being said. In a file or pipe there are finals only."""
    with Live(console=console, refresh_per_second=12, transient=True) as live:
        async for message in stream:
            if isinstance(message, FinalMessage):
                live.update(Text())
                if message.text:
                    _print_final(console, message)
            elif isinstance(message, PartialMessage) and console.is_terminal:
                live.update(Text(message.text, style="dim"))
    if console.is_terminal and stream.done is not None:
        done = stream.done
        console.print(Text(f"{done.duration_seconds:.1f} s, computed in {done.processing_seconds:.3f} s", style="dim"))


def _print_final(console: Console, message: FinalMessage) -> None:
    if console.is_terminal:
        console.print(Text(f"{message.start:7.2f} ", style="cyan") + Text(message.text))
    else:
        print(message.text, flush=True)


async def _packets(job: StreamJob) -> AsyncIterator[bytes]:
    source = _recorded() if job.file is None else _decoded(job.file)
    packets = _in_thread(source)
    async for packet in paced(packets, PACKET_SECONDS) if job.real_time else packets:
        yield packet


async def _in_thread(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (packet := await asyncio.to_thread(next, source, None)) is not None:
        yield packet


def _decoded(path: Path) -> Iterator[bytes]:
    with open_source(path) as source, naming_audio(path):
        yield from _whole_packets(_pcm_blocks(source))


def _pcm_blocks(source: IO[bytes]) -> Iterator[bytes]:
    reader = FileFeed(source)
    reader.start()
    try:
        with open_audio(reader.feed, AudioOptions(ffmpeg=Ffmpeg("ffmpeg", 3600.0))) as audio:
            for block in audio.blocks():
                yield (np.clip(block[:, 0], -1, 1) * 32767).astype("<i2").tobytes()
    finally:
        reader.feed.abandon()


def _whole_packets(blocks: Iterator[bytes]) -> Iterator[bytes]:
    waiting = b""
    for block in blocks:
        waiting += block
        while len(waiting) >= PACKET_BYTES:
            yield waiting[:PACKET_BYTES]
            waiting = waiting[PACKET_BYTES:]
    if waiting:
        yield waiting


def _recorded() -> Iterator[bytes]:
    """Whichever recording program this machine has; Ctrl+C ends it, and the stream with it."""
    command = next((command for command in RECORDERS if shutil.which(command[0])), None)
    if command is None:
        raise MissingAudioError("no recording program found: install alsa-utils, pulseaudio-utils or sox")
    print("listening; Ctrl+C stops", file=sys.stderr)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        while packet := recorder.stdout.read(PACKET_BYTES):
            yield packet
