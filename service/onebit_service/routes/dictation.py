"""One utterance whose samples come as they are spoken, from its first to its text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.reading import AudioOptions, PcmFormat, open_audio
from onebit_model.errors import MissingAudioError
from onebit_model.recognition.segmentation import Segmenter
from onebit_service.errors import OverloadedError
from onebit_service.routes.peer import ClientGoneError
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

FEED_BYTES = 1 << 18


class Dictation:
    """Heard in whole segments, like a file: the best that there is, and a command is one segment.

    It holds a file's place from here to `close`, which must follow.
    """

    def __init__(self, service: Service, request: FileRequest, pcm: PcmFormat) -> None:
        """Raises BusyError."""
        self.pcm = pcm
        self._service = service
        self._job = service.scheduler.submit(request)
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._feed = ByteFeed(FEED_BYTES, on_room=self._make_room)
        options = AudioOptions(pcm, maximum_seconds=service.settings.max_audio_seconds)
        self._decoding = self._loop.run_in_executor(service.decoders, self._decode, options)
        self.audio_seconds = 0.0
        self._turns = asyncio.create_task(self._watch_turns())

    @property
    def processing_seconds(self) -> float:
        return self._job.processing_seconds

    async def push(self, audio: bytes) -> None:
        """Waits while enough is on its way to the engines; raises what has ended the dictation."""
        self._job.raise_error()
        self._room.clear()
        if not self._feed.offer(audio):
            await self._room.wait()
            self._job.raise_error()

    def end(self) -> None:
        """No more audio."""
        self._feed.close()

    async def texts(self) -> AsyncIterator[str]:
        """Of its segments, as they are known; those without words are left out."""
        async for segment in self._job.segments():
            if segment.text:
                yield segment.text

    def close(self) -> None:
        self._turns.cancel()
        self._job.fail(ClientGoneError())
        self._feed.abort(ClientGoneError())
        # Only then has the last thread let go of it.
        self._decoding.add_done_callback(lambda _: self._service.scheduler.leave(self._job))

    async def wait_left(self) -> None:
        """After `close`: until its place is free for another."""
        await asyncio.wait([self._decoding])

    async def _watch_turns(self) -> None:
        """Nobody is kept waiting for ever."""
        limit = self._service.settings.max_file_wait_seconds
        while (left := limit - self._job.waited_seconds) > 0:
            await asyncio.sleep(max(left, 0.05))
        self._job.fail(OverloadedError(f"no engine had time for this for {limit:g} s", min(limit, 60.0)))

    def _make_room(self) -> None:
        call_on_loop(self._loop, self._room.set)

    def _decode(self, options: AudioOptions) -> None:
        """On a thread of its own: it waits for the speaker, and for the engines when they are behind."""
        try:
            with open_audio(self._feed, options) as audio:
                segmenter = Segmenter(self._job.request.search.is_written)
                for block in audio.blocks():
                    for segment in segmenter.push(block[:, 0]):
                        self._job.submit(segment)
                for segment in segmenter.finish():
                    self._job.submit(segment)
                self.audio_seconds = audio.duration_seconds
            self._job.end()
        except MissingAudioError:
            self._job.end()  # who says nothing is understood
        except BaseException as error:
            self._job.fail(error)
        finally:
            self._make_room()
