"""One file from its bytes to its segments: received, decoded, segmented and computed at the same time."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog
from starlette.requests import ClientDisconnect, Request

from onebit_model.audio.reading import Audio, AudioOptions, open_audio
from onebit_model.recognition.segment import Segment
from onebit_model.recognition.segmentation import Segmenter
from onebit_service.errors import OverloadedError
from onebit_service.routes.fields import GivenField
from onebit_service.routes.peer import ClientGoneError, Peer
from onebit_service.routes.uploads import Upload
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

log = structlog.get_logger("onebit.file")

PROGRESS_SECONDS = 600.0


@dataclass
class Transcript:
    """The answer to one file, filled in as it goes."""

    bits: int
    tracks: int = 1
    duration_seconds: float = 0.0
    processing_seconds: float = 0.0
    segments: list[Segment] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class FileTranscription:
    """Holds a file's place from here to `close`, which must follow, or to the end of all computing if that is sooner.

    Nothing that has to happen at the end waits for anything: who is cancelled, be it again and again as in a cancel
    scope, leaves no place behind. The place is free when the decoding thread has let go of the file, too.
    """

    def __init__(self, service: Service, client: str, request: Request, required: str = "") -> None:
        """Raises BusyError before anything of the body is read. `required`: a field that has to be waited for."""
        bits = service.settings.default_bits
        self._service = service
        self._upload = Upload(request, service.settings, service.spool_budget, required)
        self._peer = Peer(request)
        self._job = service.scheduler.submit(FileRequest(client, bits))
        self._loop = asyncio.get_running_loop()
        self._arrived: list[Segment] = []
        self._news = asyncio.Event()
        self._is_over = self._is_closed = self._is_decoding = False
        self.transcript = Transcript(bits)
        self._tasks = [
            asyncio.create_task(self._receive()),
            asyncio.create_task(self._watch_peer()),
            asyncio.create_task(self._watch_failure()),
        ]

    async def fields(self) -> Sequence[GivenField]:
        """Those of the query and of the form, as far as they are waited for."""
        await self._upload.complete.wait()
        self._job.raise_error()
        return tuple(self._upload.given)

    @property
    def all_fields(self) -> Sequence[GivenField]:
        """At the end: with those that came too late to change what was computed."""
        return self._upload.given

    def begin(self, request: FileRequest, audio: AudioOptions) -> None:
        """Decodes and computes from here on."""
        self._job.request = request
        self.transcript.bits = request.bits
        self._service.decoders.submit(contextvars.copy_context().run, self._decode, audio)
        self._is_decoding = True
        self._tasks += [asyncio.create_task(self._watch_turns()), asyncio.create_task(self._collect())]

    async def segments(self) -> AsyncIterator[Segment]:
        """In order, as they are known."""
        taken = 0
        while True:
            while taken < len(self._arrived):
                yield self._arrived[taken]
                taken += 1
            if self._is_over:
                return
            self._job.raise_error()
            self._news.clear()
            await self._news.wait()

    async def finish(self) -> Transcript:
        async for _ in self.segments():
            pass
        return self.transcript

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if not self._is_over:
            self._job.fail(ClientGoneError())
        self._upload.feed.abort(ClientGoneError())
        for task in self._tasks:
            task.cancel()
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        if self._is_closed and not self._is_decoding:
            self._service.scheduler.leave(self._job)

    async def _receive(self) -> None:
        try:
            await self._upload.receive()
            self._peer.body_ended()
        except ClientDisconnect:
            self._job.fail(ClientGoneError())
        except Exception as error:
            self._job.fail(error)

    async def _watch_peer(self) -> None:
        await self._peer.left()
        self._job.fail(ClientGoneError())

    async def _watch_failure(self) -> None:
        """Whoever waits for anything of the file learns that it has come to nothing."""
        await self._job.failed.wait()
        self._upload.feed.abort(ClientGoneError())
        self._upload.complete.set()
        self._news.set()

    async def _watch_turns(self) -> None:
        """Nobody is kept waiting for ever: better to come back than to hang."""
        limit = self._service.settings.max_file_wait_seconds
        while (left := limit - self._job.waited_seconds) > 0:
            await asyncio.sleep(max(left, 0.05))
        self._job.fail(OverloadedError(f"no engine had time for the file for {limit:g} s", min(limit, 60.0)))

    async def _collect(self) -> None:
        """Whether anybody takes them or not: a client that reads slowly keeps no place."""
        try:
            async for segment in self._job.segments():
                self._arrived.append(segment)
                self._news.set()
        except Exception:
            return  # `_watch_failure` sees to it
        self._account()
        self._is_over = True
        self._news.set()
        self.close()

    # The decoding thread

    def _decode(self, options: AudioOptions) -> None:
        """It waits for the upload, and for the engines when they are behind."""
        begin = time.thread_time()
        try:
            with open_audio(self._upload.feed, options) as audio:
                self._submit_all(audio)
            self._job.processing_seconds += time.thread_time() - begin
            self._job.end()
        except BaseException as error:
            self._job.fail(error)
        finally:
            call_on_loop(self._loop, self._decoded)

    def _decoded(self) -> None:
        self._is_decoding = False
        self._leave_if_done()

    def _submit_all(self, audio: Audio) -> None:
        is_written = self._job.request.search.is_written
        segmenters = [Segmenter(is_written, track) for track in range(audio.tracks)]
        self.transcript.tracks = audio.tracks
        logged_seconds = 0.0
        for block in audio.blocks():
            self._job.raise_error()
            for segmenter, samples in zip(segmenters, block.T, strict=True):
                for segment in segmenter.push(samples):
                    self._job.submit(segment)
            if audio.duration_seconds - logged_seconds >= PROGRESS_SECONDS:
                logged_seconds = audio.duration_seconds
                log.info("transcription_progress", audio_seconds=round(logged_seconds))
        for segmenter in segmenters:
            for segment in segmenter.finish():
                self._job.submit(segment)
        self.transcript.duration_seconds = audio.duration_seconds
        self.transcript.warnings += audio.warnings

    def _account(self) -> None:
        transcript, metrics = self.transcript, self._service.metrics
        transcript.processing_seconds = self._job.processing_seconds
        transcript.segments = sorted(self._arrived, key=lambda segment: (segment.start_seconds, segment.track))
        bits = str(transcript.bits)
        metrics.audio_seconds.labels(bits, "file").inc(transcript.duration_seconds)
        metrics.processing_seconds.labels(bits, "file").inc(transcript.processing_seconds)
        if transcript.duration_seconds:
            factor = transcript.processing_seconds / transcript.duration_seconds
            metrics.real_time_factor.labels(bits).observe(factor)
