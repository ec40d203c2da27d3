"""Work for engines that have nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future

from onebit_kernels import Engine
from onebit_model.recognition.recognizer import Recognizer, Segment
from onebit_model.recognition.segmentation import AudioSegment


class IdleWork:
    """Segments to recognize some time; whoever wants their words waits on a thread of its own."""

    def __init__(self, bits: int, pieces: Sequence[AudioSegment]) -> None:
        self.bits = bits
        self.seconds = 0.0
        self._pieces = pieces
        self._segments: Future[list[Segment]] = Future()

    def compute(self, recognizer: Recognizer, engine: Engine) -> None:
        """On an engine thread, which must outlive whatever happens here."""
        begin = time.perf_counter()
        try:
            segments = recognizer.recognize(self._pieces, engine)
        except Exception as error:
            self._segments.set_exception(error)
        else:
            self.seconds = time.perf_counter() - begin
            self._segments.set_result(segments)

    def segments(self, timeout_seconds: float) -> list[Segment]:
        """Raises TimeoutError when it has not come to that."""
        return self._segments.result(timeout_seconds)
