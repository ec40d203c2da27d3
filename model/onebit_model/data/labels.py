"""Labels as people write them, for the attention decoder: capitals, punctuation, digits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from onebit_model.text.canonical_forms import canonical
from onebit_model.text.normalization import Unit, normalise, spoken_units

LEAST_LIKENESS = 0.65  # between Faris and Ferris, 0.73, and seamed and Seen, 0.6

_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "“": '"', "”": '"', "„": '"', "…": "..."})
_WRAPPED = re.compile(r"""(["'])(?P<text>.*)\1""", re.DOTALL)
_OPENING = re.compile(r"""^["'(\[]*""")
_CLOSING = re.compile(r"""[.,;:?!"')\]-]*$""")
_ENDS_A_SENTENCE = re.compile(r"""[.?!]["')\]]*$""")
_ABBREVIATION = re.compile(r"(?i:\b(?:[a-z]|mrs?|ms|messrs|dr|st|prof|capt|col|gen|lt|lieut|rev|hon|jr|sr|no|vs)\.)$")
_HAS_FIGURE = re.compile("[0-9]")
_FIRST = re.compile(r"[^\W_]")
# Words that have a capital only because a sentence begins with them.
_STARTERS = {
    "a", "an", "the", "and", "but", "or", "nor", "so", "yet", "for", "of", "in", "on", "at", "to", "by", "as", "if",
    "with", "from", "he", "she", "it", "they", "we", "you", "this", "that", "these", "those", "there", "here",
    "then", "when", "while", "where", "who", "what", "which", "how", "why", "his", "her", "its", "their", "our",
    "my", "your", "is", "was", "are", "were", "be", "not", "no", "yes", "oh", "well", "now", "all", "one"
}  # fmt: skip


def written(raw: str) -> str:
    """A corpus's own text: single spaces, straight quotes, none around the whole, a capital at the beginning."""
    text = " ".join(raw.translate(_STRAIGHT).split())
    while (wrapped := _WRAPPED.fullmatch(text)) and wrapped[1] not in wrapped["text"]:
        text = wrapped["text"].strip()
    return _capitalised(text)


def spelled_like(words: str, transcript: str) -> str:
    """What a person heard (`words`, no punctuation) in the spelling of a recogniser's transcript of the same clip.

    Where both say the same the transcript counts, with its capitals, punctuation and figures; elsewhere the person's
    words in lower case with the punctuation that the recogniser has there. No word is lost and none is added.
    Where they share less than half of the words, the person's alone with a capital at the beginning.
    """
    heard = list(_heard(words))
    parts = transcript.translate(_STRAIGHT).split()
    units = spoken_units(" ".join(parts))
    spans = list(_spans(heard, units, parts))
    agreed = sum(len(span.heard) for span in spans if span.agrees)
    label = _capitalised(" ".join(_spelled(spans)))
    # Words that meet anew may read otherwise, as in `5` and `am`: then the label is not what was said.
    if 2 * agreed >= len(heard) and canonical(label) == canonical(" ".join(h.word for h in heard)):
        return label
    return _capitalised(" ".join(_own_case(h.given) for h in heard))


@dataclass(frozen=True, slots=True)
class _Heard:
    """A word of the person: as given, in lower case, and as it is compared."""

    given: str
    word: str


def _heard(words: str) -> Iterator[_Heard]:
    for given in words.translate(_STRAIGHT).lower().split():
        said = normalise(given).split()
        alone = given.strip('.,;:?!"()[]')
        yield from [_Heard(alone, word) for word in said] if len(said) == 1 else [_Heard(word, word) for word in said]


@dataclass(frozen=True, slots=True)
class _Span:
    """Words of the person and the written text that stands for them: either may be missing.

    `begins`: whether the written text begins a sentence of the transcript.
    """

    heard: tuple[_Heard, ...]
    written: str = ""
    said: tuple[str, ...] = ()
    begins: bool = False

    @property
    def agrees(self) -> bool:
        heard = tuple(h.word for h in self.heard)
        if self.said == heard or not (self.heard and _HAS_FIGURE.search(self.written)):
            return bool(heard) and self.said == heard
        return canonical(" ".join(self.said)) == canonical(" ".join(heard))


def _spans(heard: Sequence[_Heard], units: Sequence[Unit], parts: Sequence[str]) -> Iterator[_Span]:
    """All words of the person and all units of the transcript, each once and in order."""
    following = 0
    places = _places(heard, units)
    for place, group in groupby(range(len(heard)), key=places.__getitem__):
        words = tuple(heard[i] for i in group)
        if place is None:
            yield _Span(words)
            continue
        yield from (_span((), unit, parts) for unit in units[following:place])
        yield _span(words, units[place], parts)
        following = place + 1
    yield from (_span((), unit, parts) for unit in units[following:])


def _span(heard: tuple[_Heard, ...], unit: Unit, parts: Sequence[str]) -> _Span:
    begins = unit.first == 0 or bool(_ENDS_A_SENTENCE.search(parts[unit.first - 1]))
    return _Span(heard, " ".join(parts[unit.first : unit.last + 1]), unit.said, begins)


def _places(heard: Sequence[_Heard], units: Sequence[Unit]) -> list[int | None]:
    """The unit that each word of the person belongs to. A word that the recogniser lacks belongs to a unit only where
    the words on both sides of it do."""
    owners = [number for number, unit in enumerate(units) for _ in unit.said]
    said = [word for unit in units for word in unit.said]
    places = [None if at is None else owners[at] for at in _aligned([h.word for h in heard], said)]
    known = [place for place in places if place is not None]
    before = 0
    for i, place in enumerate(places):
        if place is not None:
            before += 1
        elif 0 < before < len(known) and known[before - 1] == known[before]:
            places[i] = known[before]
    return places


def _aligned(heard: Sequence[str], said: Sequence[str]) -> list[int | None]:
    """For each word heard the place of its counterpart among those said, in the alignment of fewest errors."""
    rows = [list(range(len(said) + 1))]
    for h, word in enumerate(heard, start=1):
        row = [h]
        for s, other in enumerate(said):
            row.append(min(rows[-1][s] + (word != other), rows[-1][s + 1] + 1, row[s] + 1))
        rows.append(row)
    places: list[int | None] = [None] * len(heard)
    h, s = len(heard), len(said)
    while h and s:
        if rows[h][s] == rows[h - 1][s - 1] + (heard[h - 1] != said[s - 1]):
            h, s = h - 1, s - 1
            places[h] = s
        elif rows[h][s] == rows[h - 1][s] + 1:
            h -= 1
        else:
            s -= 1
    return places


def _spelled(spans: Sequence[_Span]) -> list[str]:
    """The tokens of the label."""
    tokens: list[str] = []
    begins = True
    for span in spans:
        if not span.heard:
            _close(tokens, span.written)
        elif span.agrees:
            tokens.append(_recased(span, begins))
        else:
            tokens += _own_words(span, begins)
        begins = not tokens or bool(_ENDS_A_SENTENCE.search(tokens[-1]))
    return tokens


def _close(tokens: list[str], dropped: str) -> None:
    """The punctuation after words that nobody said belongs to the word before them, where it has none as strong."""
    if not tokens or _ENDS_A_SENTENCE.search(tokens[-1]):
        return
    closing = _punctuation_after(dropped)
    if _ENDS_A_SENTENCE.search(closing):
        tokens[-1] = tokens[-1].rstrip(",;:-") + closing
    elif not _CLOSING.findall(tokens[-1])[0]:
        tokens[-1] += closing


def _recased(span: _Span, begins: bool) -> str:
    """The written text, where a sentence begins with it here and not there, or the reverse."""
    if begins and not span.begins:
        return _capitalised(span.written)
    is_lower = span.begins and not begins and " ".join(span.said) in _STARTERS
    return span.written.lower() if is_lower else span.written


def _own_words(span: _Span, begins: bool) -> list[str]:
    words = [_own_case(h.given) for h in span.heard]
    opening: str = _OPENING.findall(span.written)[0]
    begins_quote = bool(opening) and span.written.removeprefix(opening)[:1].isupper()
    if begins or begins_quote or _is_name(span):
        words[0] = _capitalised(words[0])
    words[0] = opening + words[0]
    words[-1] += _punctuation_after(span.written)
    return words


def _is_name(span: _Span) -> bool:
    """One word for another one like it that has a capital: a name that the recogniser spells otherwise.

    Recognisers give capitals to what they do not know; a word that is less alike is rather a common one.
    """
    if span.begins or not len(span.heard) == len(span.said) == 1 or not span.written.lstrip("\"'([")[:1].isupper():
        return False
    heard, said = span.heard[0].word, span.said[0]
    return heard[0] == said[0] and SequenceMatcher(None, heard, said, autojunk=False).ratio() > LEAST_LIKENESS


def _punctuation_after(token: str) -> str:
    closing: str = _CLOSING.findall(token)[0]
    return closing.replace(".", "", 1) if _ABBREVIATION.search(token) else closing


def _own_case(word: str) -> str:
    """Lower case but for I and single letters, which are spelled ones."""
    is_letter = len(word) == 1 and word != "a"
    return word.capitalize() if is_letter or word.startswith("i'") else word


def _capitalised(text: str) -> str:
    """With its first letter large, unless a figure comes before it."""
    if not (first := _FIRST.search(text)):
        return text
    at = first.start()
    return text[:at] + text[at].upper() + text[at + 1 :]
