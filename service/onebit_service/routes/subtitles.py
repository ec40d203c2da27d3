"""A transcript as subtitles: cues that end where sentences, clauses or breaths do, in lines that fit a screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from itertools import pairwise

from onebit_model.recognition.segment import Segment
from onebit_model.text.decoding import Word

CUE_SECONDS = 7.0
# Longer pauses end a cue whatever was said; those from BREATH_SECONDS are good places to end one.
PAUSE_SECONDS = 1.0
BREATH_SECONDS = 0.25
SENTENCE_ENDS = (".", "!", "?", "…")
CLAUSE_ENDS = (",", ";", ":", "–", "—")
CLOSING = "\"'”’)]»"
# What a cue costs, and what its end costs where it is not the end of a sentence: five cues that end with sentences are
# as good as three that do not.
CUE_COST = 1.0
CLAUSE_COST, BREATH_COST, OTHER_COST = 0.3, 0.5, 1.5


@dataclass(frozen=True)
class SubtitleShape:
    """Characters of a line and lines of a cue; a longer word stands in a line of its own, whole."""

    max_line_width: int = 42
    max_line_count: int = 2


@dataclass(frozen=True)
class Cue:
    start_seconds: float
    end_seconds: float
    lines: tuple[str, ...]


def srt(segments: Sequence[Segment], shape: SubtitleShape, *, name_channels: bool) -> str:
    """SubRip."""
    cues = enumerate(cues_of(segments, shape, name_channels=name_channels), 1)
    return "".join(f"{number}\n{_span(cue, ',')}\n{_text(cue)}\n\n" for number, cue in cues)


def vtt(segments: Sequence[Segment], shape: SubtitleShape, *, name_channels: bool) -> str:
    """WebVTT, where & and < begin markup."""
    cues = cues_of(segments, shape, name_channels=name_channels)
    return "WEBVTT\n\n" + "".join(f"{_span(cue, '.')}\n{escape(_text(cue), quote=False)}\n\n" for cue in cues)


def cues_of(segments: Sequence[Segment], shape: SubtitleShape, *, name_channels: bool) -> Iterator[Cue]:
    """Cues in the order of the segments; with names of channels each begins with the number of its own."""
    for segment in segments:
        prefix = (f"[{segment.track}]",) if name_channels else ()
        for words in _grouped(segment.words, shape, prefix):
            texts = [*prefix, *(word.text for word in words)]
            yield Cue(words[0].start_seconds, words[-1].end_seconds, tuple(_lines(texts, shape.max_line_width)))


def _grouped(words: Sequence[Word], shape: SubtitleShape, prefix: Sequence[str]) -> list[Sequence[Word]]:
    """Words in cues of least cost: best[i] is that of the first i words, after a cue from starts[i] on."""
    best = [0.0]
    starts = [0]
    for end in range(1, len(words) + 1):
        options = [(best[start], start) for start in _possible_starts(words, end, shape, prefix)]
        cost, start = min(options, key=lambda option: (option[0], -option[1]))
        best.append(cost + CUE_COST + _end_cost(words, end))
        starts.append(start)
    groups: list[Sequence[Word]] = []
    end = len(words)
    while end:
        groups.append(words[starts[end] : end])
        end = starts[end]
    return groups[::-1]


def _possible_starts(words: Sequence[Word], end: int, shape: SubtitleShape, prefix: Sequence[str]) -> Iterator[int]:
    """Where a cue may begin that ends before word `end`, nearest first."""
    yield end - 1
    for start in range(end - 2, -1, -1):
        pause_seconds = words[start + 1].start_seconds - words[start].end_seconds
        seconds = words[end - 1].end_seconds - words[start].start_seconds
        texts = [*prefix, *(word.text for word in words[start:end])]
        fits = _line_count(texts, shape.max_line_width) <= shape.max_line_count
        if pause_seconds > PAUSE_SECONDS or seconds > CUE_SECONDS or not fits:
            return
        yield start


def _line_count(texts: Sequence[str], width: int) -> int:
    lines, filled = 0, width
    for text in texts:
        if lines and filled + 1 + len(text) <= width:
            filled += 1 + len(text)
        else:
            lines, filled = lines + 1, len(text)
    return lines


def _end_cost(words: Sequence[Word], end: int) -> float:
    if end == len(words) or _ends(words[end - 1].text, SENTENCE_ENDS):
        return 0.0
    if _ends(words[end - 1].text, CLAUSE_ENDS):
        return CLAUSE_COST
    pause_seconds = words[end].start_seconds - words[end - 1].end_seconds
    return BREATH_COST if pause_seconds >= BREATH_SECONDS else OTHER_COST


def _ends(text: str, marks: tuple[str, ...]) -> bool:
    return text.rstrip(CLOSING).endswith(marks)


def _lines(texts: Sequence[str], width: int) -> list[str]:
    """As few lines as can be, of lengths as equal as can be, broken after punctuation where that costs little."""
    fewest = _line_count(texts, width)
    if fewest == 1:
        return [" ".join(texts)]
    ideal = len(" ".join(texts)) / fewest

    def cost(line: Sequence[str]) -> float:
        unevenness = abs(len(" ".join(line)) - ideal) / ideal
        return unevenness**2 - (0.1 if _ends(line[-1], SENTENCE_ENDS + CLAUSE_ENDS) else 0.0)

    @cache
    def best(start: int, count: int) -> tuple[float, tuple[int, ...]]:
        """Of the texts from `start` on in `count` lines: the least cost, and where the lines end."""
        if count == 1:
            return cost(texts[start:]), (len(texts),)
        ways = []
        for end in range(start + 1, len(texts) - count + 2):
            line, rest = texts[start:end], texts[end:]
            if len(line) > 1 and len(" ".join(line)) > width:
                break
            if _line_count(rest, width) < count:
                rest_cost, ends = best(end, count - 1)
                ways.append((cost(line) + rest_cost, (end, *ends)))
        return min(ways)

    ends = best(0, fewest)[1]
    return [" ".join(texts[start:end]) for start, end in pairwise((0, *ends))]


def _text(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _span(cue: Cue, separator: str) -> str:
    return f"{_clock(cue.start_seconds, separator)} --> {_clock(cue.end_seconds, separator)}"


def _clock(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"
