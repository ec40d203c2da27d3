"""What `onebit serve` and `onebit transcribe` do; cli.py only names their options."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from onebit_model.audio import AudioOptions, open_audio
from onebit_model.byte_feed import ByteFeed
from onebit_model.errors import MissingAudioError
from onebit_model.ffmpeg import Ffmpeg
from onebit_model.recognizer import Chunk, Recognizer
from onebit_model.search import GREEDY, Search
from onebit_service.settings import Settings

READ_BYTES = 1 << 16


def run_server(overrides: dict[str, Any]) -> int:
    """Settings from the environment, with what the command line says on top. The exit code."""
    from onebit_service.allocator import spare_memory

    spare_memory()
    # structlog would load it for coloured tracebacks: 4 MB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from onebit_service.application import create_app
    from onebit_service.server import serve

    given = {name: value for name, value in overrides.items() if value is not None}
    settings = replace(Settings.from_environment(os.environ), **given)
    app = create_app(settings)
    print(f"Try:  {curl_line(settings)}", flush=True)
    return serve(app)


def curl_line(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"curl -F file=@speech.wav '{scheme}://{host}:{settings.port}/transcribe?bits=1'"


def transcribe_file(
    recognizer: Recognizer, source: IO[bytes], bits: int, chunk: Chunk, search: Search = GREEDY
) -> Iterator[str]:
    """The texts of a file's segments, read by the same code as an upload."""
    reader = FileFeed(source)
    reader.start()
    options = AudioOptions(ffmpeg=Ffmpeg.find("ffmpeg", 3600.0))
    engine = recognizer.engine(bits)
    try:
        with open_audio(reader.feed, options) as audio:
            blocks = (block[:, 0] for block in audio.blocks())
            for segment in recognizer.transcribe_blocks(blocks, engine, chunk, search):
                if segment.words:
                    yield segment.text
    finally:
        reader.feed.abandon()
        reader.join()


class FileFeed(threading.Thread):
    """Reads a file or standard input into a feed, as far ahead as the feed has room."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__(name="reader", daemon=True)
        self._room = threading.Event()
        self._source = source
        self.feed = ByteFeed(on_room=self._room.set)

    def run(self) -> None:
        try:
            # What is there, be it little: a pipe may be filled as slowly as somebody speaks.
            while data := os.read(self._source.fileno(), READ_BYTES):
                self._room.clear()
                if not self.feed.offer(data):
                    self._room.wait()
            self.feed.close()
        except BaseException as error:
            self.feed.abort(error)


def open_source(path: Path) -> IO[bytes]:
    try:
        return sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise MissingAudioError(f"{path}: {error.strerror}") from error
