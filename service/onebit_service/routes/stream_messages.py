"""The messages of `onebit.v1`, client's and server's; docs/streaming.md shows a session."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from onebit_model.config import SAMPLE_RATE, LiveChunk
from onebit_model.recognition.live import Event, Final
from onebit_model.text.search import MOST_HOTWORDS, Decoder
from onebit_service.errors import BadMessageError, BusyError, WrongFrameError
from onebit_service.routes.answers import rounded, word_fields
from onebit_service.routes.error_answers import error_fields
from onebit_service.routes.fields import first_complaint

SUBPROTOCOL = "onebit.v1"
TEXT_CHARACTERS = 1 << 16


StreamEncoding = Literal["s16le", "f32le", "mulaw", "alaw"]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 16000.0 is 16000."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)


class _ClientMessage(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Start(_ClientMessage):
    """The first message, once."""

    type: Literal["start"]
    bits: Annotated[int | None, Whole] = Field(None, description="1, 2 or 4; the server's default where it is absent.")
    sample_rate: Annotated[int, Whole] = Field(SAMPLE_RATE, ge=8_000, le=48_000)
    encoding: StreamEncoding = "s16le"
    channels: Annotated[int, Whole] = Field(1, ge=1, le=8, description="Interleaved; they are mixed.")
    chunk: Annotated[LiveChunk, Whole] = Field(8, description="What the network sees at once, in units of 80 ms.")
    partials: bool = True
    words: bool = True
    finals: Decoder | None = Field(
        None, description="attention writes finals as people do, ctc in lower case. Default: attention if there is one."
    )
    hotwords: list[str] = Field([], max_length=MOST_HOTWORDS)
    endpoint_silence_seconds: float = Field(
        0.8, ge=0, le=30, description="0: segments end at 30 s or on demand, not at 12 s."
    )


class Finalize(_ClientMessage):
    """Finish the current segment now; the stream goes on."""

    type: Literal["finalize"]


class Keepalive(_ClientMessage):
    """Resets the idle timer."""

    type: Literal["keepalive"]


class Stop(_ClientMessage):
    """No more audio."""

    type: Literal["stop"]


ClientMessage = Annotated[Start | Finalize | Keepalive | Stop, Field(discriminator="type")]
KINDS: dict[str, type[Start | Finalize | Keepalive | Stop]] = {
    "start": Start,
    "finalize": Finalize,
    "keepalive": Keepalive,
    "stop": Stop,
}


def parse_message(text: str) -> Start | Finalize | Keepalive | Stop:
    try:
        # Python's own parser lets halves of surrogate pairs through, which cannot be sent back in an answer.
        fields = from_json(text, allow_inf_nan=False) if len(text) <= TEXT_CHARACTERS else None
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise WrongFrameError("a text message must be a JSON object; audio is sent as binary messages")
    kind = KINDS.get(fields["type"]) if isinstance(fields.get("type"), str) else None
    if kind is None:
        raise WrongFrameError(f"type must be one of {', '.join(KINDS)}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        complaint = first_complaint(error)
        unknown = f"unknown field {complaint.field!r} in {fields['type']}"
        message = unknown if complaint.is_unknown else f"{complaint.field}: {complaint.message}"
        raise BadMessageError(message, complaint.field) from error


class Limits(BaseModel):
    max_seconds: float
    idle_seconds: float
    buffer_seconds: float


class _ServerMessage(BaseModel):
    seq: int = Field(default=0, description="Rises by one with every message of a stream.")


class Ready(_ServerMessage):
    """The answer to `start`: the whole configuration as it is applied."""

    type: Literal["ready"] = "ready"
    id: str
    bits: int
    sample_rate: int
    encoding: StreamEncoding
    channels: int
    chunk: LiveChunk
    partials: bool
    words: bool
    finals: Decoder
    hotwords: list[str]
    endpoint_silence_seconds: float
    limits: Limits


class WordFields(BaseModel):
    word: str
    start: float
    end: float
    confidence: float


class PartialMessage(_ServerMessage):
    """The whole segment so far; may change until its `final`."""

    type: Literal["partial"] = "partial"
    segment: int
    start: float
    end: float
    text: str


class FinalMessage(_ServerMessage):
    """A segment that never changes again."""

    type: Literal["final"] = "final"
    segment: int
    start: float
    end: float
    text: str
    confidence: float
    words: list[WordFields]
    reason: Literal["silence", "finalize", "stop", "max_segment"]


class Done(_ServerMessage):
    """The last message before close code 1000."""

    type: Literal["done"] = "done"
    duration_seconds: float
    processing_seconds: float
    warnings: list[str]


class ErrorMessage(_ServerMessage):
    """The last message before any other close code."""

    type: Literal["error"] = "error"
    code: str
    message: str
    field: str | None = None
    retry_after_seconds: float | None = None
    request_id: str


ServerMessage = Ready | PartialMessage | FinalMessage | Done | ErrorMessage


def event_message(event: Event, with_words: bool) -> PartialMessage | FinalMessage:
    segment = event.segment
    fields: dict[str, Any] = {
        "segment": event.number,
        "start": rounded(segment.start_seconds),
        "end": rounded(segment.end_seconds),
        "text": segment.text,
    }
    if not isinstance(event, Final):
        return PartialMessage(**fields)
    words = [WordFields(**word_fields(word)) for word in segment.words] if with_words else []
    return FinalMessage(**fields, confidence=round(segment.confidence, 4), words=words, reason=event.reason)


def error_message(error: Exception, request_id: str) -> ErrorMessage:
    retry = error.retry_after_seconds if isinstance(error, BusyError) else None
    return ErrorMessage(**error_fields(error), retry_after_seconds=retry, request_id=request_id)
