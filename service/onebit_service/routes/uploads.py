"""Request bodies as they arrive: bounded in size and slowness, multipart taken apart on the way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import Request

from onebit_model.errors import AudioTooLargeError, MissingAudioError
from onebit_service.errors import InvalidParameterError, SlowUploadError
from onebit_service.settings import Settings

FIELD_BYTES = 1 << 16
FIELDS = 100


async def received_body(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """The body in pieces; raises as soon as it is too large or too slow, without reading on."""
    limit = settings.max_upload_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise AudioTooLargeError(f"the body is announced with {announced} bytes; the limit is {limit}")
    received = 0
    waited_seconds = -settings.upload_idle_seconds
    body = request.stream()
    while True:
        # Only the client's time counts, not that in which nobody asked for more.
        begin = time.monotonic()
        try:
            async with asyncio.timeout(settings.upload_idle_seconds):
                piece = await anext(body, b"")
        except TimeoutError as error:
            raise SlowUploadError(f"nothing came for {settings.upload_idle_seconds:g} s") from error
        waited_seconds += time.monotonic() - begin
        received += len(piece)
        if received > limit:
            raise AudioTooLargeError(f"the body is larger than {limit} bytes")
        if piece:
            yield piece
        else:
            return
        if waited_seconds > 0 and received < waited_seconds * settings.min_upload_bytes_per_second:
            raise SlowUploadError(f"the upload is slower than {settings.min_upload_bytes_per_second} bytes a second")


def multipart_boundary(content_type: str) -> bytes | None:
    """None where the body is not multipart/form-data."""
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return None
    boundary = message.get_param("boundary", "")
    return str(boundary).encode("latin-1", "replace")


@dataclass(frozen=True)
class FormField:
    name: str
    value: str


@dataclass(frozen=True)
class FilePiece:
    """A piece of the part `file`; the first one is empty and tells that the part has begun."""

    data: bytes


class FormReader:
    """A multipart body, piece by piece. File names are never looked at."""

    def __init__(self, boundary: bytes) -> None:
        self._found: deque[FormField | FilePiece] = deque()
        self._header_name = self._header_value = b""
        self._disposition = ""
        self._name = ""
        self._value = bytearray()
        self._fields = 0
        self._files = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._data_begins,
                    "on_part_data": self._on_data,
                    "on_part_end": self._part_ends,
                },
            )
        except FormParserError as error:
            raise MissingAudioError(f"the multipart body has no usable boundary: {error}") from error

    async def read(self, body: AsyncIterator[bytes]) -> AsyncIterator[FormField | FilePiece]:
        async for piece in body:
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise MissingAudioError(f"the multipart body cannot be read: {error}") from error
            while self._found:
                yield self._found.popleft()

    def _part_begins(self) -> None:
        self._disposition = self._name = ""
        self._header_name = self._header_value = b""
        self._value.clear()
        self._fields += 1
        if self._fields > FIELDS:
            raise InvalidParameterError("", f"more than {FIELDS} form fields")

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value.decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _data_begins(self) -> None:
        message = Message()
        message["content-disposition"] = self._disposition.replace("\r", " ").replace("\n", " ")
        self._name = str(message.get_param("name", "", "content-disposition"))
        if self._name == "file":
            self._files += 1
            if self._files > 1:
                raise InvalidParameterError("file", "more than one part is named file")
            self._found.append(FilePiece(b""))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._found.append(FilePiece(data[start:end]))
            return
        self._value += data[start:end]
        if len(self._value) > FIELD_BYTES:
            raise InvalidParameterError(self._name[:100], f"a form field is longer than {FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if self._name != "file":
            self._found.append(FormField(self._name, self._value.decode("utf-8", "replace")))


async def audio_of(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """The audio of a request: its part `file`, or its whole body."""
    body = received_body(request, settings)
    boundary = multipart_boundary(request.headers.get("content-type", ""))
    if boundary is None:
        async for piece in body:
            yield piece
        return
    async for item in FormReader(boundary).read(body):
        if isinstance(item, FilePiece):
            if item.data:
                yield item.data
        else:
            raise InvalidParameterError(item.name[:100], f"unknown form field {item.name[:100]!r}; the audio is `file`")
