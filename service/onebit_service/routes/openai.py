"""The part of OpenAI's interface that transcribes: programs written for it work unchanged."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from onebit_model.audio.reading import AudioOptions
from onebit_model.errors import MissingAudioError
from onebit_model.recognition.recognizer import Segment
from onebit_service.errors import InvalidParameterError, UnknownModelError, meaning_of
from onebit_service.routes.answers import MEDIA_TYPES, full_text, rounded, text_answer
from onebit_service.routes.api_documents import MODEL_ANSWERS, MODELS_ANSWERS, OPENAI_ANSWERS
from onebit_service.routes.error_answers import public_error
from onebit_service.routes.peer import Peer
from onebit_service.routes.prompt import phrases_of
from onebit_service.routes.subtitles import SubtitleShape
from onebit_service.routes.transcribe import authorized_client
from onebit_service.routes.transcription import ClientGoneError, FileTranscription, Transcript
from onebit_service.routes.uploads import FilePiece, FormField, FormReader, multipart_boundary, received_body
from onebit_service.scheduling.work import FileJob, FileRequest
from onebit_service.service import Service

log = structlog.get_logger("onebit.openai")
router = APIRouter()

ALIAS = "whisper-1"
SPOOL_BYTES = 1 << 20
READ_BYTES = 1 << 16
FORM_SCHEMA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "model"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string"},
                        "response_format": {"enum": ["json", "text", "srt", "verbose_json", "vtt"]},
                        "timestamp_granularities[]": {"type": "array", "items": {"enum": ["word", "segment"]}},
                        "language": {"type": "string"},
                        "prompt": {"type": "string"},
                        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
                        "stream": {"type": "boolean"},
                    },
                }
            }
        },
    }
}


class TranscriptionFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = ["segment"]
    language: Literal["en", "english", ""] = "en"
    prompt: str = ""
    temperature: float = Field(0, ge=0, le=1)
    stream: bool = False
    chunking_strategy: str = "auto"


LISTS = {"timestamp_granularities[]": "timestamp_granularities", "timestamp_granularities": "timestamp_granularities"}


@dataclass
class Form:
    """The fields around the file. Some clients send them before it, some after it."""

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, item: FormField) -> None:
        if item.name in LISTS:
            self.values.setdefault(LISTS[item.name], []).append(item.value)
        else:
            self.values[item.name] = item.value

    def checked(self) -> TranscriptionFields:
        try:
            return TranscriptionFields.model_validate(self.values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])[:100]
            unknown = first["type"] == "extra_forbidden"
            message = f"unknown parameter {name!r}" if unknown else f"{name}: {first['msg']}"
            raise InvalidParameterError(name, message) from error


def models(service: Service) -> dict[str, int]:
    named = {f"onebit-{bits}bit": bits for bits in service.packed.bits}
    return named | {ALIAS: service.settings.default_bits}


def model_fields(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "onebit"}


@router.get("/v1/models", responses=MODELS_ANSWERS)
async def list_models(request: Request) -> Response:
    service: Service = request.app.state.service
    service.keys.identify(request)
    return JSONResponse({"object": "list", "data": [model_fields(name) for name in models(service)]})


@router.get("/v1/models/{name}", responses=MODEL_ANSWERS)
async def get_model(request: Request, name: str) -> Response:
    service: Service = request.app.state.service
    service.keys.identify(request)
    _bits_of(service, name)
    return JSONResponse(model_fields(name))


def _bits_of(service: Service, name: str) -> int:
    known = models(service)
    if name not in known:
        raise UnknownModelError("model", f"model {name[:100]!r} does not exist; there are: {', '.join(known)}")
    return known[name]


def _wanted(service: Service, form: Form, client: str) -> FileRequest:
    """By the fields that are known so far."""
    vocabulary = service.packed.description.vocabulary
    search = service.search(None, phrases_of(form.values.get("prompt", ""), vocabulary))
    return FileRequest(client, _bits_of(service, form.values["model"]), search=search)


@router.post("/v1/audio/transcriptions", openapi_extra=FORM_SCHEMA, responses=OPENAI_ANSWERS, response_class=Response)
async def create_transcription(request: Request) -> Response:
    service: Service = request.app.state.service
    client = authorized_client(service, request)
    form = Form()
    upload = await _audio_after_model(request, service, form, client)
    wanted = upload.job.request if upload.job else _wanted(service, form, client)
    request.state.bits = wanted.bits
    options = AudioOptions(maximum_seconds=service.settings.max_audio_seconds, ffmpeg=service.ffmpeg)
    file = FileTranscription(service, wanted, options, upload.job)
    segments = file.segments(upload.audio, Peer(request))
    if form.values.get("stream") == "true":
        form.checked()
        # Errors that show at the beginning get their proper status; later ones become an event.
        first = await anext(segments, None)
        return StreamingResponse(_events(file.transcript, first, segments), media_type="text/event-stream")
    async for _ in segments:
        pass
    return _answer(file.transcript, form.checked())


@dataclass(frozen=True)
class Upload:
    """The audio, and the place that the file has taken where it had to be received first."""

    audio: AsyncIterator[bytes]
    job: FileJob | None = None


async def _audio_after_model(request: Request, service: Service, form: Form, client: str) -> Upload:
    """Reads the form up to its file; where the model comes after it, the file has to wait on disk."""
    boundary = multipart_boundary(request.headers.get("content-type", ""))
    if boundary is None:
        raise MissingAudioError("the request must be a form (multipart/form-data) with the part file")
    items = FormReader(boundary).read(received_body(request, service.settings))
    async for item in items:
        if isinstance(item, FormField):
            form.add(item)
        elif "model" in form.values:
            form.checked()
            return Upload(_file_pieces(items, form))
        else:
            return await _spooled(items, form, service, client)
    raise MissingAudioError("the form has no part named file")


async def _file_pieces(items: AsyncIterator[FormField | FilePiece], form: Form) -> AsyncIterator[bytes]:
    async for item in items:
        if isinstance(item, FilePiece):
            yield item.data
        else:
            form.add(item)


async def _spooled(items: AsyncIterator[FormField | FilePiece], form: Form, service: Service, client: str) -> Upload:
    """Files on disk are as many as files in work: each takes its place, or is refused, before it is received."""
    job = service.scheduler.submit(FileRequest(client, service.settings.default_bits))
    file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115  # the generator below closes it
    try:
        async for piece in _file_pieces(items, form):
            job.raise_error()
            file.write(piece)
        form.checked()
        job.request = _wanted(service, form, client)
    except BaseException:
        file.close()
        service.scheduler.leave(job)
        raise
    file.seek(0)

    async def pieces() -> AsyncIterator[bytes]:
        with file:
            while data := file.read(READ_BYTES):
                yield data

    return Upload(pieces(), job)


async def _events(transcript: Transcript, first: Segment | None, rest: AsyncIterator[Segment]) -> AsyncIterator[str]:
    """Server-sent events: the text of each segment as it is known, and the whole at the end."""
    separator = ""
    try:
        async with aclosing(rest):  # type: ignore[type-var]
            segment = first
            while segment is not None:
                if segment.text:
                    yield _event({"type": "transcript.text.delta", "delta": separator + segment.text})
                    separator = " "
                segment = await anext(rest, None)
        yield _event({"type": "transcript.text.done", "text": full_text(transcript)})
    except ClientGoneError:
        return
    except Exception as error:
        shown = public_error(error)
        if meaning_of(shown).code == "internal":
            log.error("request_failed", exc_info=error)
        yield _event({"type": "error", "error": {"message": str(shown)}})


def _event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields)}\n\n"


def _answer(transcript: Transcript, fields: TranscriptionFields) -> Response:
    if fields.stream:
        everything = [
            _event({"type": "transcript.text.delta", "delta": full_text(transcript)}),
            _event({"type": "transcript.text.done", "text": full_text(transcript)}),
        ]
        return Response("".join(everything), media_type="text/event-stream")
    if fields.response_format in ("text", "srt", "vtt"):
        text = text_answer(transcript, fields.response_format, SubtitleShape())
        return Response(text, media_type=MEDIA_TYPES[fields.response_format])
    usage = {"type": "duration", "seconds": math.ceil(transcript.duration_seconds)}
    if fields.response_format == "json":
        return JSONResponse({"text": full_text(transcript), "usage": usage})
    return JSONResponse(_verbose(transcript, fields) | {"usage": usage})


def _verbose(transcript: Transcript, fields: TranscriptionFields) -> dict[str, Any]:
    spoken = [segment for segment in transcript.segments if segment.words]
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": rounded(transcript.duration_seconds),
        "text": full_text(transcript),
    }
    if "segment" in fields.timestamp_granularities:
        answer["segments"] = [_segment(number, segment) for number, segment in enumerate(spoken)]
    if "word" in fields.timestamp_granularities:
        answer["words"] = [
            {"word": word.text, "start": rounded(word.start_seconds), "end": rounded(word.end_seconds)}
            for segment in spoken
            for word in segment.words
        ]
    return answer


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """With the fields that Whisper alone can fill at their neutral values."""
    return {
        "id": number,
        "seek": 0,
        "start": rounded(segment.start_seconds),
        "end": rounded(segment.end_seconds),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(segment.confidence, 1e-6)), 4),
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
