"""Events of the Wyoming protocol (github.com/OHF-Voice/wyoming): how they are read, and what we say that we are."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import from_json
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info

from onebit_model.audio.reading import Encoding, PcmFormat
from onebit_service.errors import BadMessageError, WrongFrameError
from onebit_service.routes.openai_fields import english, models
from onebit_service.service import Service

LINE_BYTES = 1 << 16
DATA_BYTES = 1 << 16
PAYLOAD_BYTES = 1 << 20
# By the bytes of a sample, as WAV files and Wyoming's own converter have them: one byte has no sign.
ENCODINGS: dict[int, Encoding] = {1: "u1", 2: "<i2", 3: "<i3", 4: "<i4"}
LANGUAGES = ["en"]
ATTRIBUTION = Attribution("onebit", "https://pypi.org/project/onebit/")

Read = TypeVar("Read", bound=BaseModel)


class Header(BaseModel):
    type: str
    data: dict[str, Any] | None = None
    data_length: int | None = Field(None, ge=0, le=DATA_BYTES)
    payload_length: int | None = Field(None, ge=0, le=PAYLOAD_BYTES)


class AudioForm(BaseModel):
    """What `audio-start` and every `audio-chunk` say of the samples."""

    rate: int
    width: int = Field(ge=1, le=4, description="Bytes of a sample.")
    channels: int

    def pcm(self) -> PcmFormat:
        """Raises UnsupportedMediaError."""
        return PcmFormat(self.rate, self.channels, ENCODINGS[self.width])


class TranscribeFields(BaseModel):
    """What `transcribe` asks for; fields that are not here change nothing."""

    name: str | None = None
    language: Annotated[str, AfterValidator(english)] | None = None
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event, or None when no more come. Raises WrongFrameError before anything large is read."""
    try:
        line = await reader.readline()
    except ValueError as error:
        raise WrongFrameError(f"the first line of an event is longer than {LINE_BYTES} bytes") from error
    if not line.endswith(b"\n"):
        return None
    try:
        header = Header.model_validate(_object(line))
    except ValidationError as error:
        raise WrongFrameError(f"the header of an event is not understood: {_complaint(error)}") from error
    try:
        more = await reader.readexactly(header.data_length or 0)
        payload = await reader.readexactly(header.payload_length or 0)
    except asyncio.IncompleteReadError:
        return None
    return Event(header.type, (header.data or {}) | (_object(more) if more else {}), payload)


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = from_json(text)
    except ValueError as error:
        raise WrongFrameError("an event of this protocol is one line of JSON") from error
    if not isinstance(value, dict):
        raise WrongFrameError("an event of this protocol is a JSON object")
    return value


def fields_of(event: Event, kind: type[Read]) -> Read:
    """Raises BadMessageError, which names the field."""
    try:
        return kind.model_validate(event.data)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise BadMessageError(f"{event.type[:50]}: {_complaint(error)}", name) from error


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"`{str(first['loc'][0])[:50]}`: {first['msg'].removeprefix('Value error, ')}"


def description(service: Service) -> Info:
    """One program, one model for each precision; the default one first, which clients take that name none."""
    known = {name: bits for name, bits in models(service).items() if name.startswith("onebit-")}
    default = service.settings.default_bits
    names = sorted(known, key=lambda name: (known[name] != default, known[name]))
    common: dict[str, Any] = {"attribution": ATTRIBUTION, "installed": True, "version": version("onebit")}
    described = [
        AsrModel(name=name, description=_model_text(service, known[name]), languages=LANGUAGES, **common)
        for name in names
    ]
    program = AsrProgram(
        name="onebit",
        description="Speech recognition at 1, 2 and 4 bits per weight",
        models=described,
        supports_transcript_streaming=True,
        **common,
    )
    return Info(asr=[program])


def _model_text(service: Service, bits: int) -> str:
    return f"English, {bits} bit per weight, {service.packed.bytes_for(bits) / 1e6:.0f} MB"
