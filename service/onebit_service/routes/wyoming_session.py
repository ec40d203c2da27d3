"""One connection of the Wyoming protocol: descriptions, and one dictation after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.event import Event, Eventable, async_write_event
from wyoming.ping import Ping, Pong

from onebit_model.text.search import MOST_HOTWORDS, Search
from onebit_service.errors import BadMessageError, IdleError
from onebit_service.routes.dictation import Dictation
from onebit_service.routes.openai_fields import bits_of
from onebit_service.routes.peer import LOOK_SECONDS, Connection
from onebit_service.routes.prompt import phrases_of
from onebit_service.routes.wyoming_events import (
    LANGUAGES,
    AudioForm,
    TranscribeFields,
    description,
    fields_of,
    read_event,
)
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

LINGER_BYTES = 1 << 16

log = structlog.get_logger("onebit.wyoming")


class WyomingSession:
    def __init__(
        self, service: Service, hotwords: Sequence[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._hotwords = hotwords
        self._reader = reader
        self._writer = writer
        self._connection = Connection(writer.get_extra_info("socket"))
        peer = writer.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else "local"
        self._wanted = TranscribeFields()
        self._dictation: Dictation | None = None
        self._answer: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_dictating(self) -> bool:
        return self._dictation is not None

    async def run(self) -> None:
        """Until the client leaves; raises what ended it otherwise."""
        parts = [self._failure, *(asyncio.create_task(p) for p in (self._receive_all(), self._watch_connection()))]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            dictation = self._dictation
            self._end_dictation()
            await asyncio.gather(*parts, return_exceptions=True)
            if dictation is not None:  # who is told of the end may come back at once
                await dictation.wait_left()

    async def send(self, message: Eventable) -> None:
        seconds = self._service.settings.idle_seconds
        try:
            async with asyncio.timeout(seconds):
                await async_write_event(message.event(), self._writer)
        except TimeoutError as error:
            raise IdleError(f"no event was read for {seconds:g} s") from error

    def interrupt(self, error: Exception) -> None:
        """Ends the connection, whatever it is doing; `run` raises the error."""
        if not self._failure.done():
            self._failure.set_exception(error)
            self._failure.exception()  # asyncio complains of those that nobody has looked at, as when `run` is over

    async def linger(self) -> None:
        """Until the client has hung up. To close on one that is still sending would take away what it was told."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        while await self._reader.read(LINGER_BYTES):
            pass

    async def _watch_connection(self) -> None:
        """While a text is being computed nothing is read, so that nobody would see the client leave."""
        while self._connection.is_open and not self._reader.at_eof():
            await asyncio.sleep(LOOK_SECONDS)

    async def _receive_all(self) -> None:
        while (event := await self._next_event()) is not None:
            await self._obey(event)

    async def _next_event(self) -> Event | None:
        settings = self._service.settings
        seconds = settings.idle_seconds if self.is_dictating else settings.max_silent_seconds
        try:
            async with asyncio.timeout(seconds):
                return await read_event(self._reader)
        except TimeoutError as error:
            raise IdleError(f"nothing came for {seconds:g} s") from error

    async def _obey(self, event: Event) -> None:
        """What this program does not know is dropped, as the protocol wants it."""
        match event.type:
            case "describe":
                await self.send(description(self._service))
            case "ping":
                await self.send(Pong(Ping.from_event(event).text))
            case "transcribe":
                self._wanted = fields_of(event, TranscribeFields)
                self._request()
            case "audio-start":
                self._begin(event)
            case "audio-chunk":
                await self._hear(event)
            case "audio-stop":
                await self._finish()

    # A dictation

    def _request(self) -> FileRequest:
        """What is asked for; raises UnknownModelError."""
        name = self._wanted.name
        bits = bits_of(self._service, name) if name else self._service.precision(None)
        return FileRequest(self._client, bits, search=self._search())

    def _search(self) -> Search:
        """Names that nothing can be made of are left out: they come from a house, not from a person."""
        tools = self._service.search_tools
        names, terms = (
            phrases_of("\n".join(texts or ()), tools)
            for texts in (self._wanted.transcript_names, self._wanted.transcript_terms)
        )
        return self._service.search(None, list(dict.fromkeys([*self._hotwords, *names, *terms]))[:MOST_HOTWORDS])

    def _begin(self, event: Event) -> Dictation:
        if self._dictation is not None:
            raise BadMessageError("`audio-start` came before the `audio-stop` of the audio before it")
        pcm = fields_of(event, AudioForm).pcm()
        self._service.rate_limit.check(self._client)
        self._dictation = Dictation(self._service, self._request(), pcm)
        self._answer = asyncio.create_task(self._write_text(self._dictation))
        self._answer.add_done_callback(self._answered)
        return self._dictation

    async def _hear(self, event: Event) -> None:
        """Some clients send no `audio-start`: every chunk says how its samples are written."""
        dictation = self._dictation or self._begin(event)
        if (pcm := fields_of(event, AudioForm).pcm()) != dictation.pcm:
            was, now = (f"{form.sample_rate} Hz, {form.channels} channels" for form in (dictation.pcm, pcm))
            raise BadMessageError(f"the audio changes in the middle, from {was} to {now} or to another width", "rate")
        await dictation.push(event.payload or b"")

    async def _finish(self) -> None:
        if self._dictation is None or self._answer is None:
            raise BadMessageError("`audio-stop` came without any audio")
        self._dictation.end()
        await self._answer
        log.info(
            "dictation_ended",
            audio_seconds=round(self._dictation.audio_seconds, 2),
            processing_seconds=round(self._dictation.processing_seconds, 4),
        )
        self._end_dictation()
        self._wanted = TranscribeFields()

    def _answered(self, answer: asyncio.Task[None]) -> None:
        """What goes wrong while nothing is being read must be told, too."""
        if not answer.cancelled() and isinstance(error := answer.exception(), Exception):
            self.interrupt(error)

    def _end_dictation(self) -> None:
        if self._dictation is not None:
            self._dictation.close()
        if self._answer is not None:
            self._answer.cancel()
        self._dictation = self._answer = None

    async def _write_text(self, dictation: Dictation) -> None:
        """Each segment as it is known, then the whole once more: older clients know `transcript` alone."""
        texts: list[str] = []
        await self.send(TranscriptStart(language=LANGUAGES[0]))
        async for text in dictation.texts():
            await self.send(TranscriptChunk(f" {text}" if texts else text))
            texts.append(text)
        await self.send(Transcript(" ".join(texts), language=LANGUAGES[0]))
        await self.send(TranscriptStop())
