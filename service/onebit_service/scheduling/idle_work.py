"""Work for engines that have nothing else to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import repeat

from onebit_model.config import WHOLE_SEGMENT
from onebit_model.recognition.desk import Desk
from onebit_model.recognition.segment import Segment
from onebit_model.recognition.segment_batch import SegmentBatch
from onebit_model.recognition.segmentation import AudioSegment
from onebit_model.text.search import Search


class IdleWork:
    """Segments to recognize some time; whoever wants their words waits on a thread of its own."""

    def __init__(self, bits: int, pieces: Sequence[AudioSegment], search: Search) -> None:
        self.bits = bits
        self.seconds = 0.0
        self._pieces = pieces
        self._search = search
        self._batch: SegmentBatch | None = None
        self._segments: Future[list[Segment]] = Future()

    @property
    def done(self) -> bool:
        return self._segments.done()

    def step(self, desk: Desk, max_milliseconds: float) -> None:
        """On an engine thread, which must outlive whatever happens here."""
        begin = time.perf_counter()
        try:
            if self._batch is None:
                self._batch = SegmentBatch(desk, WHOLE_SEGMENT, zip(self._pieces, repeat(self._search), strict=False))
            if not self._batch.done:
                self._batch.step(desk, max_milliseconds)
        except Exception as error:
            self._segments.set_exception(error)
            return
        self.seconds += time.perf_counter() - begin
        if self._batch.done:
            self._segments.set_result(self._batch.segments())

    def segments(self, timeout_seconds: float) -> list[Segment]:
        """Raises TimeoutError when it has not come to that."""
        return self._segments.result(timeout_seconds)
