"""A transcript as JSON, text or subtitles."""

from __future__ import annotations

from typing import Any, Literal

from onebit_model.recognition.segment import Segment
from onebit_model.text.decoding import Word
from onebit_service.routes.subtitles import SubtitleShape, srt, vtt
from onebit_service.routes.transcription import Transcript

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Timestamps = Literal["none", "segment", "word"]

MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
SUBTITLES = {"srt": srt, "vtt": vtt}


def rounded(seconds: float) -> float:
    return round(seconds, 3)


def word_fields(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": rounded(word.start_seconds),
        "end": rounded(word.end_seconds),
        "confidence": round(word.confidence, 4),
    }


def segment_fields(segment: Segment, timestamps: Timestamps) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "start": rounded(segment.start_seconds),
        "end": rounded(segment.end_seconds),
        "text": segment.text,
        "confidence": round(segment.confidence, 4),
    }
    if timestamps == "word":
        fields["words"] = [word_fields(word) for word in segment.words]
    return fields


def track_text(transcript: Transcript, track: int) -> str:
    return " ".join(s.text for s in transcript.segments if s.track == track and s.words)


def full_text(transcript: Transcript) -> str:
    """One line per channel where channels were split."""
    return "\n".join(track_text(transcript, track) for track in range(transcript.tracks))


def json_answer(transcript: Transcript, timestamps: Timestamps) -> dict[str, Any]:
    segments = [segment for segment in transcript.segments if segment.words] if timestamps != "none" else []
    answer: dict[str, Any] = {
        "text": full_text(transcript),
        "bits": transcript.bits,
        "duration_seconds": rounded(transcript.duration_seconds),
        "processing_seconds": round(transcript.processing_seconds, 6),
        "segments": [segment_fields(segment, timestamps) for segment in segments],
        "warnings": transcript.warnings,
    }
    if transcript.tracks > 1:
        for fields, segment in zip(answer["segments"], segments, strict=True):
            fields["channel"] = segment.track
        answer["channels"] = [
            {"channel": track, "text": track_text(transcript, track)} for track in range(transcript.tracks)
        ]
    return answer


def verbose_answer(transcript: Transcript, timestamps: Timestamps) -> dict[str, Any]:
    """The same with a number for each segment and what else Whisper's users look for."""
    answer = json_answer(transcript, timestamps)
    spoken = (segment for segment in transcript.segments if segment.words)
    for number, (fields, segment) in enumerate(zip(answer["segments"], spoken, strict=False)):
        fields["id"] = number
        fields["no_speech_prob"] = round(segment.no_speech_probability, 4)
    return {"task": "transcribe", "language": "en", **answer}


def text_answer(transcript: Transcript, answer_format: Format, shape: SubtitleShape) -> str:
    if answer_format in SUBTITLES:
        return SUBTITLES[answer_format](transcript.segments, shape, name_channels=transcript.tracks > 1)
    return full_text(transcript) + "\n"
