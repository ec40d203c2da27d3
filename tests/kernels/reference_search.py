"""CTC prefix beam search and phrase boosting as they are defined: a dictionary of texts, and no automaton."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLANK = 0
MOST_CHOICES = 16
LEAST_LOG_PROBABILITY = -9.0
BONUS_PER_LETTER = 1.0
NEVER = -math.inf

Prefix = tuple[int, ...]
Worth = Callable[[Prefix], float]


@dataclass(frozen=True)
class Alignment:
    """First frames, frames and summed log-probabilities of the tokens of a text."""

    frames: tuple[tuple[int, int, float], ...] = ()

    def append(self, frame: int, value: float) -> Alignment:
        return Alignment((*self.frames, (frame, 1, value)))

    def prolong(self, value: float) -> Alignment:
        *before, (frame, count, total) = self.frames
        return Alignment((*before, (frame, count + 1, total + value)))


@dataclass
class Scores:
    """Log-probabilities of a text's alignments that end in a blank and in its last token; ways to its best one."""

    blank: float = NEVER
    token: float = NEVER
    ways: list[tuple[float, Alignment]] = field(default_factory=list)

    @property
    def total(self) -> float:
        return float(np.logaddexp(self.blank, self.token))

    @property
    def alignment(self) -> Alignment:
        return max(self.ways, key=lambda way: way[0])[1]


def beam_search(
    log_probabilities: NDArray[np.float32], width: int, while_open: Worth | None = None, at_end: Worth | None = None
) -> tuple[Prefix, Alignment]:
    """(frames, outputs) -> the best text. `while_open` is what a text is worth beside its probability while it may go
    on, `at_end` if it ends there."""
    beam = {(): Scores(blank=0.0, ways=[(0.0, Alignment())])}
    decided = Alignment()
    for t, row in enumerate(log_probabilities.astype(np.float64)):
        texts = _step(beam, row, t)
        best = sorted(texts, key=lambda p: texts[p].total + (while_open(p) if while_open else 0.0), reverse=True)
        beam = {prefix: texts[prefix] for prefix in best[:width]}
        for i in range(len(decided.frames), _common_length(list(beam))):
            decided = Alignment(
                (*decided.frames, _decided([beam[prefix].alignment.frames[i : i + 2] for prefix in best[:width]]))
            )
    winner = max(beam, key=lambda p: beam[p].total + (at_end(p) if at_end else 0.0))
    return winner, Alignment(decided.frames + beam[winner].alignment.frames[len(decided.frames) :])


def _common_length(texts: list[Prefix]) -> int:
    """Tokens that all texts begin with and go on behind: they are decided, along the alignment of the best text."""
    count = 0
    while all(len(text) >= count + 2 and text[count] == texts[0][count] for text in texts):
        count += 1
    return count


def _decided(pairs: list[tuple[tuple[int, int, float], ...]]) -> tuple[int, int, float]:
    """The best text's token, out of each text's token and its next one: over when the next one begins in any of them.
    The mean logarithm stays."""
    frame, count, total = pairs[0][0]
    limit = min(following[0] for _, following in pairs)
    start = min(frame, limit - 1)
    kept = min(count, limit - start)
    return start, kept, total / count * kept


def _step(beam: dict[Prefix, Scores], row: NDArray[np.float64], t: int) -> dict[Prefix, Scores]:
    choices = [c for c in np.argsort(-row, kind="stable") if c != BLANK and row[c] > LEAST_LOG_PROBABILITY]
    texts: dict[Prefix, Scores] = {}
    for prefix, old in beam.items():
        stays = texts.setdefault(prefix, Scores())
        stays.blank = old.total + row[BLANK]
        stays.ways.append((stays.blank, old.alignment))
        if prefix:
            value = row[prefix[-1]]
            stays.token = float(np.logaddexp(stays.token, old.token + value))
            stays.ways.append((old.token + value, old.alignment.prolong(value)))
        known = [longer[-1] for longer in beam if longer and longer[:-1] == prefix]
        for token in {*choices[:MOST_CHOICES], *known}:
            longer = (*prefix, int(token))
            score = (old.blank if prefix and token == prefix[-1] else old.total) + row[token]
            grows = texts.setdefault(longer, Scores())
            grows.token = float(np.logaddexp(grows.token, score))
            grows.ways.append((score, old.alignment.append(t, row[token])))
    return texts


class Boost:
    """What hotwords are worth: the letters of each phrase found as whole words, and while a text is open those of the
    longest beginning of a phrase that it ends with."""

    def __init__(self, phrases: Sequence[str], pieces: Sequence[str]) -> None:
        self._phrases = {f" {phrase} " for phrase in phrases}
        self._beginnings = {phrase[:n] for phrase in self._phrases for n in range(len(phrase) + 1)}
        self._pieces = [piece.replace("\u2581", " ") for piece in pieces]

    def while_open(self, prefix: Prefix) -> float:
        text = self._text(prefix)
        return self._gains(text) + self._pending(self._match(text))

    def at_end(self, prefix: Prefix) -> float:
        return self._gains(self._text(prefix) + " ")

    def _text(self, prefix: Prefix) -> str:
        return " " + "".join(self._pieces[token - 1] for token in prefix)

    def _match(self, text: str) -> str:
        return next(text[i:] for i in range(len(text) + 1) if text[i:] in self._beginnings)

    def _gains(self, text: str) -> float:
        """Of every end of a word: what is complete there, less what was paid within it already."""
        return sum(self._gain(self._match(text[: i + 1])) for i in range(1, len(text)))

    def _gain(self, match: str) -> float:
        if not match.endswith(" "):
            return 0.0
        inner = self._gain(self._match(match[1:])) if match else 0.0
        return max(inner, _value(match) - self._paid(match[:-1])) if match in self._phrases else inner

    def _paid(self, match: str) -> float:
        return sum(self._gain(match[: i + 1]) for i in range(len(match)))

    def _pending(self, match: str) -> float:
        shorter = self._pending(self._match(match[1:])) if match else 0.0
        return max(_value(match) - self._paid(match), shorter)


def _value(text: str) -> float:
    return BONUS_PER_LETTER * len(text.replace(" ", ""))
