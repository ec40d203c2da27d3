"""A spoken stream: packets of any size in, partial and final segments out.

What is decided, and where, depends on the audio alone: chunks are counted from the start of a segment, so that the
same audio gives the same text however it was cut into packets and whoever else is being served.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from onebit_kernels import Decoding, Stream
from onebit_model.audio.level import Leveler
from onebit_model.config import (
    CHUNK_UNIT_SAMPLES,
    MAXIMUM_SEGMENT_SAMPLES,
    OUTPUT_FRAME_SAMPLES,
    OUTPUT_FRAME_SECONDS,
    SAMPLE_RATE,
    WHOLE_SEGMENT,
    LiveChunk,
)
from onebit_model.recognition.desk import Desk
from onebit_model.recognition.segment import Segment, Span
from onebit_model.recognition.segmentation import CUT_REGION_SAMPLES, quietest_point
from onebit_model.text.decoding import TimedToken
from onebit_model.text.search import GREEDY, Search

Samples = npt.NDArray[np.float32]
Reason = Literal["silence", "finalize", "stop", "max_segment"]

# What the first convolutions want to see beyond a chunk; feeding less would make the core wait.
LOOK_AHEAD_SAMPLES = 240
# A new segment starts up to this much before the end of a silence, so that no onset is lost.
ONSET_REGION_SAMPLES = SAMPLE_RATE * 2 // 5
# Without a word for this long the segment starts again, so that it begins near the speech.
WORDLESS_FRAMES = round(10 / OUTPUT_FRAME_SECONDS)
WORDLESS_REGION_SAMPLES = SAMPLE_RATE
# The voice detector hears the end of the silence only: half of it fills the detector's memory.
VOICE_SAMPLES = SAMPLE_RATE // 2
# Who speaks without a pause is cut after this time where endpoints are wanted: a text that comes later is no live text.
LONGEST_SPEECH_SAMPLES = 12 * SAMPLE_RATE
LONGEST_SPEECH_CUT_SAMPLES = 3 * SAMPLE_RATE
# The farthest that is looked back from the end of a chunk, but for the cut of what is too long.
LOOK_BACK_SAMPLES = max(ONSET_REGION_SAMPLES, WORDLESS_REGION_SAMPLES, VOICE_SAMPLES)
# The voice detector may hold an endpoint back, but not for ever: noise can sound like a voice.
VETO_FACTOR = 3


@dataclass(frozen=True)
class LiveOptions:
    chunk: LiveChunk = 8
    partials: bool = True
    endpoint_silence_seconds: float = 0.8
    search: Search = GREEDY
    second_pass: bool = False  # final texts by the segment, not by its chunks


@dataclass(frozen=True)
class Partial:
    number: int
    segment: Segment


@dataclass(frozen=True)
class Final:
    number: int
    segment: Segment
    reason: Reason


Event = Partial | Final


@dataclass
class AudioTail:
    """The latest audio, addressed by its place in the stream."""

    start: int = 0
    end: int = 0
    _blocks: deque[Samples] = field(default_factory=deque)

    def append(self, block: Samples) -> None:
        self._blocks.append(block)
        self.end += len(block)

    def drop_before(self, position: int) -> None:
        while self._blocks and self.start + len(self._blocks[0]) <= position:
            self.start += len(self._blocks.popleft())

    def between(self, start: int, end: int) -> Samples:
        parts = []
        at = self.start
        for block in self._blocks:
            if at + len(block) > start:
                parts.append(block[max(0, start - at) : end - at])
            at += len(block)
            if at >= end:
                break
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


@dataclass
class Ending:
    """A segment that has come to its end, while the attention decoder writes its text.

    `whole`: it is heard once more, as a whole; then `decoding` is its text on its way.
    """

    reason: Reason
    end: int
    next_start: int
    heard: list[TimedToken]
    whole: Stream | None = None
    decoding: Decoding | None = None


class LiveStream:
    """`push`, `finalize` and `stop` may be called while another thread is between `prepare` and `advance`."""

    def __init__(self, desk: Desk, options: LiveOptions) -> None:
        self._writes = options.search.written is not None and desk.decoder is not None
        self._chunks = options.search.open(desk.engine, options.chunk, self._writes and not options.second_pass)
        self.stopped = False
        self._desk = desk
        self._options = options
        self._chunk_samples = options.chunk * CHUNK_UNIT_SAMPLES
        self._endpoint_frames = math.ceil(options.endpoint_silence_seconds / OUTPUT_FRAME_SECONDS)
        ends = bool(self._endpoint_frames)
        self._longest_samples = LONGEST_SPEECH_SAMPLES if ends else MAXIMUM_SEGMENT_SAMPLES
        self._cut_samples = LONGEST_SPEECH_CUT_SAMPLES if ends else CUT_REGION_SAMPLES
        self._leveler = Leveler()
        self._inbox: deque[Samples | Reason] = deque()
        # Each of these two is written by one side only.
        self._marks_put = self._marks_taken = 0
        self._pushed = 0
        self._audio = AudioTail()
        self._number = 0
        self._closing: Reason | None = None
        self._ending: Ending | None = None
        self._begin(0)

    def _begin(self, position: int) -> None:
        """The next segment starts at this sample of the stream."""
        self._start = self._fed = self._decoded = position
        self._audio.drop_before(position)
        self._decided: list[TimedToken] = []
        self._tokens: list[TimedToken] = []  # those and what may change yet
        self._partial_text = ""

    # The producer's side

    def push(self, samples: Samples) -> None:
        self._put(self._leveler.push(samples))

    def finalize(self) -> None:
        self._mark("finalize")

    def stop(self) -> None:
        self._mark("stop")

    def _put(self, samples: Samples) -> None:
        if len(samples):
            self._inbox.append(samples)
            self._pushed += len(samples)

    def _mark(self, reason: Reason) -> None:
        self._put(self._leveler.flush())
        self._inbox.append(reason)
        self._marks_put += 1

    @property
    def backlog_seconds(self) -> float:
        """Audio that came but was not computed yet."""
        return (self._pushed - self._decoded) / SAMPLE_RATE

    @property
    def kept_seconds(self) -> float:
        """Audio in memory: what comes next, and what may be looked at again."""
        return (self._audio.end - self._audio.start) / SAMPLE_RATE

    @property
    def ready(self) -> bool:
        """Would `prepare` and `advance` get anywhere?"""
        if self.stopped:
            return False
        if self._ending is not None:
            return True
        return self._closing is not None or self._marks_put > self._marks_taken or self._pushed >= self._feed_limit

    @property
    def due(self) -> Literal["chunk", "whole", "text"]:
        """What its next step is: another chunk, the segment once more, or a part of its text."""
        if self._ending is None:
            return "chunk"
        return "text" if self._ending.whole is None else "whole"

    # The computing side: prepare, then Engine.step of `core` or a step of the decoder for `decoding`, then advance

    @property
    def core(self) -> Stream:
        """What an engine is to step when `prepare` says so."""
        return self._chunks if self._ending is None or self._ending.whole is None else self._ending.whole

    @property
    def decoding(self) -> Decoding | None:
        """What the attention decoder is to step."""
        return None if self._ending is None else self._ending.decoding

    def prepare(self) -> bool:
        """Feeds the core up to its next chunk; False when there is nothing for an engine to step."""
        if self._ending is not None:
            return self._ending.whole is not None
        while not self.core.ready and self._closing is None:
            if self._feed():
                continue
            if self._fed == self._start + self._longest_samples:
                self._close("max_segment")
            elif self._inbox:
                self._open_inbox()
            else:
                break
        return bool(self.core.ready)

    def advance(self) -> list[Event]:
        """What is new since the last call."""
        if self._ending is not None:
            return self._write(self._ending)
        if self._fed == self._start:
            return self._finish(self._closing) if self._closing is not None else []
        result = self.core.take()
        self._decided += result.tokens
        self._tokens = [*self._decided, *result.tentative]
        self._decoded = min(self._start + result.frames * OUTPUT_FRAME_SAMPLES, self._fed)
        if self._closing is None:
            events = self._after_chunk(result.frames, result.trailing_blank_frames)
        else:
            events = self._finish(self._closing) if self.core.done else []
        self._audio.drop_before(self._oldest_needed)
        return events

    @property
    def _oldest_needed(self) -> int:
        """What was decoded is looked at again from the end of the next chunk, or where the segment is cut."""
        if self._writes:
            return self._start
        next_look = self._decoded + self._chunk_samples - LOOK_BACK_SAMPLES
        cut_region = self._start + self._longest_samples - self._cut_samples
        return min(self._decoded, next_look, cut_region)

    @property
    def _feed_limit(self) -> int:
        next_chunk = self._decoded + self._chunk_samples + LOOK_AHEAD_SAMPLES
        return min(next_chunk, self._start + self._longest_samples)

    def _feed(self) -> bool:
        end = min(self._feed_limit, self._audio.end)
        if end <= self._fed:
            return False
        self.core.feed(self._audio.between(self._fed, end))
        self._fed = end
        return True

    def _open_inbox(self) -> None:
        item = self._inbox.popleft()
        if isinstance(item, str):
            self._marks_taken += 1
            self._close(item)
        else:
            self._audio.append(item)

    def _close(self, reason: Reason) -> None:
        self._closing = reason
        if self._fed > self._start:
            self.core.finish()

    def _after_chunk(self, frames: int, blank_frames: int) -> list[Event]:
        if self._tokens and self._is_endpoint(blank_frames):
            region = min(blank_frames * OUTPUT_FRAME_SAMPLES, ONSET_REGION_SAMPLES)
            return self._end_segment("silence", self._decoded, self._quietest(region))
        if not self._tokens and frames >= WORDLESS_FRAMES:
            self._restart(self._quietest(WORDLESS_REGION_SAMPLES))
            return []
        return self._partial()

    def _is_endpoint(self, blank_frames: int) -> bool:
        if not self._endpoint_frames or blank_frames < self._endpoint_frames:
            return False
        if self._desk.voice is None or blank_frames >= VETO_FACTOR * self._endpoint_frames:
            return True
        silence_samples = min(self._endpoint_frames * OUTPUT_FRAME_SAMPLES, VOICE_SAMPLES)
        return not self._desk.voice.hears_speech(self._audio.between(self._decoded - silence_samples, self._decoded))

    def _quietest(self, region_samples: int) -> int:
        start = max(self._start, self._decoded - region_samples)
        return start + quietest_point(self._audio.between(start, self._decoded))

    def _partial(self) -> list[Event]:
        if not self._options.partials:
            return []
        segment = self._desk.wording.heard(self._tokens, self._span(self._decoded))
        if segment.text == self._partial_text:
            return []
        self._partial_text = segment.text
        return [Partial(self._number, segment)]

    def _finish(self, reason: Reason) -> list[Event]:
        self._decoded = self._fed
        if reason == "max_segment":
            cut = self._quietest(self._cut_samples)
            return self._end_segment(reason, cut, cut)
        return self._end_segment(reason, self._fed, self._fed)

    def _end_segment(self, reason: Reason, end: int, next_start: int) -> list[Event]:
        heard = [token for token in self._tokens if self._start + token.frame * OUTPUT_FRAME_SAMPLES < end]
        ending = Ending(reason, end, next_start, heard)
        if not self._writes or end == self._start:
            finds_speech = partial(self._desk.finds_speech, self._audio.between(self._start, end))
            return self._final(ending, self._desk.wording.believed(heard, self._span(end), finds_speech))
        self._ending = ending
        if self._options.second_pass:
            ending.whole = self._options.search.open(self._desk.engine, WHOLE_SEGMENT, keep_encoded=True)
            ending.whole.feed(self._audio.between(self._start, end))
            ending.whole.finish()
        else:
            frames = math.ceil((end - self._start) / OUTPUT_FRAME_SAMPLES)
            ending.decoding = self._open_decoding(self._chunks, min(frames, self._chunks.encoded_frames))
        return []

    def _open_decoding(self, stream: Stream, frames: int | None = None) -> Decoding:
        assert self._options.search.written is not None
        assert self._desk.decoder is not None
        return self._options.search.written.open(self._desk.decoder, stream, frames)

    def _write(self, ending: Ending) -> list[Event]:
        """The next part of writing, if the one before it is done."""
        if ending.whole is not None:
            if ending.whole.done:
                result = ending.whole.take()
                ending.heard = [*result.tokens, *result.tentative]
                ending.decoding = self._open_decoding(ending.whole)
                ending.whole = None
            return []
        if ending.decoding is None or not ending.decoding.done:
            return []
        samples = self._audio.between(self._start, ending.end)
        finds_speech = partial(self._desk.finds_speech, samples)
        written, bits = ending.decoding.written, self._desk.bits
        segment = self._desk.wording.written(written, bits, ending.heard, self._span(ending.end), finds_speech)
        self._ending = None
        return self._final(ending, segment)

    def _final(self, ending: Ending, segment: Segment) -> list[Event]:
        # Nobody asked about a stretch without words, unless with `finalize` or `stop`.
        said = bool(segment.words)
        is_wanted = ending.reason == "finalize" or said or (ending.reason == "stop" and ending.end > self._start)
        events: list[Event] = [Final(self._number, segment, ending.reason)] if is_wanted else []
        self._number += is_wanted
        self.stopped = ending.reason == "stop"
        self._restart(ending.next_start)
        return events

    def _restart(self, position: int) -> None:
        self._closing = None
        self._begin(position)
        self._chunks.reset()

    def _span(self, end: int) -> Span:
        return Span(self._start / SAMPLE_RATE, end / SAMPLE_RATE)
