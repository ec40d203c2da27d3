"""Fits what the confidence of written words says to the share of them that are right, precision by precision.

    onebit bench calibration MODEL --set dev.jsonl --out MODEL

The packed file gets the fitted maps; everything else in it stays. The errors in the table are those of maps that were
fitted to the other half of the clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_sets
from onebit_model.errors import ModelFileError
from onebit_model.evaluation.word_confidence import calibration_error, fitted_map, right_words
from onebit_model.files.calibration import Calibration
from onebit_model.files.packed import PackedModel, read_packed, write_packed
from onebit_model.recognition.recognizer import Recognizer


@dataclass
class Words:
    """Probabilities that the decoder gives its words, and whether they are right."""

    probabilities: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def __add__(self, other: Words) -> Words:
        return Words(self.probabilities + other.probabilities, self.right + other.right)

    def error_with(self, calibration: Calibration, bits: int) -> float:
        return calibration_error([calibration.confidence(bits, p) for p in self.probabilities], self.right)


def calibrate(model: Path, sets: Sequence[str], out: Path) -> Iterator[str]:
    """Writes the model with its calibration; yields a Markdown table, row by row.

    Raises ModelFileError for a model without an attention decoder, or whose words are too few.
    """
    packed = read_packed(model)
    if not packed.config.has_decoder:
        raise ModelFileError(f"{model}: there is no attention decoder whose confidence could be calibrated")
    utterances = [u for utterances in read_sets(sets).values() for u in utterances]
    recognizer = Recognizer(_uncalibrated(packed))
    maps = {}
    yield "| bits | words | right % | calibration error % as it is | fitted |"
    yield "|---|---|---|---|---|"
    for bits in packed.bits:
        halves = [_heard(recognizer, bits, utterances[start::2]) for start in (0, 1)]
        words = sum(halves, Words())
        if not all(half.right for half in halves):
            raise ModelFileError(f"{model}: too few words are heard at {bits} bit to calibrate it")
        maps[bits] = fitted_map(words.probabilities, words.right)
        crossed = [
            half.error_with(Calibration({bits: fitted_map(other.probabilities, other.right)}), bits)
            for half, other in zip(halves, reversed(halves), strict=True)
        ]
        share = sum(words.right) / len(words.right)
        before, after = words.error_with(Calibration(), bits), sum(crossed) / 2
        yield f"| {bits} | {len(words.right)} | {100 * share:.1f} | {100 * before:.1f} | {100 * after:.1f} |"
    write_packed(out, replace(packed.description, calibration=Calibration(maps)), packed.tensors)


def _uncalibrated(packed: PackedModel) -> PackedModel:
    return replace(packed, description=replace(packed.description, calibration=Calibration()))


def _heard(recognizer: Recognizer, bits: int, utterances: Sequence[Utterance]) -> Words:
    found = Words()
    for utterance in utterances:
        segments = recognizer.transcribe(utterance.audio.read(), bits)
        words = [word for s in segments if s.fallback is None for word in s.words]
        found.probabilities += [word.confidence for word in words]
        found.right += right_words(utterance.text, words)
    return found
