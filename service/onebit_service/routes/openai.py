"""The part of OpenAI's interface that transcribes: programs written for it work unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from onebit_model.audio.reading import AudioOptions
from onebit_service.errors import meaning_of
from onebit_service.routes.api_documents import MODEL_ANSWERS, MODELS_ANSWERS, OPENAI_ANSWERS
from onebit_service.routes.dependencies import Client, TheService, known_client
from onebit_service.routes.error_answers import public_error
from onebit_service.routes.fields import checked_fields
from onebit_service.routes.openai_answers import EVENT_STREAM, answer, delta_event, done_event, event
from onebit_service.routes.openai_fields import DOCUMENT, TranscriptionFields, bits_of, models
from onebit_service.routes.peer import ClientGoneError
from onebit_service.routes.prompt import phrases_of
from onebit_service.routes.transcription import FileTranscription
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

log = structlog.get_logger("onebit.openai")
router = APIRouter()


def model_fields(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "onebit"}


@router.get("/v1/models", responses=MODELS_ANSWERS, dependencies=[Depends(known_client)])
async def list_models(service: TheService) -> Response:
    return JSONResponse({"object": "list", "data": [model_fields(name) for name in models(service)]})


@router.get("/v1/models/{name}", responses=MODEL_ANSWERS, dependencies=[Depends(known_client)])
async def get_model(service: TheService, name: str) -> Response:
    bits_of(service, name)
    return JSONResponse(model_fields(name))


@router.post("/v1/audio/transcriptions", openapi_extra=DOCUMENT, responses=OPENAI_ANSWERS, response_class=Response)
async def create_transcription(request: Request, client: Client, service: TheService) -> Response:
    """Fields behind the file count as well, unless it was not waited for them: `model` came before it."""
    file = FileTranscription(service, client, request, required="model")
    try:
        fields = checked_fields(TranscriptionFields, await file.fields())
        wanted = _wanted(service, client, fields)
        request.state.bits = wanted.bits
        file.begin(wanted, AudioOptions(maximum_seconds=service.settings.max_audio_seconds, ffmpeg=service.ffmpeg))
        if fields.stream:
            return EventAnswer(file, fields, service.settings.idle_seconds)
        transcript = await file.finish()
        file.close()
        return answer(transcript, checked_fields(TranscriptionFields, file.all_fields))
    except BaseException:
        file.close()
        raise


def _wanted(service: Service, client: str, fields: TranscriptionFields) -> FileRequest:
    search = service.search(None, phrases_of(fields.prompt, service.search_tools))
    return FileRequest(client, bits_of(service, fields.model), search=search)


class EventAnswer(Response):
    """Server-sent events: the text of each segment as it is known, and the whole at the end.

    Not Starlette's streaming answer: that would be cancelled in a scope in which no clean-up can wait for anything, or
    never be begun at all. This one is called in any case, and lets go of the file however it ends.
    """

    media_type = EVENT_STREAM

    def __init__(self, file: FileTranscription, fields: TranscriptionFields, patience_seconds: float) -> None:
        self._file = file
        self._fields = fields
        self._patience_seconds = patience_seconds
        self.status_code = 200
        self.background = None
        self.init_headers()
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._file):
            events = self._events()
            # Errors that show at the beginning get their proper status; later ones become an event.
            first = await anext(events)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send(send, first)
            try:
                async for text in events:
                    await self._send(send, text)
            except ClientGoneError:
                raise
            except Exception as error:
                await self._send(send, _error_event(error))
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[str]:
        is_later = False
        async for segment in self._file.segments():
            if segment.text:
                yield delta_event(segment, self._fields, is_later)
                is_later = True
        checked_fields(TranscriptionFields, self._file.all_fields)
        yield done_event(self._file.transcript, self._fields)

    async def _send(self, send: Send, text: str) -> None:
        """Who takes nothing for as long as this is gone in all but name."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        except TimeoutError as error:
            raise ClientGoneError from error


def _error_event(error: Exception) -> str:
    shown = public_error(error)
    if meaning_of(shown).code == "internal":
        log.error("request_failed", exc_info=error)
    return event({"type": "error", "error": {"message": str(shown)}})
