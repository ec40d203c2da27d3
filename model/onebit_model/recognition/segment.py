"""What was said in one segment, and how the tokens and pieces of a model become its words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from onebit_kernels import Written
from onebit_model.files.calibration import Calibration
from onebit_model.recognition.second_opinion import Fallback, Opinion, is_nothing, judged
from onebit_model.text.decoding import TimedToken, Word, confidence_of, text_of, words_from_tokens
from onebit_model.text.pieces import Pieces
from onebit_model.text.written_words import words_from_pieces

# A text that says the same so often in a row goes in circles.
REPEATS = 3


@dataclass(frozen=True)
class Segment:
    """The times are those of its words, or of its audio where there are none.

    The probability that nobody speaks is 0 or 1 where the CTC head alone was asked. Of a segment that the attention
    decoder wrote: how many pieces it wrote, and why its text is not the answer, where it is not.
    """

    start_seconds: float
    end_seconds: float
    words: tuple[Word, ...] = ()
    track: int = 0
    no_speech_probability: float = 0.0
    pieces: int = 0
    fallback: Fallback | None = None

    @property
    def text(self) -> str:
        return text_of(self.words)

    @property
    def confidence(self) -> float:
        return confidence_of(self.words)


@dataclass(frozen=True)
class Span:
    """Where the audio of a segment lies in its recording."""

    start_seconds: float
    end_seconds: float
    track: int = 0

    def segment(self, words: Sequence[Word]) -> Segment:
        if not words:
            return Segment(self.start_seconds, self.end_seconds, (), self.track)
        within = tuple(self._within(word) for word in words)
        return Segment(within[0].start_seconds, within[-1].end_seconds, within, self.track)

    def _within(self, word: Word) -> Word:
        """Frames are whole ones: the last may end behind the audio."""
        if word.end_seconds <= self.end_seconds:
            return word
        return replace(word, start_seconds=min(word.start_seconds, self.end_seconds), end_seconds=self.end_seconds)


@dataclass(frozen=True)
class Wording:
    """The words of one model: `vocabulary` of its CTC head, `pieces` of its decoder, if it has one."""

    vocabulary: Sequence[str]
    pieces: Pieces | None = None
    calibration: Calibration = field(default_factory=Calibration)

    def heard(self, tokens: Iterable[TimedToken], span: Span) -> Segment:
        """What the CTC head heard, by tokens counted from the start of the span."""
        return span.segment(words_from_tokens(tokens, self.vocabulary, span.start_seconds))

    def believed(self, tokens: Iterable[TimedToken], span: Span, finds_speech: Callable[[], bool]) -> Segment:
        """What the CTC head heard, unless nobody spoke (`second_opinion`)."""
        segment = self.heard(tokens, span)
        if is_nothing(segment.words, finds_speech):
            return replace(span.segment(()), no_speech_probability=1.0)
        return segment

    def written(
        self, written: Written, bits: int, heard: Iterable[TimedToken], span: Span, finds_speech: Callable[[], bool]
    ) -> Segment:
        """What the decoder wrote, as far as it is believed (`second_opinion`)."""
        if self.pieces is None:
            raise ValueError("this model has no attention decoder")
        calibrated = partial(self.calibration.confidence, bits)
        words = words_from_pieces(written.pieces, self.pieces, span.start_seconds, calibrated)
        opinion = Opinion(tuple(words), written.no_speech_probability, written.ctc_agreement, _why_not(written))
        verdict = judged(opinion, self.heard(heard, span).words, finds_speech)
        return replace(
            span.segment(verdict.words),
            no_speech_probability=written.no_speech_probability,
            pieces=len(written.pieces),
            fallback=verdict.fallback,
        )


def _why_not(written: Written) -> Fallback | None:
    """The engine says that a text has no end; it goes in circles, or is only too long."""
    if not written.loop:
        return None
    ids = [piece.id for piece in written.pieces]
    periods = range(1, len(ids) // REPEATS + 1)
    return "loop" if any(ids[-n:] == ids[-2 * n : -n] == ids[-3 * n : -2 * n] for n in periods) else "too_long"
