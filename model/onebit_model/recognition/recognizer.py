"""The loaded model, and speech of any length to words through it, one segment after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path

import numpy as np

from onebit_kernels import AttentionDecoder, CtcSpelling, Engine, LanguageModel, Model
from onebit_model.config import WHOLE_SEGMENT, Chunk
from onebit_model.files.assets import model_path
from onebit_model.files.packed import PackedModel, read_packed, select_precisions
from onebit_model.recognition.desk import Desk
from onebit_model.recognition.segment import Segment, Wording
from onebit_model.recognition.segment_batch import SegmentBatch
from onebit_model.recognition.segmentation import AudioSegment, Samples, Segmenter
from onebit_model.recognition.voice import SileroVoice, VoiceDetector
from onebit_model.text.language_model import chosen_language_model
from onebit_model.text.search import Decoder, Search, chosen_search, search_tools

# Segments of one recording that are computed together: more would only take memory.
TOGETHER = 8


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
        self.tools = search_tools(packed, language_model)
        self.wording = Wording(packed.vocabulary, self.tools.pieces, packed.description.calibration)
        self.model = loaded_model(packed, packed.bits, isa)
        self._packed = packed
        # CTC is asked what it thinks of the decoder's texts.
        pieces = self.tools.pieces
        self._spelling = None if pieces is None else CtcSpelling(pieces.pieces, packed.vocabulary)

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

    @cached_property
    def voice(self) -> VoiceDetector:
        """One for all threads."""
        return SileroVoice()

    def require(self, bits: int) -> int:
        """`bits`, or UnsupportedBitsError."""
        return self._packed.require(bits)

    def engine(self, bits: int, exact: bool = False) -> Engine:
        return Engine(self.model, self.require(bits), exact)

    def desk(self, engine: Engine, voice: VoiceDetector | None = None) -> Desk:
        """What a thread with this engine computes with; texts need a voice detector, the usual one if none is given."""
        if not self.model.has_decoder:
            return Desk(engine, self.wording, None, voice or self.voice)
        heads, spelling = self.description.alignment_heads, self._spelling
        decoder = AttentionDecoder(self.model, engine.bits, engine.exact, heads, spelling)
        return Desk(engine, self.wording, decoder, voice or self.voice)

    def search(self, beam: int | None = None, hotwords: Iterable[str] = (), decoder: Decoder | None = None) -> Search:
        """A search for this model, or SearchOptionError."""
        return chosen_search(beam, hotwords, self.tools, decoder)

    def transcribe(
        self, samples: Samples, bits: int, chunk: Chunk = WHOLE_SEGMENT, search: Search | None = None
    ) -> list[Segment]:
        """(samples,) float32 at 16 kHz, of any length; the search is that of a request that names none."""
        return list(self.transcribe_blocks([samples], self.engine(bits), chunk, search))

    def transcribe_blocks(
        self, blocks: Iterable[Samples], engine: Engine, chunk: Chunk = WHOLE_SEGMENT, search: Search | None = None
    ) -> Iterator[Segment]:
        """Blocks of one track as they come; each segment as soon as it is known."""
        desk = self.desk(engine)
        chosen = search or self.search()
        segmenter = Segmenter(chosen.is_written)
        for block in blocks:
            yield from _recognized(desk, chunk, chosen, segmenter.push(block))
        yield from _recognized(desk, chunk, chosen, segmenter.finish())

    def recognize(
        self,
        pieces: Sequence[AudioSegment],
        engine: Engine,
        chunk: Chunk = WHOLE_SEGMENT,
        searches: Iterable[Search] | None = None,
    ) -> list[Segment]:
        """Segments of any recordings, each with its search; their company does not change what is heard in them."""
        items = zip(pieces, searches or repeat(self.search()), strict=False)
        desk = self.desk(engine)
        batch = SegmentBatch(desk, chunk, items)
        while not batch.done:
            batch.step(desk)
        return batch.segments()


def _recognized(desk: Desk, chunk: Chunk, search: Search, pieces: Iterable[AudioSegment]) -> Iterator[Segment]:
    rest = iter(pieces)
    while together := list(islice(rest, TOGETHER)):
        batch = SegmentBatch(desk, chunk, zip(together, repeat(search), strict=False))
        while not batch.done:
            batch.step(desk)
        yield from batch.segments()


def loaded_model(packed: PackedModel, bits: Sequence[int], isa: str | None = None) -> Model:
    """The precisions `bits` of a packed file in the layout of the kernels."""
    description = packed.description.only(bits)
    tensors = select_precisions(packed.tensors, description)
    arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    return Model(packed.config.to_dict(), arrays, list(bits), isa, description.allocation.exceptions)


def resident_bytes(packed: PackedModel, bits: int, isa: str | None = None) -> int:
    """What the weights would take if this precision alone were loaded; loads it for a moment to know."""
    return loaded_model(packed, (bits,), isa).resident_bytes
