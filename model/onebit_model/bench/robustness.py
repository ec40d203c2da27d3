"""How the packed file hears what is harder than clean speech, and how far its times and confidences can be trusted.

    onebit bench robustness NOISE_FOLDER

On clips of the shipped reference sets, with the search that serves: word error rates of the clips as
they are, with background noise at 10 dB and through a telephone band; words heard in noise and in music without speech;
the distance of the first word's start from the onset of speech; the expected calibration error of word confidences.
docs/model-card.md has what came out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from onebit_model.config import SAMPLE_RATE
from onebit_model.data.augmentation import AugmentConfig, Augmenter, read_noises
from onebit_model.data.corpora import Utterance
from onebit_model.data.reference import read_set, reference_sets
from onebit_model.evaluation.scoring import ErrorCounts, align_texts
from onebit_model.evaluation.word_confidence import calibration_error, right_words
from onebit_model.recognition.recognizer import Recognizer
from onebit_model.recognition.segmentation import onset_seconds
from onebit_model.text.decoding import Word, text_of
from onebit_model.text.normalization import normalise

Samples = npt.NDArray[np.float32]
NOISE_DECIBEL = 10.0
MUSIC_SECONDS = 60
CONDITIONS = {
    f"noise at {NOISE_DECIBEL:.0f} dB": AugmentConfig(
        noise_probability=1.0, snr_decibel=(NOISE_DECIBEL, NOISE_DECIBEL)
    ),
    "telephone band": AugmentConfig(telephone_probability=1.0),
}


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


@dataclass
class Heard:
    """What one precision made of the clips under one condition."""

    errors: ErrorCounts = field(default_factory=ErrorCounts)
    start_errors: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, utterance: Utterance, samples: Samples, words: Sequence[Word]) -> None:
        self.errors += align_texts(utterance.text, text_of(words)).counts
        self.confidences += [word.confidence for word in words]
        right = right_words(utterance.text, words)
        self.right += right
        if words and right[0] and utterance.text.startswith(normalise(words[0].text)):
            self.start_errors.append(abs(words[0].start_seconds - onset_seconds(samples)))


def hear(
    recognizer: Recognizer, bits: int, utterances: Sequence[Utterance], change: Callable[[Samples], Samples]
) -> Heard:
    heard = Heard()
    for utterance in utterances:
        samples = change(utterance.audio.read())
        heard.add(utterance, samples, [w for segment in recognizer.transcribe(samples, bits) for w in segment.words])
    return heard


def changed(augmenter: Augmenter, rng: np.random.Generator, samples: Samples) -> Samples:
    """One clip as `augmenter` lets it be heard."""
    audio, _ = augmenter(torch.from_numpy(samples)[None], torch.tensor([len(samples)]), rng)
    return np.asarray(audio[0].numpy(), np.float32)


def words_per_minute(recognizer: Recognizer, bits: int, sounds: Sequence[Samples]) -> float:
    words = sum(len(segment.words) for sound in sounds for segment in recognizer.transcribe(sound, bits))
    return 60 * words / (sum(len(sound) for sound in sounds) / SAMPLE_RATE)


def table(noise_folder: Path, stride: int) -> Iterator[str]:
    """Markdown, row by row, over every `stride`-th clip of the shipped sets."""
    recognizer = Recognizer.load()
    precisions = recognizer.bits
    utterances = [u for name in reference_sets() for u in list(read_set(name))[::stride]]
    noises = read_noises(noise_folder)
    yield row("", [f"{bits} bit" for bits in precisions])
    yield "|---|" + "---|" * len(precisions)
    clean = [hear(recognizer, bits, utterances, lambda samples: samples) for bits in precisions]
    yield row("clean, word errors %", [f"{100 * h.errors.rate:.1f}" for h in clean])
    for name, config in CONDITIONS.items():
        changes = [partial(changed, Augmenter(config, noises), np.random.default_rng(1)) for _ in precisions]
        heard = [hear(recognizer, bits, utterances, change) for bits, change in zip(precisions, changes, strict=True)]
        yield row(f"{name}, word errors %", [f"{100 * h.errors.rate:.1f}" for h in heard])
    for name, tracks in {"noise": [noise.numpy() for noise in noises], "music": [music(MUSIC_SECONDS)]}.items():
        values = [words_per_minute(recognizer, bits, tracks) for bits in precisions]
        yield row(f"{name} alone, words a minute", [f"{value:.1f}" for value in values])
    yield from trust(clean)


def trust(heard: Sequence[Heard]) -> Iterator[str]:
    """How far times and confidences hold, at each precision; a dash where no word was heard that tells."""
    for name, share in (("start of the first word, median error in ms", 50), ("the same, 90th percentile", 90)):
        yield row(name, [percentile_milliseconds(h.start_errors, share) for h in heard])
    yield row("first words that were right", [str(len(h.start_errors)) for h in heard])
    errors = [f"{100 * calibration_error(h.confidences, h.right):.1f}" if h.right else "-" for h in heard]
    yield row("calibration error of confidences, %", errors)


def percentile_milliseconds(seconds: Sequence[float], share: float) -> str:
    return f"{1000 * np.percentile(seconds, share):.0f}" if seconds else "-"


def row(name: str, values: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(values) + " |"
