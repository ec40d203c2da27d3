"""How the packed file hears what is harder than clean speech, and how far its times and confidences can be trusted.

    python -m onebit_model.bench.robustness NOISE_FOLDER [--stride 3]

On every `stride`-th clip of the shipped reference sets, with the search that serves: word error rates of the clips as
they are, with background noise at 10 dB and through a telephone band; words heard in noise and in music without speech;
the distance of the first word's start from the onset of speech; the expected calibration error of word confidences.
docs/model-card.md has what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onebit_model.config import SAMPLE_RATE
from onebit_model.data.augmentation import AugmentConfig, WaveformAugmenter, read_noises
from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set, reference_sets
from onebit_model.evaluation.scoring import Alignment, ErrorCounts, align
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segmentation import onset_seconds
from onebit_model.text.decoding import Word

Samples = npt.NDArray[np.float32]
NOISE_DECIBEL = 10.0
CALIBRATION_BINS = 10
MUSIC_SECONDS = 60


def music(seconds: float, seed: int = 0) -> Samples:
    """Chords of plucked harmonics over a beat of noise: no speech in it."""
    random = np.random.default_rng(seed)
    sound = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    length = SAMPLE_RATE // 2
    time = np.arange(length) / SAMPLE_RATE
    for start in range(0, len(sound) - length, length):
        root = 110 * 2 ** (random.choice([0, 3, 5, 7, 10]) / 12)
        for note in root * 2 ** (np.array([0, 4, 7, 12]) / 12):
            for harmonic in range(1, 7):
                sound[start : start + length] += (
                    np.sin(2 * np.pi * note * harmonic * time) * np.exp(-4 * time) / harmonic
                )
        sound[start : start + length] += 0.5 * random.standard_normal(length) * np.exp(-60 * time)
    return (0.2 * sound / np.abs(sound).max()).astype(np.float32)


def are_right(alignment: Alignment) -> Iterator[bool]:
    """For each word of the hypothesis, in order, whether it was said."""
    for place, inserted in enumerate(alignment.inserted):
        yield from [False] * inserted
        if place < len(alignment.correct) and not alignment.deleted[place]:
            yield alignment.correct[place]


def calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error over ten equal bins (Guo et al., 2017, equation 3)."""
    confidence, correct = np.array(confidences), np.array(right, float)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [abs((confidence - correct)[bins == b].sum()) for b in range(CALIBRATION_BINS)]
    return float(sum(gaps) / len(confidence))


@dataclass
class Heard:
    """What one precision made of the clips under one condition."""

    errors: ErrorCounts = field(default_factory=ErrorCounts)
    start_errors: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, utterance: Utterance, samples: Samples, words: Sequence[Word]) -> None:
        reference = utterance.text.split()
        alignment = align(reference, [word.text for word in words])
        self.errors += alignment.counts
        self.confidences += [word.confidence for word in words]
        self.right += are_right(alignment)
        if words and words[0].text == reference[0]:
            self.start_errors.append(abs(words[0].start_seconds - onset_seconds(samples)))


def hear(
    recognizer: Recognizer, bits: int, utterances: Sequence[Utterance], change: Callable[[Samples], Samples]
) -> Heard:
    heard = Heard()
    for utterance in utterances:
        samples = change(utterance.audio.read())
        heard.add(utterance, samples, [w for segment in recognizer.transcribe(samples, bits) for w in segment.words])
    return heard


def words_per_minute(recognizer: Recognizer, bits: int, sounds: Sequence[Samples]) -> float:
    words = sum(len(segment.words) for sound in sounds for segment in recognizer.transcribe(sound, bits))
    return 60 * words / (sum(len(sound) for sound in sounds) / SAMPLE_RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("noise", type=Path)
    parser.add_argument("--stride", type=int, default=3)
    arguments = parser.parse_args()
    recognizer = Recognizer.load()
    utterances = [u for name in reference_sets() for u in list(read_set(name))[:: arguments.stride]]
    noises = read_noises(arguments.noise)
    noisy = AugmentConfig(noise_probability=1.0, snr_decibel=(NOISE_DECIBEL, NOISE_DECIBEL))
    narrow = AugmentConfig(telephone_probability=1.0)
    print("| | " + " | ".join(f"{bits} bit" for bits in recognizer.bits) + " |")
    print("|---|" + "---|" * len(recognizer.bits))

    def row(name: str, values: Sequence[str]) -> None:
        print(f"| {name} | " + " | ".join(values) + " |", flush=True)

    clean = [hear(recognizer, bits, utterances, lambda samples: samples) for bits in recognizer.bits]
    row("clean, word errors %", [f"{100 * h.errors.rate:.1f}" for h in clean])
    for name, config in ((f"noise at {NOISE_DECIBEL:.0f} dB", noisy), ("telephone band", narrow)):
        changes = [partial(WaveformAugmenter(config, noises), rng=np.random.default_rng(1)) for _ in recognizer.bits]
        heard = [
            hear(recognizer, bits, utterances, change) for bits, change in zip(recognizer.bits, changes, strict=True)
        ]
        row(f"{name}, word errors %", [f"{100 * h.errors.rate:.1f}" for h in heard])
    sounds = {"noise": [noise.numpy() for noise in noises], "music": [music(MUSIC_SECONDS)]}
    for name, tracks in sounds.items():
        values = [words_per_minute(recognizer, bits, tracks) for bits in recognizer.bits]
        row(f"{name} alone, words a minute", [f"{value:.1f}" for value in values])
    row(
        "start of the first word, median error in ms",
        [f"{1000 * np.median(h.start_errors):.0f}" for h in clean],
    )
    row("the same, 90th percentile", [f"{1000 * np.percentile(h.start_errors, 90):.0f}" for h in clean])
    row("first words that were right", [str(len(h.start_errors)) for h in clean])
    row(
        "calibration error of confidences, %", [f"{100 * calibration_error(h.confidences, h.right):.1f}" for h in clean]
    )


if __name__ == "__main__":
    main()
