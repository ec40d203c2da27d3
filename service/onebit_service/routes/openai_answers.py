"""A transcript in the forms that OpenAI's clients read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from starlette.responses import JSONResponse, Response

from onebit_model.config import OUTPUT_FRAME_SECONDS
from onebit_model.recognition.segment import Segment
from onebit_service.routes.answers import MEDIA_TYPES, full_text, rounded, text_answer
from onebit_service.routes.openai_fields import TranscriptionFields
from onebit_service.routes.subtitles import SubtitleShape
from onebit_service.routes.transcription import Transcript

EVENT_STREAM = "text/event-stream"
LEAST_CONFIDENCE = 1e-6


def answer(transcript: Transcript, fields: TranscriptionFields) -> Response:
    if fields.stream:
        whole = "".join(delta_event(segment, fields, number > 0) for number, segment in enumerate(_spoken(transcript)))
        return Response(whole + done_event(transcript, fields), media_type=EVENT_STREAM)
    if fields.response_format in ("text", "srt", "vtt"):
        text = text_answer(transcript, fields.response_format, SubtitleShape())
        return Response(text, media_type=MEDIA_TYPES[fields.response_format])
    usage = {"type": "duration", "seconds": math.ceil(transcript.duration_seconds)}
    shown = {"text": full_text(transcript)} if fields.response_format == "json" else _verbose(transcript, fields)
    return JSONResponse(shown | {"usage": usage} | _logprobs(transcript.segments, fields))


def event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields)}\n\n"


def delta_event(segment: Segment, fields: TranscriptionFields, is_later: bool) -> str:
    delta = (" " if is_later else "") + segment.text
    return event({"type": "transcript.text.delta", "delta": delta} | _logprobs([segment], fields))


def done_event(transcript: Transcript, fields: TranscriptionFields) -> str:
    """In events OpenAI counts tokens: here the network's frames on the one side, words on the other."""
    frames = math.ceil(transcript.duration_seconds / OUTPUT_FRAME_SECONDS)
    words = sum(len(segment.words) for segment in transcript.segments)
    usage = {
        "type": "tokens",
        "input_tokens": frames,
        "input_token_details": {"audio_tokens": frames, "text_tokens": 0},
        "output_tokens": words,
        "total_tokens": frames + words,
    }
    whole = {"type": "transcript.text.done", "text": full_text(transcript), "usage": usage}
    return event(whole | _logprobs(transcript.segments, fields))


def _spoken(transcript: Transcript) -> list[Segment]:
    return [segment for segment in transcript.segments if segment.words]


def _logprobs(segments: Iterable[Segment], fields: TranscriptionFields) -> dict[str, Any]:
    """One for each word, where they are asked for."""
    if "logprobs" not in fields.include:
        return {}
    words = [word for segment in segments for word in segment.words]
    return {
        "logprobs": [
            {"token": word.text, "logprob": _logarithm(word.confidence), "bytes": list(word.text.encode())}
            for word in words
        ]
    }


def _logarithm(confidence: float) -> float:
    return round(math.log(max(confidence, LEAST_CONFIDENCE)), 4)


def _verbose(transcript: Transcript, fields: TranscriptionFields) -> dict[str, Any]:
    spoken = _spoken(transcript)
    shown: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": rounded(transcript.duration_seconds),
        "text": full_text(transcript),
    }
    if "segment" in fields.timestamp_granularities:
        shown["segments"] = [_segment(number, segment) for number, segment in enumerate(spoken)]
    if "word" in fields.timestamp_granularities:
        shown["words"] = [
            {"word": word.text, "start": rounded(word.start_seconds), "end": rounded(word.end_seconds)}
            for segment in spoken
            for word in segment.words
        ]
    return shown


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
        "avg_logprob": _logarithm(segment.confidence),
        "compression_ratio": 1.0,
        "no_speech_prob": round(segment.no_speech_probability, 4),
    }
