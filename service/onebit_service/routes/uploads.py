"""Request bodies as they arrive: bounded in size and slowness, multipart taken apart on the way."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from onebit_model.audio.byte_feed import ByteFeed
from onebit_model.audio.spool import Spool, SpoolBudget
from onebit_model.errors import AudioTooLargeError, MissingAudioError
from onebit_service.errors import InvalidParameterError, OverloadedError, SlowUploadError
from onebit_service.routes.fields import LONGEST_NAME, GivenField
from onebit_service.scheduling.event_loop import call_on_loop
from onebit_service.settings import Settings

FIELD_BYTES = 1 << 16
FIELDS = 100
# In memory; what is ahead of the decoder beyond that waits on disk.
FEED_BYTES = 1 << 18
# So much of a file is received before it is believed that no field comes after it.
PATIENCE_BYTES = 32 << 20


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
    kind, options = parse_options_header(content_type)
    return options.get(b"boundary", b"") if kind == b"multipart/form-data" else None


@dataclass(frozen=True)
class FilePiece:
    """A piece of the part `file`; the first one is empty and tells that the part has begun."""

    data: bytes


class FormReader:
    """A multipart body, piece by piece. File names are never looked at."""

    def __init__(self, boundary: bytes) -> None:
        self._found: deque[GivenField | FilePiece] = deque()
        self._header_name = self._header_value = b""
        self._disposition = b""
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

    async def read(self, body: AsyncIterator[bytes]) -> AsyncIterator[GivenField | FilePiece]:
        async for piece in body:
            try:
                self._parser.write(piece)
            except FormParserError as error:
                raise MissingAudioError(f"the multipart body cannot be read: {error}") from error
            while self._found:
                yield self._found.popleft()
        if not self._files:
            raise MissingAudioError("the form has no part named file")

    def _part_begins(self) -> None:
        self._disposition = b""
        self._name = ""
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
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _data_begins(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
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
            raise InvalidParameterError(self._name[:LONGEST_NAME], f"a form field is longer than {FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if self._name != "file":
            self._found.append(GivenField(self._name, self._value.decode("utf-8", "replace")))


class Upload:
    """The body of a request on its way to the decoder, and the fields in front of, in and behind it.

    The body is received as fast as it comes, whatever the decoder's speed: only who reads on learns that a client has
    left. `complete` is set when `given` holds all that is waited for: the form has ended, or so much of its file is
    here that none will follow, or there is no room to wait. A field that is `required` is waited for in any case.
    """

    def __init__(self, request: Request, settings: Settings, budget: SpoolBudget, required: str = "") -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._settings = settings
        self._required = required
        self._room = asyncio.Event()
        self._received_bytes = 0
        self.given = [GivenField(name, value) for name, value in request.query_params.multi_items()]
        self.complete = asyncio.Event()
        self.feed = ByteFeed(FEED_BYTES, lambda: call_on_loop(loop, self._room.set), Spool(budget))

    async def receive(self) -> None:
        body = received_body(self._request, self._settings)
        boundary = multipart_boundary(self._request.headers.get("content-type", ""))
        if boundary is None:
            await self._receive_audio(body)
        else:
            await self._receive_form(FormReader(boundary).read(body))
        self.feed.close()
        self.complete.set()

    async def _receive_audio(self, body: AsyncIterator[bytes]) -> None:
        if self._required:
            raise MissingAudioError("the request must be a form (multipart/form-data) with the part file")
        self.complete.set()
        async for piece in body:
            await self._give(piece)

    async def _receive_form(self, items: AsyncIterator[GivenField | FilePiece]) -> None:
        async for item in items:
            if isinstance(item, GivenField):
                self.given.append(item)
            else:
                await self._give(item.data)
                if self._received_bytes >= PATIENCE_BYTES and not self._is_incomplete:
                    self.complete.set()

    @property
    def _is_incomplete(self) -> bool:
        return bool(self._required) and all(field.name != self._required for field in self.given)

    async def _give(self, piece: bytes) -> None:
        self._received_bytes += len(piece)
        self._room.clear()
        try:
            has_room = self.feed.offer(piece, always=self._is_incomplete)
        except OSError as error:
            message = f"there is no room for a file that comes before {self._required}; send {self._required} first"
            raise OverloadedError(message) from error
        if not has_room:
            self.complete.set()
            await self._room.wait()
