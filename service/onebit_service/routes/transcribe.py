"""POST /transcribe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from onebit_model.audio.reading import AudioOptions, Channel, PcmFormat
from onebit_model.config import CHUNKS, PRECISIONS
from onebit_model.text.search import USUAL_BEAM, WIDEST_BEAM, split_phrases
from onebit_service.routes.answers import MEDIA_TYPES, Format, Timestamps, json_answer, text_answer, verbose_answer
from onebit_service.routes.api_documents import TRANSCRIBE_ANSWERS
from onebit_service.routes.peer import Peer
from onebit_service.routes.subtitles import SubtitleShape
from onebit_service.routes.transcription import FileTranscription, Transcript
from onebit_service.routes.uploads import audio_of, multipart_boundary
from onebit_service.scheduling.work import FileRequest
from onebit_service.service import Service

router = APIRouter()

BODY_SCHEMA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


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
    beam: int | None = Field(
        None,
        ge=1,
        le=WIDEST_BEAM,
        description=f"Texts that are kept; 1 is greedy. Default: {USUAL_BEAM}.",
    )
    max_line_width: int = Field(42, ge=10, le=200, description="Characters of a line of srt and vtt.")
    max_line_count: int = Field(2, ge=1, le=10, description="Lines of a cue of srt and vtt.")


def authorized_client(service: Service, request: Request) -> str:
    client = service.keys.identify(request)
    service.rate_limit.check(client)
    return client


def chosen_bits(service: Service, bits: int | None) -> int:
    return service.packed.require(service.settings.default_bits if bits is None else bits)


async def authorized(request: Request) -> str:
    """Before the query is looked at: who has no key learns nothing else."""
    return authorized_client(request.app.state.service, request)


@router.post("/transcribe", openapi_extra=BODY_SCHEMA, responses=TRANSCRIBE_ANSWERS)
async def transcribe(
    request: Request,
    client: Annotated[str, Depends(authorized)],
    options: Annotated[TranscribeOptions, Query()],
) -> Response:
    """Speech in, text out: a form with the part `file`, or the audio itself as body."""
    service: Service = request.app.state.service
    bits = chosen_bits(service, options.bits)
    request.state.bits = bits
    audio = _audio_options(service, request, options)
    search = service.search(options.beam, split_phrases(options.hotwords))
    file = FileTranscription(service, FileRequest(client, bits, CHUNKS[options.chunk], search), audio)
    async for _ in file.segments(audio_of(request, service.settings), Peer(request)):
        pass
    return _response(file.transcript, options)


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
