"""A transcript as JSON, text or subtitles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from onebit_model.recognition.recognizer import Segment
from onebit_model.text.decoding import Word
from onebit_service.routes.transcription import Transcript

Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Timestamps = Literal["none", "segment", "word"]

MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
# Two lines of 42 characters, read in comfort: what broadcasters allow at most.
CUE_CHARACTERS = 84
CUE_SECONDS = 7.0
CUE_PAUSE_SECONDS = 1.0


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
    for number, fields in enumerate(answer["segments"]):
        fields["id"] = number
    return {"task": "transcribe", "language": "en", **answer}


def text_answer(transcript: Transcript, answer_format: Format) -> str:
    if answer_format == "srt":
        return "".join(f"{n}\n{_srt_span(cue)}\n{_cue_text(cue)}\n\n" for n, cue in enumerate(cues(transcript), 1))
    if answer_format == "vtt":
        body = "".join(f"{_vtt_span(cue)}\n{_cue_text(cue)}\n\n" for cue in cues(transcript))
        return f"WEBVTT\n\n{body}"
    return full_text(transcript) + "\n"


Cue = tuple[int, Sequence[Word]]


def cues(transcript: Transcript) -> Iterator[Cue]:
    """Words in groups that fit a screen, with the channel they come from (-1 where there is only one)."""
    for segment in transcript.segments:
        track = segment.track if transcript.tracks > 1 else -1
        cue: list[Word] = []
        for word in segment.words:
            if cue and not _fits(cue, word):
                yield track, cue
                cue = []
            cue.append(word)
        if cue:
            yield track, cue


def _fits(cue: Sequence[Word], word: Word) -> bool:
    characters = sum(len(w.text) + 1 for w in cue) + len(word.text)
    pause_seconds = word.start_seconds - cue[-1].end_seconds
    seconds = word.end_seconds - cue[0].start_seconds
    return characters <= CUE_CHARACTERS and seconds <= CUE_SECONDS and pause_seconds <= CUE_PAUSE_SECONDS


def _cue_text(cue: Cue) -> str:
    track, words = cue
    text = " ".join(word.text for word in words)
    return text if track < 0 else f"[{track}] {text}"


def _srt_span(cue: Cue) -> str:
    return f"{_clock(cue[1][0].start_seconds, ',')} --> {_clock(cue[1][-1].end_seconds, ',')}"


def _vtt_span(cue: Cue) -> str:
    return f"{_clock(cue[1][0].start_seconds, '.')} --> {_clock(cue[1][-1].end_seconds, '.')}"


def _clock(seconds: float, separator: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{separator}{milliseconds % 1000:03}"
