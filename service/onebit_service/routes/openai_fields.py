"""The form of OpenAI's transcription route: its fields, what they may hold, and the models that may be named."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from onebit_service.errors import UnknownModelError
from onebit_service.service import Service

# Programs name these without asking what there is; here they are the default precision.
ALIASES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
ENGLISH = {"", "en", "eng", "english"}


def english(language: str) -> str:
    """`en`, `EN`, `en-US`, `en_GB` and `English` are one language; the only one."""
    if re.split(r"[-_]", language.strip().lower())[0] not in ENGLISH:
        raise ValueError("only English (en) is recognised")
    return "en"


class VoiceActivity(BaseModel):
    """How OpenAI's service would cut the audio; here it has no effect."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    prefix_padding_ms: int = Field(300, ge=0)
    silence_duration_ms: int = Field(200, ge=0)
    threshold: float = Field(0.5, ge=0, le=1)


class TranscriptionFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = ["segment"]
    language: Annotated[str, AfterValidator(english)] = "en"
    prompt: str = ""
    temperature: float = Field(0, ge=0, le=1)
    stream: bool = False
    chunking_strategy: Literal["auto", ""] | VoiceActivity = "auto"
    include: list[Literal["logprobs"]] = []


def models(service: Service) -> dict[str, int]:
    named = {f"onebit-{bits}bit": bits for bits in service.packed.bits}
    return named | dict.fromkeys(ALIASES, service.settings.default_bits)


def bits_of(service: Service, name: str) -> int:
    known = models(service)
    if name not in known:
        raise UnknownModelError("model", f"model {name[:100]!r} does not exist; there are: {', '.join(known)}")
    return known[name]


DOCUMENT: dict[str, Any] = {
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
                        "chunking_strategy": {"enum": ["auto"]},
                        "include[]": {"type": "array", "items": {"enum": ["logprobs"]}},
                    },
                }
            }
        },
    }
}
