"""What /openapi.json says about answers: the shapes that the routes give, for readers, generators and fuzzers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorFields(_Shape):
    code: str
    message: str
    field: str = ""


class ErrorAnswer(_Shape):
    error: ErrorFields
    request_id: str


class OpenAIErrorFields(_Shape):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorAnswer(_Shape):
    error: OpenAIErrorFields


class WordAnswer(_Shape):
    word: str
    start: float
    end: float
    confidence: float


class SegmentAnswer(_Shape):
    start: float
    end: float
    text: str
    confidence: float
    words: list[WordAnswer] = []
    channel: int = 0
    id: int = 0


class ChannelAnswer(_Shape):
    channel: int
    text: str


class TranscriptAnswer(_Shape):
    text: str
    bits: Literal[1, 2, 4]
    duration_seconds: float
    processing_seconds: float
    segments: list[SegmentAnswer]
    warnings: list[str]
    channels: list[ChannelAnswer] = []
    task: Literal["transcribe"] = "transcribe"
    language: Literal["en"] = "en"


class StatusAnswer(_Shape):
    status: str


class ModelAnswer(_Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsAnswer(_Shape):
    object: Literal["list"]
    data: list[ModelAnswer]


REASONS = {
    400: "The request is not well-formed.",
    401: "No key, or a wrong one.",
    404: "There is nothing of that name.",
    408: "The upload does not move.",
    413: "Larger or longer than the limit.",
    415: "Not audio, or in a form that cannot be read.",
    422: "A bad parameter, no audio, or samples that are no numbers.",
    429: "This client sends too much; see Retry-After.",
    500: "A fault of the server.",
    503: "Loading, full or going down; see Retry-After.",
}
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


def _errors(shape: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": shape, "description": REASONS[status]} for status in statuses}


LIVE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": StatusAnswer, "description": "The process can do its work."},
    503: {"model": StatusAnswer, "description": "It cannot; restart it."},
}
READY_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": StatusAnswer, "description": "New work is taken."},
    **_errors(ErrorAnswer, 503),
}
METRICS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Prometheus text.", "content": {"text/plain": TEXT}}
}
TRANSCRIBE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": TranscriptAnswer,
        "description": "What was said.",
        "content": {"text/plain": TEXT, "application/x-subrip": TEXT, "text/vtt": TEXT},
    },
    **_errors(ErrorAnswer, 400, 401, 408, 413, 415, 422, 429, 500, 503),
}
MODELS_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ModelsAnswer, "description": "The precisions that the loaded file holds."},
    **_errors(OpenAIErrorAnswer, 401, 500),
}
MODEL_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": ModelAnswer, "description": "One of them."},
    **_errors(OpenAIErrorAnswer, 401, 404, 500),
}
OPENAI_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The transcription in the form that was asked for.",
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["text"]}},
            "text/plain": TEXT,
            "application/x-subrip": TEXT,
            "text/vtt": TEXT,
            "text/event-stream": TEXT,
        },
    },
    **_errors(OpenAIErrorAnswer, 400, 401, 404, 413, 429, 500, 503),
}
