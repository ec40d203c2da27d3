"""What one thread computes with at one precision."""

from __future__ import annotations

from dataclasses import dataclass

from onebit_kernels import AttentionDecoder, Engine
from onebit_model.recognition.segment import Wording
from onebit_model.recognition.segmentation import Samples
from onebit_model.recognition.voice import VoiceDetector


@dataclass(frozen=True)
class Desk:
    """An engine, the attention decoder of its model if there is one, and what turns their results into words.

    Without a voice detector nobody contradicts where texts and blanks say that there is speech, or an end.
    """

    engine: Engine
    wording: Wording
    decoder: AttentionDecoder | None = None
    voice: VoiceDetector | None = None

    @property
    def bits(self) -> int:
        return self.engine.bits

    def finds_speech(self, samples: Samples) -> bool:
        return self.voice is None or self.voice.finds_speech(samples)
