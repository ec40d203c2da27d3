"""How a text is looked for in what the network says: greedily, or with a beam, a language model and hotwords."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from onebit_kernels import AttentionDecoder, Decoding, Engine, Hotwords, LanguageModel, Stream
from onebit_model.errors import SearchOptionError
from onebit_model.files.layout import PIECE_ENDS, PIECES
from onebit_model.files.packed import PackedModel
from onebit_model.text.normalization import normalise
from onebit_model.text.pieces import Pieces

Decoder = Literal["attention", "ctc"]
"""Who writes the answer: the attention decoder written text, the CTC head lower-case words."""

WIDEST_WRITTEN_BEAM = 8
WIDEST_BEAM = 32
USUAL_BEAM = 16
MOST_HOTWORDS = 100
LONGEST_HOTWORD = 60


@dataclass(frozen=True)
class WrittenSearch:
    """How the attention decoder looks for its text: `beam` texts are kept from piece to piece, 1 is greedy."""

    beam: int = 1
    hotwords: Hotwords | None = None

    def open(self, decoder: AttentionDecoder, stream: Stream, frames: int | None = None) -> Decoding:
        """The text of the first `frames` frames of a stream that keeps its encoder's output; of all by default."""
        return decoder.open(stream, frames, self.beam, self.hotwords, timing="ctc")


@dataclass(frozen=True)
class Search:
    """The CTC search: `beam` texts are kept from frame to frame, 1 is greedy; the others need more than one.

    With `written` the attention decoder writes the answer, and what the CTC hears are partial texts and its check.
    """

    beam: int = 1
    hotwords: Hotwords | None = None
    language_model: LanguageModel | None = None
    written: WrittenSearch | None = None

    @property
    def is_written(self) -> bool:
        return self.written is not None

    def open(self, engine: Engine, chunk: int, keep_encoded: bool = False) -> Stream:
        """A stream of `engine` with this search; one that is to be written keeps the encoder's output."""
        return engine.open(
            chunk,
            beam=self.beam,
            hotwords=self.hotwords,
            language_model=self.language_model,
            keep_encoded=keep_encoded,
        )


GREEDY = Search()


@dataclass(frozen=True)
class SearchTools:
    """What the searches of one model are made of: `pieces` are those of its attention decoder, if it has one."""

    vocabulary: Sequence[str]
    language_model: LanguageModel | None = None
    pieces: Pieces | None = None

    @property
    def usual_decoder(self) -> Decoder:
        return "ctc" if self.pieces is None else "attention"


def search_tools(packed: PackedModel, language_model: LanguageModel | None = None) -> SearchTools:
    """Those of a packed file, or ModelFileError for pieces that are none."""
    pieces = None
    if packed.config.has_decoder:
        tensors = packed.tensors
        pieces = Pieces.from_arrays(tensors[PIECES].astype(np.uint8), tensors[PIECE_ENDS].astype(np.uint32))
    return SearchTools(packed.vocabulary, language_model, pieces)


def split_phrases(lists: Iterable[str]) -> list[str]:
    """Lists of phrases with commas between them, as people write them, to phrases."""
    return [phrase for text in lists for phrase in text.split(",")]


def chosen_search(
    beam: int | None, phrases: Iterable[str], tools: SearchTools, decoder: Decoder | None = None
) -> Search:
    """What a request asks for: the beam and the phrases are those of the decoder that answers.

    Blank phrases do not count. Raises SearchOptionError, which names the option.
    """
    given = [phrase for phrase in phrases if phrase.strip()]
    if len(given) > MOST_HOTWORDS:
        raise SearchOptionError("hotwords", f"at most {MOST_HOTWORDS} hotwords are used; there are {len(given)}")
    if (decoder or tools.usual_decoder) == "ctc":
        return _ctc_search(beam, given, tools)
    if tools.pieces is None:
        raise SearchOptionError("decoder", "the loaded model has no attention decoder; leave decoder out, or ctc")
    written = _written_search(beam, given, tools.pieces)
    return replace(_ctc_search(None, [], tools), written=written)


def _ctc_search(beam: int | None, phrases: Sequence[str], tools: SearchTools) -> Search:
    """Phrases pass the normaliser of all texts; with some, or with a language model, a beam is used where none is
    named."""
    usual = USUAL_BEAM if phrases or tools.language_model else 1
    width = usual if beam is None else beam
    if not 1 <= width <= WIDEST_BEAM:
        raise SearchOptionError("beam", f"beam must be from 1 to {WIDEST_BEAM}")
    if not phrases:
        return Search(width, None, tools.language_model) if width > 1 else GREEDY
    if width == 1:
        raise SearchOptionError("beam", "hotwords need a beam of 2 or more; beam 1 is greedy")
    try:
        hotwords = Hotwords([_words(phrase) for phrase in phrases], list(tools.vocabulary))
    except ValueError as error:
        raise SearchOptionError("hotwords", f"{error}; numbers have to be spelled out") from error
    return Search(width, hotwords, tools.language_model)


def _written_search(beam: int | None, phrases: Sequence[str], pieces: Pieces) -> WrittenSearch:
    width = 1 if beam is None else beam
    if not 1 <= width <= WIDEST_WRITTEN_BEAM:
        raise SearchOptionError("beam", f"beam must be from 1 to {WIDEST_WRITTEN_BEAM} with the attention decoder")
    if not phrases:
        return WrittenSearch(width)
    words = [" ".join(phrase.split()) for phrase in phrases]
    for phrase in words:
        if not any(letter.isalnum() for letter in phrase):
            raise SearchOptionError("hotwords", f"hotword {phrase[:LONGEST_HOTWORD]!r} holds no word")
        _check_length(phrase)
    try:
        return WrittenSearch(width, Hotwords.of_bytes(words, list(pieces.pieces)))
    except ValueError as error:
        raise SearchOptionError("hotwords", str(error)) from error


def _words(phrase: str) -> str:
    words = normalise(phrase)
    if not words:
        raise SearchOptionError("hotwords", f"hotword {phrase[:LONGEST_HOTWORD]!r} holds no word of English")
    _check_length(words)
    return words


def _check_length(words: str) -> None:
    if len(words) > LONGEST_HOTWORD:
        raise SearchOptionError(
            "hotwords", f"hotword {words[:LONGEST_HOTWORD]!r}... is longer than {LONGEST_HOTWORD} letters"
        )
