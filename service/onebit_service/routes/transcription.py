"""One file from its bytes to its segments: received, decoded, segmented and computed at the same time."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.reading import AudioOptions, open_audio
from onebit_model.recognition.recognizer import Segment
from onebit_model.recognition.segmentation import Segmenter
from onebit_service.errors import OverloadedError
from onebit_service.routes.peer import Peer
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.scheduling.work import FileJob, FileRequest
from onebit_service.service import Service

log = structlog.get_logger("onebit.file")

PROGRESS_SECONDS = 600.0
# An upload that is held back goes on when half of this was decoded. Only then is the end of a client seen that left
# with data in its kernel, so it must not be minutes of audio.
FEED_BYTES = 1 << 18


class ClientGoneError(Exception):
    """Nobody is left to answer; not an error of anybody."""


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
    def __init__(self, service: Service, request: FileRequest, audio: AudioOptions, job: FileJob | None = None) -> None:
        """`job`: the place that the file has taken already."""
        self.transcript = Transcript(request.bits)
        self._service = service
        self._request = request
        self._audio = audio
        self._place = job

    async def segments(self, body: AsyncIterator[bytes], peer: Peer) -> AsyncIterator[Segment]:
        """Segments in order, as they are known; raises BusyError before anything of the body is read."""
        self._job: FileJob = self._place or self._service.scheduler.submit(self._request)
        loop = asyncio.get_running_loop()
        room = asyncio.Event()
        feed = ByteFeed(FEED_BYTES, on_room=lambda: call_on_loop(loop, room.set))
        tasks = [
            asyncio.create_task(self._carry(body, feed, room, peer)),
            asyncio.create_task(self._watch(peer, feed)),
            asyncio.create_task(self._watch_turns(feed)),
        ]
        decoding = loop.run_in_executor(self._service.decoders, contextvars.copy_context().run, self._decode, feed)
        try:
            async for segment in self._job.segments():
                self.transcript.segments.append(segment)
                yield segment
            await decoding
            self._account()
        finally:
            self._job.fail(ClientGoneError())
            feed.abort(ClientGoneError())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, asyncio.shield(decoding), return_exceptions=True)
            self._service.scheduler.leave(self._job)

    async def _carry(self, body: AsyncIterator[bytes], feed: ByteFeed, room: asyncio.Event, peer: Peer) -> None:
        try:
            async for piece in body:
                room.clear()
                if not feed.offer(piece):
                    await room.wait()
            feed.close()
            peer.body_ended()
        except Exception as error:
            self._job.fail(error)
            feed.abort(error)

    async def _watch(self, peer: Peer, feed: ByteFeed) -> None:
        await peer.left()
        self._job.fail(ClientGoneError())
        feed.abort(ClientGoneError())

    async def _watch_turns(self, feed: ByteFeed) -> None:
        """Nobody is kept waiting for ever: better to come back than to hang."""
        limit = self._service.settings.max_file_wait_seconds
        while (left := limit - self._job.waited_seconds) > 0:
            await asyncio.sleep(max(left, 0.05))
        error = OverloadedError(f"no engine had time for the file for {limit:g} s", min(limit, 60.0))
        self._job.fail(error)
        feed.abort(error)

    def _decode(self, feed: ByteFeed) -> None:
        """On a thread of its own: it waits for the upload, and for the engines when they are behind."""
        begin = time.thread_time()
        try:
            with open_audio(feed, self._audio) as audio:
                segmenters = [Segmenter(track) for track in range(audio.tracks)]
                self.transcript.tracks = audio.tracks
                logged_seconds = 0.0
                for block in audio.blocks():
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
            self._job.processing_seconds += time.thread_time() - begin
            self._job.end()
        except BaseException as error:
            self._job.fail(error)

    def _account(self) -> None:
        transcript, metrics = self.transcript, self._service.metrics
        transcript.processing_seconds = self._job.processing_seconds
        transcript.segments.sort(key=lambda segment: (segment.start_seconds, segment.track))
        bits = str(transcript.bits)
        metrics.audio_seconds.labels(bits, "file").inc(transcript.duration_seconds)
        metrics.processing_seconds.labels(bits, "file").inc(transcript.processing_seconds)
        if transcript.duration_seconds:
            factor = transcript.processing_seconds / transcript.duration_seconds
            metrics.real_time_factor.labels(bits).observe(factor)
