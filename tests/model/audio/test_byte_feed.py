"""A feed that is aborted ends every way of waiting for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.ffmpeg import Ffmpeg
from onebit_model.audio.reading import AudioOptions, open_audio


class GoneError(Exception):
    pass


def test_an_abort_ends_a_decoder_that_gives_nothing(tmp_path: Path) -> None:
    """ffmpeg may search a damaged file for minutes."""
    program = tmp_path / "decoder"
    program.write_text(f"#!/bin/sh\necho > {tmp_path}/runs\nexec sleep 60\n")
    program.chmod(0o755)
    feed = ByteFeed()
    feed.offer(b"\0\0\0\x20ftypisom" + bytes(1000))
    feed.close()
    ended: list[float] = []

    def decode() -> None:
        with pytest.raises(Exception), open_audio(feed, AudioOptions(ffmpeg=Ffmpeg(str(program), 60))) as audio:  # noqa: B017, PT011
            list(audio.blocks())
        ended.append(time.monotonic())

    reader = threading.Thread(target=decode)
    reader.start()
    while not (tmp_path / "runs").exists():
        time.sleep(0.01)
    begin = time.monotonic()
    feed.abort(GoneError())
    reader.join(20)
    assert ended
    assert ended[0] - begin < 5


def test_who_comes_after_the_abort_is_called_at_once() -> None:
    feed = ByteFeed()
    calls: list[str] = []
    feed.when_aborted(lambda: calls.append("before"))
    feed.abort(GoneError())
    feed.abort(GoneError())
    feed.when_aborted(lambda: calls.append("after"))
    assert calls == ["before", "after"]
