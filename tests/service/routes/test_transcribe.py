"""POST /transcribe: what goes in and what comes out."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from onebit_model.recognition.segment import Segment
from onebit_model.text.search import GREEDY


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


@pytest.fixture(scope="module")
def expected(recognizer: Any, clip: Any) -> str:
    return " ".join(segment.text for segment in recognizer.transcribe(clip.samples, 4) if segment.words)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_file_at_each_precision(client: httpx.Client, clip: Any, recognizer: Any, bits: int) -> None:
    answer = client.post("/transcribe", params={"bits": bits}, files={"file": clip.encoded(subtype="FLOAT")}).json()
    heard = [segment.text for segment in recognizer.transcribe(clip.samples, bits) if segment.words]
    assert set(answer) == {"text", "bits", "duration_seconds", "processing_seconds", "segments", "warnings"}
    assert answer["text"] == " ".join(heard)
    assert answer["bits"] == bits
    assert answer["duration_seconds"] == pytest.approx(clip.seconds, abs=0.002)
    assert 0 < answer["processing_seconds"] < 60
    assert answer["warnings"] == []
    assert [segment["text"] for segment in answer["segments"]] == heard
    for fields in answer["segments"]:
        assert set(fields) == {"start", "end", "text", "confidence", "words"}
        assert [word["word"] for word in fields["words"]] == fields["text"].split()
        times = [time for word in fields["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert all(0 <= word["confidence"] <= 1 for word in fields["words"])


def test_default_precision_is_4(client: httpx.Client, clip: Any, expected: str) -> None:
    answer = client.post("/transcribe", content=clip.encoded(subtype="FLOAT"))
    assert text_of(answer) == expected
    assert answer.json()["bits"] == 4


def test_raw_body_with_curls_content_type(client: httpx.Client, clip: Any, expected: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert text_of(client.post("/transcribe", content=clip.encoded(subtype="FLOAT"), headers=headers)) == expected


def test_body_in_pieces_of_odd_sizes(client: httpx.Client, clip: Any, expected: str) -> None:
    data = clip.encoded(subtype="FLOAT")

    def pieces() -> Any:
        for start in range(0, len(data), 997):
            yield data[start : start + 997]

    assert text_of(client.post("/transcribe", content=pieces())) == expected


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("audio/L16; rate=16000; channels=1", "<i2"), ("audio/x-raw;format=s16be", ">i2"), ("audio/x-raw", "<i2")],
)
def test_headerless_pcm(client: httpx.Client, clip: Any, encoded: Any, kind: str, dtype: str) -> None:
    samples = np.frombuffer(clip.pcm, "<i2")
    answer = client.post("/transcribe", content=samples.astype(dtype).tobytes(), headers={"content-type": kind})
    assert text_of(answer) == text_of(client.post("/transcribe", content=encoded(samples, 16_000)))


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "ULAW"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_containers(client: httpx.Client, clip: Any, container: str, subtype: str) -> None:
    data = clip.encoded(format=container, subtype=subtype)
    answer = client.post("/transcribe", files={"file": ("any.name", data)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_seconds"] == pytest.approx(clip.seconds, abs=0.15)
    assert answer.json()["warnings"] == []


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_sample_rates(client: httpx.Client, encoded: Any, rate: int) -> None:
    tone = (0.1 * np.sin(np.arange(2 * rate) * (2 * np.pi * 300 / rate))).astype(np.float32)
    answer = client.post("/transcribe", content=encoded(tone, rate))
    assert answer.json()["duration_seconds"] == 2.0


def said(segments: list[Segment]) -> str:
    return " ".join(segment.text for segment in segments if segment.words)


def test_channels(client: httpx.Client, clips: Any, encoded: Any, recognizer: Any) -> None:
    left, right = clips[0].samples, clips[1].samples
    stereo = np.zeros((len(left) + len(right), 2), np.float32)
    stereo[: len(left), 0], stereo[len(left) :, 1] = left, right
    data = encoded(stereo, 16_000, subtype="FLOAT")
    texts = [said(recognizer.transcribe(stereo[:, track].copy(), 4)) for track in (0, 1)]
    for track in (0, 1):
        assert text_of(client.post("/transcribe", params={"channel": track}, content=data)) == texts[track]
    split = client.post("/transcribe", params={"channel": "split"}, content=data).json()
    assert [channel["text"] for channel in split["channels"]] == texts
    assert split["text"] == "\n".join(texts)
    assert {segment["channel"] for segment in split["segments"]} == {0, 1}
    mixed = said(recognizer.transcribe(stereo.mean(axis=1), 4))
    assert text_of(client.post("/transcribe", content=data)) == mixed


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_silence_is_empty_text(client: httpx.Client, encoded: Any, bits: int) -> None:
    answer = client.post("/transcribe", params={"bits": bits}, content=encoded(np.zeros(80_000, np.float32), 16_000))
    assert text_of(answer) == ""
    assert answer.json()["duration_seconds"] == 5.0
    assert answer.json()["segments"] == []


def test_formats(client: httpx.Client, clip: Any, expected: str) -> None:
    def ask(answer_format: str) -> httpx.Response:
        data = clip.encoded(subtype="FLOAT")
        return client.post("/transcribe", params={"format": answer_format}, content=data)

    assert ask("text").text == expected + "\n"
    assert ask("text").headers["content-type"] == "text/plain; charset=utf-8"
    srt = ask("srt").text
    assert srt.startswith("1\n00:00:0")
    assert ",".join(srt.splitlines()[1].split(" --> ")).count(",") == 3
    assert " ".join(line for line in srt.splitlines() if line and not line[0].isdigit()) == expected
    assert ask("vtt").text.startswith("WEBVTT\n\n00:00:0")
    verbose = ask("verbose_json").json()
    assert verbose["language"] == "en"
    assert verbose["segments"][0]["id"] == 0
    assert verbose["segments"][0]["words"]


def test_segments_without_words_are_in_no_answer(client: Any, clip: Any, encoded: Any, recognizer: Any) -> None:
    pause = np.zeros(160_000, np.float32)
    samples = np.concatenate([pause, clip.samples, pause, pause, clip.samples])
    heard = recognizer.transcribe(samples, 4)
    texts = [segment.text for segment in heard if segment.words]
    assert 0 < len(texts) < len(heard)

    def ask(query: str) -> httpx.Response:
        return client.post(f"/transcribe?{query}", content=encoded(samples, 16_000, subtype="FLOAT"))

    for query in ("format=json", "format=verbose_json&timestamps=segment"):
        answer = ask(query).json()
        assert [segment["text"] for segment in answer["segments"]] == texts
        assert answer["text"] == " ".join(texts)
    for answer_format, first_line in (("srt", 2), ("vtt", 1)):
        shape = "max_line_width=20&max_line_count=1"
        cues = ask(f"format={answer_format}&{shape}").text.removeprefix("WEBVTT\n\n").strip().split("\n\n")
        lines = [line for cue in cues for line in cue.splitlines()[first_line:]]
        assert len(lines) == len(cues)
        assert all(len(line) <= 20 for line in lines)
        assert " ".join(lines) == " ".join(texts)


@pytest.mark.parametrize(("answer_format", "text"), [("srt", ""), ("vtt", "WEBVTT\n\n"), ("text", "\n")])
def test_silence_has_no_cues(client: httpx.Client, encoded: Any, answer_format: str, text: str) -> None:
    data = encoded(np.zeros(160_000, np.float32), 16_000)
    assert client.post("/transcribe", params={"format": answer_format}, content=data).text == text


def test_timestamps(client: httpx.Client, clip: Any) -> None:
    def segments(detail: str) -> Any:
        data = clip.encoded()
        return client.post("/transcribe", params={"timestamps": detail}, content=data).json()["segments"]

    assert segments("none") == []
    assert "words" not in segments("segment")[0]
    assert segments("word")[0]["words"]


@pytest.mark.parametrize("chunk", ["8", "16"])
def test_chunks(client: httpx.Client, clip: Any, recognizer: Any, chunk: str) -> None:
    data = clip.encoded(subtype="FLOAT")
    text = " ".join(s.text for s in recognizer.transcribe(clip.samples, 4, int(chunk)) if s.words)
    assert text_of(client.post("/transcribe", params={"chunk": chunk}, content=data)) == text


def test_long_audio_is_cut_at_silence(client: httpx.Client, clips: Any, encoded: Any) -> None:
    pause = np.zeros(16_000, np.float32)
    samples = np.concatenate([part for clip in clips * 3 for part in (clip.samples, pause)])
    answer = client.post("/transcribe", content=encoded(samples, 16_000)).json()
    assert len(samples) / 16_000 > 60
    assert len(answer["segments"]) >= len(samples) / 16_000 / 30
    starts = [segment["start"] for segment in answer["segments"]]
    assert starts == sorted(starts)
    assert answer["segments"][-1]["end"] <= answer["duration_seconds"]
    assert answer["text"] == " ".join(segment["text"] for segment in answer["segments"])


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, None])
def test_piped_or_truncated_wav_is_transcribed_with_a_warning(client: httpx.Client, clip: Any, length: Any) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(clip.pcm)
    data = buffer.getvalue()
    cut = data[: len(data) // 2]
    data = cut if length is None else data[:40] + length.to_bytes(4, "little") + data[44:]
    answer = client.post("/transcribe", content=data).json()
    assert answer["warnings"] == ["truncated"]
    assert answer["duration_seconds"] == pytest.approx(clip.seconds / (2 if length is None else 1), abs=0.01)


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_truncated_compressed_audio(client: httpx.Client, clip: Any, container: str, subtype: str) -> None:
    data = clip.encoded(format=container, subtype=subtype)
    answer = client.post("/transcribe", content=data[: len(data) * 2 // 3])
    assert answer.status_code == 200, answer.text
    assert answer.json()["warnings"] == ["truncated"]
    assert answer.json()["duration_seconds"] > clip.seconds / 4


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize("container", ["CAF", "NIST", "VOC", "W64", "RF64", "AU", "AIFF"])
def test_truncated_audio_of_any_container(client: httpx.Client, clip: Any, container: str, share: float) -> None:
    data = clip.encoded(format=container, subtype="PCM_16")
    answer = client.post("/transcribe", content=data[: int(len(data) * share)])
    assert answer.status_code == 200, answer.text
    assert answer.json()["warnings"] == ["truncated"]
    assert answer.json()["duration_seconds"] == pytest.approx(clip.seconds * share, abs=0.2)


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "FLOAT")])
def test_joined_files_are_transcribed_to_the_end(
    client: httpx.Client, clip: Any, expected: str, container: str, subtype: str
) -> None:
    answer = client.post("/transcribe", content=clip.encoded(format=container, subtype=subtype) * 2)
    assert len(text_of(answer).split()) > 1.5 * len(expected.split())
    assert answer.json()["duration_seconds"] == pytest.approx(2 * clip.seconds, abs=0.1)
    assert answer.json()["segments"][-1]["end"] > clip.seconds
    assert answer.json()["warnings"] == []


def test_opposite_channels_are_heard(client: httpx.Client, clip: Any, expected: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([clip.samples, -clip.samples], axis=1), 16_000, format="WAV", subtype="FLOAT")
    answer = client.post("/transcribe", content=buffer.getvalue())
    assert text_of(answer) == expected
    assert answer.json()["warnings"] == ["opposite_channels"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b.wav", "a.wav; rm -rf ~", "x" * 1000])
def test_file_names_mean_nothing(client: httpx.Client, clip: Any, expected: str, name: str) -> None:
    assert text_of(client.post("/transcribe", files={"file": (name, clip.encoded(subtype="FLOAT"))})) == expected


@pytest.mark.parametrize("beam", [None, 2, 32])
def test_hotwords_are_heard(client: httpx.Client, boosted: Any, recognizer: Any, beam: int | None) -> None:
    first, *rest = boosted.hotwords
    query = {"decoder": "ctc", "hotwords": [first.upper() + "!", " , ".join(rest)]} | ({"beam": beam} if beam else {})
    answer = client.post("/transcribe", params=query, content=boosted.clip.encoded(subtype="FLOAT"))
    search = recognizer.search(beam, boosted.hotwords, "ctc")
    assert text_of(answer) == boosted.words(recognizer.transcribe(boosted.clip.samples, 4, 0, search))
    assert answer.json()["warnings"] == []


@pytest.mark.parametrize("query", [{}, {"hotwords": " , "}, {"beam": 16}])
def test_beam_and_language_model_where_nothing_is_asked_for(
    client: httpx.Client, clip: Any, query: Any, recognizer: Any
) -> None:
    heard = recognizer.transcribe(clip.samples, 4, 0, recognizer.search(16, decoder="ctc"))
    answer = client.post("/transcribe", params=query | {"decoder": "ctc"}, content=clip.encoded(subtype="FLOAT"))
    assert text_of(answer) == " ".join(segment.text for segment in heard if segment.words)


@pytest.mark.parametrize("query", [{"beam": 1}, {"beam": 1, "hotwords": ""}])
def test_greedy(client: httpx.Client, clip: Any, query: Any, recognizer: Any) -> None:
    heard = recognizer.transcribe(clip.samples, 4, 0, GREEDY)
    answer = client.post("/transcribe", params=query | {"decoder": "ctc"}, content=clip.encoded(subtype="FLOAT"))
    assert text_of(answer) == " ".join(segment.text for segment in heard if segment.words)


def test_a_beam_without_hotwords(client: httpx.Client, clip: Any, recognizer: Any) -> None:
    heard = recognizer.transcribe(clip.samples, 4, 0, recognizer.search(12, decoder="ctc"))
    answer = client.post("/transcribe", params={"beam": 12, "decoder": "ctc"}, content=clip.encoded(subtype="FLOAT"))
    assert text_of(answer) == " ".join(segment.text for segment in heard if segment.words)


def test_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/page/page.js", "/health/live", "/nothing"):
        headers = client.get(path).headers
        # The page names what it needs; the rest may load nothing from elsewhere.
        allowed = "'none'" if path in ("/", "/page/page.js") else "'self'"
        assert f"default-src {allowed}" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "microphone=(self)" in headers["permissions-policy"]


def test_each_request_is_a_line_of_the_log(server: Any, client: httpx.Client, clip: Any) -> None:
    client.post("/transcribe", params={"bits": 2}, content=clip.encoded(), headers={"x-request-id": "find-me"})
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == "find-me"]
    assert (line["event"], line["endpoint"], line["bits"], line["status"]) == ("request", "transcribe", "2", 200)
    assert line["seconds"] > 0
    assert line["timestamp"].endswith("Z")


def test_request_id_is_echoed_or_made(client: httpx.Client) -> None:
    assert client.get("/health/live", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = client.get("/health/live", headers={"x-request-id": "not fit <for> a log"}).headers["x-request-id"]
    assert len(made) == 32


FORM = {"content-type": "multipart/form-data; boundary=x"}


def part(name: str, value: bytes, file_name: str = "") -> bytes:
    named = f'; filename="{file_name}"' if file_name else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


def test_fields_of_the_form_are_those_of_the_query(client: httpx.Client, clip: Any) -> None:
    """In front of the file and behind it."""
    file = part("file", clip.encoded(subtype="FLOAT"), "a.wav")
    fields = [part("bits", b"1"), part("hotwords", b"lamp,kitchen"), part("hotwords", b"light"), part("format", b"srt")]
    query = [("bits", "1"), ("hotwords", "lamp,kitchen"), ("hotwords", "light"), ("format", "srt")]
    expected = client.post("/transcribe", params=query, content=clip.encoded(subtype="FLOAT"))
    assert expected.status_code == 200
    for body in (form(*fields, file), form(file, *fields), form(fields[0], file, *fields[1:])):
        answer = client.post("/transcribe", content=body, headers=FORM)
        assert (answer.status_code, answer.text) == (200, expected.text)


def test_fields_behind_a_large_file(client: httpx.Client, clip: Any) -> None:
    """What shapes the answer may come at any time, what is computed must be known before."""
    file = part("file", clip.encoded() + bytes(40 << 20), "a.wav")
    shaped = client.post("/transcribe", content=form(part("bits", b"1"), file, part("format", b"text")), headers=FORM)
    assert shaped.status_code == 200
    assert shaped.headers["content-type"].startswith("text/plain")
    refused = client.post("/transcribe", content=form(file, part("bits", b"1")), headers=FORM)
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "bits")
    assert "before" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "fields", "named"),
    [
        ("?bits=1&bits=2", [], "bits"),
        ("?bits=1", [("bits", "1")], "bits"),
        ("", [("beam", "2"), ("beam", "3")], "beam"),
        ("", [("format[a]", "text")], "format"),
    ],
)
def test_a_field_given_twice(client: httpx.Client, clip: Any, query: str, fields: Any, named: str) -> None:
    body = form(*(part(name, value.encode()) for name, value in fields), part("file", clip.encoded(), "a.wav"))
    answer = client.post(f"/transcribe{query}", content=body, headers=FORM)
    assert answer.status_code == 422, answer.text
    assert (answer.json()["error"]["code"], answer.json()["error"]["field"]) == ("invalid_parameter", named)
