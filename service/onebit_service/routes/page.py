"""The demo page: a handful of files of this package, the figures that it shows, and subtitles of what it has heard."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from onebit_model.recognition.segment import Segment
from onebit_model.text.decoding import Word
from onebit_service.errors import InvalidParameterError
from onebit_service.routes.answers import MEDIA_TYPES as TEXT_TYPES
from onebit_service.routes.answers import SUBTITLES
from onebit_service.routes.dependencies import Client, TheService
from onebit_service.routes.fields import first_complaint
from onebit_service.routes.subtitles import SubtitleShape

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {path.name: MEDIA_TYPES[path.suffix] for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
HEADERS = {
    "Cache-Control": "no-cache",
    # The page's own files and nothing else, and no other page around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
# The words of several hours.
TRANSCRIPT_BYTES = 1 << 23


class HeardWord(BaseModel):
    word: str
    start: float = Field(ge=0, le=1e6)
    end: float = Field(ge=0, le=1e6)


class HeardSegment(BaseModel):
    words: list[HeardWord]

    def segment(self) -> Segment:
        words = tuple(Word(word.word, word.start, word.end, 1.0) for word in self.words)
        return Segment(words[0].start_seconds, words[-1].end_seconds, words)


class HeardText(BaseModel):
    """Segments as the answers of files and the finals of streams have them."""

    segments: list[HeardSegment]

    def written(self, kind: Literal["srt", "vtt"]) -> str:
        segments = [segment.segment() for segment in self.segments if segment.words]
        return SUBTITLES[kind](segments, SubtitleShape(), name_channels=False)


@router.get("/")
async def page() -> Response:
    return _file("index.html")


@router.get("/page/state")
async def state(service: TheService) -> Response:
    return JSONResponse(
        {
            "bits": service.packed.bits,
            "default_bits": service.settings.default_bits,
            "needs_key": service.keys.are_needed,
            "model_bytes": {bits: service.packed.bytes_for(bits) for bits in service.packed.bits},
            "resident_bytes": _resident_bytes(),
        },
        headers=HEADERS,
    )


@router.post("/page/subtitles/{kind}")
async def subtitles(request: Request, _: Client, kind: Literal["srt", "vtt"]) -> Response:
    try:
        heard = HeardText.model_validate_json(await _small_body(request))
    except ValidationError as error:
        complaint = first_complaint(error)
        raise InvalidParameterError(
            complaint.field, f"not the segments of a transcript: {complaint.message}"
        ) from error
    # Off the event loop: hours of words take a moment.
    return Response(await asyncio.to_thread(heard.written, kind), media_type=TEXT_TYPES[kind])


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > TRANSCRIPT_BYTES:
            raise InvalidParameterError("segments", f"more than {TRANSCRIPT_BYTES} bytes of segments")
    return bytes(body)


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    return _file(name)


def _file(name: str) -> Response:
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=HEADERS)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
