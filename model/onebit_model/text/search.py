"""How a text is looked for in what the network says: greedily, or with a beam, a language model and hotwords."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onebit_kernels import Engine, Hotwords, LanguageModel, Stream
from onebit_model.errors import SearchOptionError
from onebit_model.text.normalization import normalise

WIDEST_BEAM = 32
USUAL_BEAM = 16
MOST_HOTWORDS = 100
LONGEST_HOTWORD = 60


@dataclass(frozen=True)
class Search:
    """`beam`: texts that are kept from frame to frame, 1 is greedy; the others need more than one."""

    beam: int = 1
    hotwords: Hotwords | None = None
    language_model: LanguageModel | None = None

    def open(self, engine: Engine, chunk: int) -> Stream:
        """A stream of `engine` with this search."""
        return engine.open(chunk, beam=self.beam, hotwords=self.hotwords, language_model=self.language_model)


GREEDY = Search()


def split_phrases(lists: Iterable[str]) -> list[str]:
    """Lists of phrases with commas between them, as people write them, to phrases."""
    return [phrase for text in lists for phrase in text.split(",")]


def chosen_search(
    beam: int | None, phrases: Iterable[str], vocabulary: Sequence[str], language_model: LanguageModel | None = None
) -> Search:
    """What a request asks for. Phrases pass the normaliser of all texts, blank ones do not count; with some of them, or
    with a language model, a beam is used where none is named. Raises SearchOptionError, which names the option."""
    given = [phrase for phrase in phrases if phrase.strip()]
    usual = USUAL_BEAM if given or language_model else 1
    width = usual if beam is None else beam
    if not 1 <= width <= WIDEST_BEAM:
        raise SearchOptionError("beam", f"beam must be from 1 to {WIDEST_BEAM}")
    if not given:
        return Search(width, None, language_model) if width > 1 else GREEDY
    if width == 1:
        raise SearchOptionError("beam", "hotwords need a beam of 2 or more; beam 1 is greedy")
    if len(given) > MOST_HOTWORDS:
        raise SearchOptionError("hotwords", f"at most {MOST_HOTWORDS} hotwords are used; there are {len(given)}")
    try:
        return Search(width, Hotwords([_words(phrase) for phrase in given], list(vocabulary)), language_model)
    except ValueError as error:
        raise SearchOptionError("hotwords", str(error)) from error


def _words(phrase: str) -> str:
    words = normalise(phrase)
    if not words:
        raise SearchOptionError("hotwords", f"hotword {phrase[:LONGEST_HOTWORD]!r} holds no word of English")
    if len(words) > LONGEST_HOTWORD:
        raise SearchOptionError(
            "hotwords", f"hotword {words[:LONGEST_HOTWORD]!r}... is longer than {LONGEST_HOTWORD} letters"
        )
    return words
