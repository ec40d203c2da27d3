"""One WebSocket stream from `start` to `done`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from onebit_model.config import SAMPLE_RATE
from onebit_model.errors import SearchOptionError
from onebit_model.recognition.live import Event, Final, LiveOptions
from onebit_service.errors import BadMessageError, IdleError, TooFarAheadError, WrongFrameError
from onebit_service.routes.peer import Connection
from onebit_service.routes.stream_audio import ContainerStream, PacketDecoder
from onebit_service.routes.stream_messages import (
    Done,
    Finalize,
    Keepalive,
    Limits,
    Ready,
    ServerMessage,
    Start,
    Stop,
    event_message,
    parse_message,
)
from onebit_service.scheduling.work import News, StreamJob
from onebit_service.service import Service

log = structlog.get_logger("onebit.stream")

# Above this much audio ahead of the engines nothing more is read from the socket: TCP slows the client down.
SLOW_DOWN_SECONDS = 5.0
# The same for messages that the client does not read.
UNREAD_MESSAGES = 64
# A long message is worked off in pieces of this length.
PIECE_SECONDS = 5.0
# From this bound on a message is taken however long it is: of 1 MiB some encodings make minutes.
ANY_MESSAGE_SECONDS = 60.0


@dataclass
class StreamTimes:
    """Moments that the latency metrics count from."""

    first_audio: float | None = None
    first_partial: float | None = None
    asked: list[float] = field(default_factory=list)


class StreamSession:
    def __init__(self, service: Service, websocket: WebSocket, request_id: str) -> None:
        self._service = service
        self._settings = service.settings
        self._websocket = websocket
        self._id = request_id
        self._seq = 0
        self._outbox: asyncio.Queue[ServerMessage | BaseException] = asyncio.Queue()
        self._progress = asyncio.Event()
        self._times = StreamTimes()
        self._warnings: list[str] = []
        self._stopping = False
        self._heard = self._heard_audio = time.monotonic()
        self._is_held_back = False
        # A file in place of samples.
        self._file: ContainerStream | None = None
        self._file_begun = asyncio.Event()
        self.bits: int | None = None

    async def run(self) -> None:
        """Until `done` was sent; raises what ended the stream otherwise."""
        start = await self._receive_start()
        self._decoder = PacketDecoder(start.sample_rate, start.channels, start.encoding)
        self._start = start
        options = self._live_options(start)
        bits = self._service.precision(start.bits)
        self.bits = bits
        self._job: StreamJob = self._service.scheduler.open_stream(bits, options, self._deliver)
        try:
            await self.send(self._ready(start, bits))
            await self._converse()
        finally:
            self._service.scheduler.close_stream(self._job)
            if self._file is not None:
                self._file.close()
            self._account(bits)

    def _live_options(self, start: Start) -> LiveOptions:
        try:
            search = self._service.search(None, start.hotwords, start.finals)
        except SearchOptionError as error:
            raise BadMessageError(str(error), "finals" if error.field == "decoder" else error.field) from error
        second_pass = self._settings.live_finals == "segment"
        return LiveOptions(start.chunk, start.partials, start.endpoint_silence_seconds, search, second_pass)

    async def send(self, message: ServerMessage) -> None:
        self._seq += 1
        message.seq = self._seq
        await self._websocket.send_text(message.model_dump_json(exclude_none=True))

    def _ready(self, start: Start, bits: int) -> Ready:
        settings = self._settings
        limits = Limits(
            max_seconds=settings.max_stream_seconds,
            idle_seconds=settings.idle_seconds,
            buffer_seconds=settings.buffer_seconds,
        )
        finals = start.finals or self._service.search_tools.usual_decoder
        applied = start.model_dump(exclude={"type", "bits", "finals"})
        return Ready(id=self._id, bits=bits, limits=limits, finals=finals, **applied)

    async def _converse(self) -> None:
        """Receives and sends at the same time, until one of the two ends or nothing comes any more."""
        parts = (
            self._receive_all(),
            self._decode_file(),
            self._send_all(),
            self._watch_idleness(),
            self._watch_peer(),
        )
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # An error knows this frame; if the frame went on knowing the error's task, the two would keep each other
            # and the memory of the stream until the garbage collector comes.
            del task, tasks, parts

    async def _watch_peer(self) -> None:
        """A client that is held back is not listened to: that it has left shows at its connection alone."""
        connection: Connection | None = getattr(self._websocket.state, "connection", None)
        if connection is None:  # another server than ours
            await asyncio.Event().wait()
        else:
            await connection.closed()
            raise WebSocketDisconnect(1006)

    # Receiving

    async def _watch_idleness(self) -> None:
        """One timer for the whole stream: a timeout around every receive would cost more than the message.

        A client that the server does not listen to, or that has said all it had to say, is not idle."""
        settings = self._settings
        while True:
            now = time.monotonic()
            silent = self._heard_audio + settings.max_silent_seconds - now
            left = min(self._heard + settings.idle_seconds - now, silent)
            if left <= 0 and not (self._is_held_back or self._stopping):
                break
            await asyncio.sleep(max(left, 0.1))
        # Its place is worth more than a promise to use it some time.
        raise IdleError(f"no audio came for {settings.max_silent_seconds:g} s") if silent <= 0 else self._idle_error()

    def _idle_error(self) -> IdleError:
        return IdleError(f"nothing came for {self._settings.idle_seconds:g} s")

    async def _receive(self) -> str | bytes:
        message = await self._websocket.receive()
        self._heard = time.monotonic()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text, data = message.get("text"), message.get("bytes")
        return text if text is not None else data or b""

    async def _receive_start(self) -> Start:
        try:
            async with asyncio.timeout(self._settings.idle_seconds):
                first = await self._receive()
        except TimeoutError as error:
            raise self._idle_error() from error
        if isinstance(first, bytes):
            raise WrongFrameError("the first message must be `start`; audio comes after it")
        message = parse_message(first)
        if not isinstance(message, Start):
            raise BadMessageError(f"the first message must be `start`, not `{message.type}`", "type")
        return message

    async def _receive_all(self) -> None:
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                await self._take_audio(message)
            else:
                self._obey(parse_message(message))

    def _obey(self, message: Start | Finalize | Keepalive | Stop) -> None:
        if isinstance(message, Start):
            raise BadMessageError("`start` was sent a second time", "type")
        if isinstance(message, Keepalive) or (isinstance(message, Stop) and "max_seconds" in self._warnings):
            return
        if self._stopping:
            raise BadMessageError(f"`{message.type}` after `stop`", "type")
        self._times.asked.append(time.monotonic())
        if isinstance(message, Finalize):
            self._job.live.push(self._decoder.flush(last=False))
            self._job.live.finalize()
            self._service.scheduler.look_at(self._job)
        elif self._file is not None:
            # What ffmpeg still holds comes before the end.
            self._stopping = True
            self._file.end()
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._job.live.push(self._decoder.flush(last=True))
        if self._decoder.holds_part_of_sample:
            self._warnings.append("partial_sample_dropped")
        if self._decoder.has_opposite_channels:
            self._warnings.append("opposite_channels")
        self._job.live.stop()
        self._service.scheduler.look_at(self._job)

    async def _take_audio(self, packet: bytes) -> None:
        if self._stopping:
            if "max_seconds" in self._warnings:
                return
            raise BadMessageError("audio after `stop`")
        self._heard_audio = self._heard
        if self._times.first_audio is None:
            self._times.first_audio = time.monotonic()
            await self._look_for_file(packet)
        if self._file is not None:
            await self._file.push(packet)
            return
        waiting_seconds = self._job.live.backlog_seconds + self._decoder.seconds_of(packet)
        if waiting_seconds > self._settings.buffer_seconds < ANY_MESSAGE_SECONDS:
            raise TooFarAheadError(f"more than {self._settings.buffer_seconds:g} s of audio are waiting already")
        await self._take_samples(packet)

    async def _take_samples(self, packet: bytes) -> None:
        piece_bytes = self._decoder.bytes_of(PIECE_SECONDS)
        for at in range(0, len(packet), piece_bytes):
            samples = self._decoder.push(packet[at : at + piece_bytes])
            if not len(samples):
                continue
            self._job.live.push(samples)
            if self._decoder.seconds >= self._settings.max_stream_seconds:
                self._warnings.append("max_seconds")
                self._stop()
                return
            self._service.scheduler.look_at(self._job)
            await self._wait_for_room()

    async def _look_for_file(self, packet: bytes) -> None:
        name = ContainerStream.name_of(packet)
        if name is not None:
            ffmpeg = self._service.ffmpeg
            program = ffmpeg.program if ffmpeg is not None else None
            self._decoder = PacketDecoder(SAMPLE_RATE, 1, "s16le")
            self._file = await ContainerStream.open(name, program, self._settings.max_stream_seconds)
            self._file_begun.set()

    async def _decode_file(self) -> None:
        """What ffmpeg makes of a file, once one has begun."""
        await self._file_begun.wait()
        assert self._file is not None
        file = self._file
        while packet := await file.read():
            await self._take_samples(packet)
            if "max_seconds" in self._warnings:
                break
        else:
            file.check(self._decoder.frames)
            # Its length may stand in its header; the stream ends when its client says so.
            await file.ended.wait()
            self._stop()
        await asyncio.Event().wait()

    async def _wait_for_room(self) -> None:
        while self._job.live.backlog_seconds > SLOW_DOWN_SECONDS or self._outbox.qsize() > UNREAD_MESSAGES:
            self._is_held_back = True
            self._progress.clear()
            await self._progress.wait()
        if self._is_held_back:
            self._is_held_back = False
            self._heard = self._heard_audio = time.monotonic()

    # Sending

    def _deliver(self, news: News) -> None:
        """On the event loop, after every engine step that this stream took part in."""
        self._progress.set()
        for event in news.events:
            self._measure(event)
            self._outbox.put_nowait(event_message(event, self._start.words))
        if news.error is not None:
            self._outbox.put_nowait(news.error)
        elif news.stopped:
            self._outbox.put_nowait(self._done())

    async def _send_all(self) -> None:
        while True:
            message = await self._outbox.get()
            if isinstance(message, BaseException):
                raise message
            try:
                async with asyncio.timeout(self._settings.idle_seconds):
                    await self.send(message)
            except TimeoutError as error:
                raise IdleError(f"no message was read for {self._settings.idle_seconds:g} s") from error
            self._progress.set()
            if isinstance(message, Done):
                return

    def _done(self) -> Done:
        return Done(
            duration_seconds=round(self._decoder.seconds, 3),
            processing_seconds=round(self._job.processing_seconds, 6),
            warnings=self._warnings,
        )

    # Figures

    def _measure(self, event: Event) -> None:
        now, metrics, bits = time.monotonic(), self._service.metrics, str(self.bits)
        if self._times.first_partial is None and self._times.first_audio is not None:
            self._times.first_partial = now
            if self._start.partials:
                metrics.first_partial.labels(bits).observe(now - self._times.first_audio)
        if isinstance(event, Final) and event.reason in ("finalize", "stop") and self._times.asked:
            metrics.finalization.labels(bits).observe(now - self._times.asked.pop(0))

    def _account(self, bits: int) -> None:
        metrics, seconds = self._service.metrics, self._decoder.seconds
        metrics.audio_seconds.labels(str(bits), "stream").inc(seconds)
        metrics.processing_seconds.labels(str(bits), "stream").inc(self._job.processing_seconds)
        if seconds:
            metrics.real_time_factor.labels(str(bits)).observe(self._job.processing_seconds / seconds)
        log.info(
            "stream_ended",
            bits=bits,
            audio_seconds=round(seconds, 2),
            processing_seconds=round(self._job.processing_seconds, 4),
        )
