"""What `onebit serve` and `onebit transcribe` do; cli.py only names their options."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.reading import AudioOptions, open_audio
from onebit_model.config import Chunk
from onebit_model.errors import AudioError, MissingAudioError
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.text.search import GREEDY, Search
from onebit_service.errors import InvalidParameterError, SettingError
from onebit_service.settings import Settings, unknown_variables

READ_BYTES = 1 << 16


def run_server(options: Mapping[str, str | None]) -> int:
    """Settings from the environment, with what the command line says on top. The exit code."""
    names = {field: "--" + field.replace("_", "-") for field in options}
    with naming_options(options, names):
        return _run_server(options)


@contextmanager
def naming_options(options: Mapping[str, str | None], names: Mapping[str, str]) -> Iterator[None]:
    """A setting that came from an option is called by the option's name."""
    try:
        yield
    except SettingError as error:
        if not options.get(error.field):
            raise
        raise InvalidParameterError(error.field, f"{names[error.field]}: {error.complaint}") from error


def _run_server(options: Mapping[str, str | None]) -> int:
    start_process()
    from onebit_service.server.application import create_app
    from onebit_service.server.running import serve

    app = create_app(Settings.from_environment(os.environ, options))
    warn_of_unknown_settings()
    return serve(app)


def start_process() -> None:
    """What a server does before anything else is imported, to be small."""
    from onebit_service.server.allocator import spare_memory

    spare_memory()
    # structlog would load it for coloured tracebacks: 4 MB.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]


def warn_of_unknown_settings() -> None:
    import structlog

    for name in unknown_variables(os.environ):
        structlog.get_logger("onebit").warning("unknown_setting", variable=name)


def transcribe_file(
    recognizer: Recognizer, source: IO[bytes], bits: int, chunk: Chunk, search: Search = GREEDY
) -> Iterator[str]:
    """The texts of a file's segments, read by the same code as an upload."""
    reader = FileFeed(source)
    reader.start()
    options = AudioOptions(ffmpeg=Ffmpeg("ffmpeg", 3600.0))
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


@contextmanager
def naming_audio(path: Path) -> Iterator[None]:
    """Which file it is whose audio cannot be used."""
    try:
        yield
    except AudioError as error:
        name = "standard input" if str(path) == "-" else path
        raise AudioError(f"{name}: {error}") from error


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
