"""The loaded model, and speech of any length to words through it, one segment after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onebit_kernels import Engine, LanguageModel, Model, Stream
from onebit_model.config import WHOLE_SEGMENT, Chunk
from onebit_model.files.assets import model_path
from onebit_model.files.packed import PackedModel, read_packed, select_precisions
from onebit_model.recognition.segmentation import AudioSegment, Segmenter
from onebit_model.text.decoding import TimedToken, Word, confidence_of, text_of, words_from_tokens
from onebit_model.text.language_model import chosen_language_model
from onebit_model.text.search import Search, chosen_search

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Segment:
    """What was said in one segment. The times are those of its words, or of its audio where there are none."""

    start_seconds: float
    end_seconds: float
    words: tuple[Word, ...] = ()
    track: int = 0

    @property
    def text(self) -> str:
        return text_of(self.words)

    @property
    def confidence(self) -> float:
        return confidence_of(self.words)


class Recognizer:
    """One packed file in the layout of the kernels; engines of all its precisions share it, and its language model."""

    def __init__(
        self, packed: PackedModel, isa: str | None = None, language_model: LanguageModel | None = None
    ) -> None:
        self.description = packed.description
        self.path = packed.path
        self.file_bytes = packed.file_bytes
        self.bits = packed.bits
        self.file_bytes_by_bits = {bits: packed.bytes_for(bits) for bits in packed.bits}
        self.language_model = language_model
        self._packed = packed
        tensors = {name: np.asarray(tensor) for name, tensor in packed.tensors.items()}
        self.model = Model(packed.config.to_dict(), tensors, list(packed.bits), isa)

    @staticmethod
    def load(
        path: str | Path | None = None, isa: str | None = None, language_model: str | Path | None = None
    ) -> Recognizer:
        """The chosen or the shipped files; "none" is no language model. Raises ModelFileError."""
        packed = read_packed(model_path(path))
        return Recognizer(packed, isa, chosen_language_model(language_model, packed.vocabulary))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.description.vocabulary

    def require(self, bits: int) -> int:
        """`bits`, or UnsupportedBitsError."""
        return self._packed.require(bits)

    def engine(self, bits: int, exact: bool = False) -> Engine:
        return Engine(self.model, self.require(bits), exact)

    def search(self, beam: int | None = None, hotwords: Iterable[str] = ()) -> Search:
        """A search for this vocabulary, or SearchOptionError."""
        return chosen_search(beam, hotwords, self.vocabulary, self.language_model)

    def segment(
        self, tokens: Iterable[TimedToken], start_seconds: float, end_seconds: float, track: int = 0
    ) -> Segment:
        """Tokens counted from `start_seconds` to a segment with the times of its words."""
        words = tuple(words_from_tokens(tokens, self.vocabulary, start_seconds))
        if not words:
            return Segment(start_seconds, end_seconds, (), track)
        return Segment(words[0].start_seconds, min(words[-1].end_seconds, end_seconds), words, track)

    def transcribe(
        self, samples: Samples, bits: int, chunk: Chunk = WHOLE_SEGMENT, search: Search | None = None
    ) -> list[Segment]:
        """(samples,) float32 at 16 kHz, of any length; the search is that of a request that names none."""
        return list(self.transcribe_blocks([samples], self.engine(bits), chunk, search))

    def transcribe_blocks(
        self, blocks: Iterable[Samples], engine: Engine, chunk: Chunk = WHOLE_SEGMENT, search: Search | None = None
    ) -> Iterator[Segment]:
        """Blocks of one track as they come; each segment as soon as it is known."""
        segmenter = Segmenter()
        searches = repeat(search or self.search())
        for block in blocks:
            yield from self.recognize(list(segmenter.push(block)), engine, chunk, searches)
        yield from self.recognize(list(segmenter.finish()), engine, chunk, searches)

    def recognize(
        self,
        pieces: Sequence[AudioSegment],
        engine: Engine,
        chunk: Chunk = WHOLE_SEGMENT,
        searches: Iterable[Search] | None = None,
    ) -> list[Segment]:
        """Segments of any recordings, each with its search; their company does not change what is heard in them."""
        streams = [
            None if piece.is_silent else _fed_stream(engine, piece.samples, chunk, search)
            for piece, search in zip(pieces, searches or repeat(self.search()), strict=False)
        ]
        working = [stream for stream in streams if stream is not None]
        while working:
            engine.step(working)
            working = [stream for stream in working if not stream.done]
        return [self._decoded(stream, piece) for stream, piece in zip(streams, pieces, strict=True)]

    def _decoded(self, stream: Stream | None, piece: AudioSegment) -> Segment:
        tokens: list[TimedToken] = []
        if stream is not None:
            result = stream.take()
            tokens = [*result.tokens, *result.tentative]
        return self.segment(tokens, piece.start_seconds, piece.start_seconds + piece.seconds, piece.track)


def _fed_stream(engine: Engine, samples: Samples, chunk: Chunk, search: Search) -> Stream:
    stream = search.open(engine, chunk)
    stream.feed(samples)
    stream.finish()
    return stream


def resident_bytes(packed: PackedModel, bits: int, isa: str | None = None) -> int:
    """What the weights would take if this precision alone were loaded; loads it for a moment to know."""
    tensors = select_precisions(packed.tensors, packed.description.only((bits,)))
    return Model(packed.config.to_dict(), tensors, [bits], isa).resident_bytes
