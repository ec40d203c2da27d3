"""How a text is looked for in what the network says: greedily, or with a beam and with phrases to prefer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from onebit_kernels import Hotwords
from onebit_model.errors import SearchOptionError
from onebit_model.normalization import normalise

WIDEST_BEAM = 32
HOTWORD_BEAM = 16
MOST_HOTWORDS = 100
LONGEST_HOTWORD = 60


@dataclass(frozen=True)
class Search:
    """`beam`: texts that are kept from frame to frame, 1 is greedy; hotwords need more than one."""

    beam: int = 1
    hotwords: Hotwords | None = None


GREEDY = Search()


def chosen_search(beam: int | None, phrases: Iterable[str], vocabulary: Sequence[str]) -> Search:
    """What a request asks for. Phrases pass the normaliser of all texts, blank ones do not count; with some of them a
    beam is used even where none is named. Raises SearchOptionError, which names `beam` or `hotwords`."""
    given = [phrase for phrase in phrases if phrase.strip()]
    width = (HOTWORD_BEAM if given else 1) if beam is None else beam
    if not 1 <= width <= WIDEST_BEAM:
        raise SearchOptionError("beam", f"beam must be from 1 to {WIDEST_BEAM}")
    if not given:
        return Search(width)
    if width == 1:
        raise SearchOptionError("beam", "hotwords need a beam of 2 or more; beam 1 is greedy")
    if len(given) > MOST_HOTWORDS:
        raise SearchOptionError("hotwords", f"at most {MOST_HOTWORDS} hotwords are used; there are {len(given)}")
    try:
        return Search(width, Hotwords([_words(phrase) for phrase in given], list(vocabulary)))
    except ValueError as error:
        raise SearchOptionError("hotwords", f"{error}; numbers have to be spelled out") from error


def _words(phrase: str) -> str:
    words = normalise(phrase)
    if not words:
        raise SearchOptionError("hotwords", f"hotword {phrase[:LONGEST_HOTWORD]!r} holds no word of English")
    if len(words) > LONGEST_HOTWORD:
        raise SearchOptionError(
            "hotwords", f"hotword {words[:LONGEST_HOTWORD]!r}... is longer than {LONGEST_HOTWORD} letters"
        )
    return words
