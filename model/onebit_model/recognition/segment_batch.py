"""Segments of any recordings on their way to words, in steps; their company does not change what is heard in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from onebit_kernels import Decoding, Stream
from onebit_model.config import Chunk
from onebit_model.recognition.desk import Desk
from onebit_model.recognition.segment import Segment, Span
from onebit_model.recognition.segmentation import AudioSegment
from onebit_model.text.decoding import TimedToken
from onebit_model.text.search import Search

UNBOUNDED = 1e9


class SegmentBatch:
    """`step` until it is `done`; then the segments are in the order of the audio. Any equal desk may do any step."""

    def __init__(self, desk: Desk, chunk: Chunk, items: Iterable[tuple[AudioSegment, Search]]) -> None:
        self._tasks = [_Task(desk, chunk, audio, search) for audio, search in items]

    @property
    def done(self) -> bool:
        return all(task.segment is not None for task in self._tasks)

    @property
    def writes(self) -> bool:
        """Everything is heard: from now on steps end in time."""
        return all(task.stream is None for task in self._tasks)

    def segments(self) -> list[Segment]:
        """Those that are done."""
        return [task.segment for task in self._tasks if task.segment is not None]

    def step(self, desk: Desk, max_milliseconds: float = UNBOUNDED) -> None:
        """A chunk of every segment that is not heard to its end; then texts are written, for so long at a time, and
        judged, one at a time."""
        hearing = [task.stream for task in self._tasks if task.stream is not None]
        decodings = [task.decoding for task in self._tasks if task.decoding is not None]
        written = next((task for task in self._tasks if task.is_written), None)
        if hearing:
            desk.engine.step(hearing)
            for task in self._tasks:
                task.end_hearing(desk)
        elif written is not None:
            written.judge(desk)
        elif decodings:
            assert desk.decoder is not None
            desk.decoder.step(decodings, max_milliseconds)


class _Task:
    """One segment: a stream while it is heard, then a decoding while it is written, then words."""

    def __init__(self, desk: Desk, chunk: Chunk, audio: AudioSegment, search: Search) -> None:
        self._audio = audio
        self._search = search
        self._span = Span(audio.start_seconds, audio.start_seconds + audio.seconds, audio.track)
        self._heard: list[TimedToken] = []
        self.stream: Stream | None = None
        self.decoding: Decoding | None = None
        self.segment: Segment | None = None
        if audio.is_silent:
            self.segment = replace(desk.wording.heard([], self._span), no_speech_probability=1.0)
            return
        self.stream = search.open(desk.engine, chunk, keep_encoded=search.written is not None)
        self.stream.feed(audio.samples)
        self.stream.finish()

    @property
    def is_written(self) -> bool:
        return self.decoding is not None and self.decoding.done

    def end_hearing(self, desk: Desk) -> None:
        """If its stream is done: on to the decoder, or to the answer."""
        if self.stream is None or not self.stream.done:
            return
        result = self.stream.take()
        self._heard = [*result.tokens, *result.tentative]
        if self._search.written is None or desk.decoder is None:
            finds_speech = partial(desk.finds_speech, self._audio.samples)
            self.segment = desk.wording.believed(self._heard, self._span, finds_speech)
        else:
            self.decoding = self._search.written.open(desk.decoder, self.stream)
        self.stream = None

    def judge(self, desk: Desk) -> None:
        assert self.decoding is not None
        finds_speech = partial(desk.finds_speech, self._audio.samples)
        written = self.decoding.written
        self.segment = desk.wording.written(written, desk.bits, self._heard, self._span, finds_speech)
        self.decoding = None
