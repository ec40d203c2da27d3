"""POST /transcribe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from onebit_model.audio.reading import AudioOptions, Channel, PcmFormat
from onebit_model.config import CHUNKS, PRECISIONS
from onebit_model.text.search import USUAL_BEAM, WIDEST_BEAM, WIDEST_WRITTEN_BEAM, Decoder, split_phrases
from onebit_service.errors import InvalidParameterError
from onebit_service.routes.answers import MEDIA_TYPES, Format, Timestamps, json_answer, text_answer, verbose_answer
from onebit_service.routes.api_documents import TRANSCRIBE_ANSWERS
from onebit_service.routes.dependencies import Client, TheService
from onebit_service.routes.fields import GivenField, checked_fields, query_parameters
from onebit_service.routes.subtitles import SubtitleShape
from onebit_service.routes.transcription import FileTranscription, Transcript
from onebit_service.routes.uploads import multipart_boundary
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

router = APIRouter()


class TranscribeOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: int | None = Field(
        None,
        description="Precision; the server's default where it is absent.",
        json_schema_extra={"anyOf": [{"type": "integer", "enum": list(PRECISIONS)}, {"type": "null"}]},
    )
    format: Format = "json"
    timestamps: Timestamps | None = Field(None, description="Detail of `segments`; all of it where it is absent.")
    channel: str = Field("mix", pattern=r"^(mix|split|[0-9]{1,2})$", description="mix, split, or a number from 0.")
    chunk: Literal["8", "16", "segment"] = Field("segment", description="What the network sees at once.")
    hotwords: list[str] = Field([], description="Comma-separated phrases to prefer; repeatable.")
    decoder: Decoder | None = Field(
        None,
        description="attention writes text as people do; ctc lower-case words. Default: attention if there is one.",
    )
    beam: int | None = Field(
        None,
        ge=1,
        le=WIDEST_BEAM,
        description=f"Texts that are kept, up to {WIDEST_WRITTEN_BEAM} by the attention decoder; 1 is greedy. "
        f"Default: 1, with ctc {USUAL_BEAM}.",
    )
    max_line_width: int = Field(42, ge=10, le=200, description="Characters of a line of srt and vtt.")
    max_line_count: int = Field(2, ge=1, le=10, description="Lines of a cue of srt and vtt.")


# What only shapes the answer may still come when everything is computed.
SHAPING = {"format", "timestamps", "max_line_width", "max_line_count"}
FILE_SCHEMA: dict[str, Any] = {"type": "string", "format": "binary"}
DOCUMENT: dict[str, Any] = {
    "parameters": query_parameters(TranscribeOptions),
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": FILE_SCHEMA, **TranscribeOptions.model_json_schema()["properties"]},
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
            "application/octet-stream": {"schema": FILE_SCHEMA},
        },
    },
}


@router.post("/transcribe", openapi_extra=DOCUMENT, responses=TRANSCRIBE_ANSWERS)
async def transcribe(request: Request, client: Client, service: TheService) -> Response:
    """Speech in, text out: a form with the part `file`, or the audio itself; fields in the query or the form."""
    with closing(FileTranscription(service, client, request)) as file:
        known = await file.fields()
        options = checked_fields(TranscribeOptions, known)
        wanted = _wanted(service, client, options)
        request.state.bits = wanted.bits
        file.begin(wanted, _audio_options(service, request, options))
        transcript = await file.finish()
        return _response(transcript, _with_late(file.all_fields, len(known)))


def _wanted(service: Service, client: str, options: TranscribeOptions) -> FileRequest:
    search = service.search(options.beam, split_phrases(options.hotwords), options.decoder)
    return FileRequest(client, service.precision(options.bits), CHUNKS[options.chunk], search)


def _with_late(given: Sequence[GivenField], known: int) -> TranscribeOptions:
    """The options, with those that came behind a file for which nobody could wait."""
    for field in given[known:]:
        if field.name in TranscribeOptions.model_fields.keys() - SHAPING:
            raise InvalidParameterError(field.name, f"{field.name} must stand before a file as large as this")
    return checked_fields(TranscribeOptions, given)


def _audio_options(service: Service, request: Request, options: TranscribeOptions) -> AudioOptions:
    content_type = request.headers.get("content-type", "")
    channel: Channel = int(options.channel) if options.channel.isdigit() else options.channel  # type: ignore[assignment]
    return AudioOptions(
        pcm=PcmFormat.parse(content_type) if multipart_boundary(content_type) is None else None,
        channel=channel,
        maximum_seconds=service.settings.max_audio_seconds,
        ffmpeg=service.ffmpeg,
    )


def _response(transcript: Transcript, options: TranscribeOptions) -> Response:
    if options.format in MEDIA_TYPES:
        cues = SubtitleShape(options.max_line_width, options.max_line_count)
        return Response(text_answer(transcript, options.format, cues), media_type=MEDIA_TYPES[options.format])
    shape = verbose_answer if options.format == "verbose_json" else json_answer
    return JSONResponse(shape(transcript, options.timestamps or "word"))
