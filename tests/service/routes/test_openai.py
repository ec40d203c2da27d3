"""OpenAI's own client, and the forms that other programs send."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from onebit_service.routes.prompt import phrases_of

ALIASES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")


@pytest.fixture(scope="module")
def api(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def upload(clip: Any) -> tuple[str, bytes]:
    return "speech.wav", clip.encoded(subtype="FLOAT")


def test_models(api: openai.OpenAI) -> None:
    names = {model.id for model in api.models.list()}
    assert names == {"onebit-1bit", "onebit-2bit", "onebit-4bit", *ALIASES}
    assert api.models.retrieve("whisper-1").id == "whisper-1"
    with pytest.raises(openai.NotFoundError):
        api.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("model", "bits"),
    [("onebit-1bit", 1), ("onebit-2bit", 2), ("onebit-4bit", 4), *((alias, 4) for alias in ALIASES)],
)
def test_each_precision(api: openai.OpenAI, clip: Any, recognizer: Any, model: str, bits: int) -> None:
    answer = api.audio.transcriptions.create(file=upload(clip), model=model)
    heard = recognizer.transcribe(clip.samples, bits)
    assert answer.text == " ".join(segment.text for segment in heard if segment.words)


def test_response_formats(api: openai.OpenAI, clip: Any) -> None:
    create = api.audio.transcriptions.create
    text = create(file=upload(clip), model="whisper-1").text
    assert create(file=upload(clip), model="whisper-1", response_format="text") == text + "\n"
    assert create(file=upload(clip), model="whisper-1", response_format="srt").startswith("1\n00:")
    assert create(file=upload(clip), model="whisper-1", response_format="vtt").startswith("WEBVTT")
    verbose = create(
        file=upload(clip),
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
        temperature=0.2,
    )
    assert verbose.text == text
    assert verbose.language == "english"
    assert verbose.duration == pytest.approx(clip.seconds, abs=0.01)
    assert verbose.words
    assert [word.word for word in verbose.words] == text.split()
    assert verbose.segments
    assert verbose.segments[0].text == text
    words_only = create(
        file=upload(clip), model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words_only.segments is None


def test_prompts_give_hotwords(api: openai.OpenAI, boosted: Any, recognizer: Any) -> None:
    prompt = (
        f"Names: {', '.join(boosted.hotwords)}. This sentence is longer than anything that could be a name, item 5."
    )
    answer = api.audio.transcriptions.create(file=upload(boosted.clip), model="whisper-1", prompt=prompt)
    search = recognizer.search(None, phrases_of(prompt, recognizer.tools))
    assert answer.text == boosted.words(recognizer.transcribe(boosted.clip.samples, 4, 0, search))


def test_a_prompt_before_a_file_that_has_to_wait(client: httpx.Client, boosted: Any, recognizer: Any) -> None:
    """The model comes last; the prompt may stand on either side of the file then."""
    prompt = (
        b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n' + ",".join(boosted.hotwords).encode() + b"\r\n"
    )
    file = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + upload(boosted.clip)[1]
        + b"\r\n"
    )
    model = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x--\r\n'
    heard = recognizer.transcribe(
        boosted.clip.samples, 4, 0, recognizer.search(None, phrases_of(",".join(boosted.hotwords), recognizer.tools))
    )
    for body in (prompt + file + model, file + prompt + model):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post("/v1/audio/transcriptions", content=body, headers=headers)
        assert answer.json()["text"] == boosted.words(heard)


def test_streamed_answer(api: openai.OpenAI, clip: Any) -> None:
    text = api.audio.transcriptions.create(file=upload(clip), model="whisper-1").text
    events = list(api.audio.transcriptions.create(file=upload(clip), model="whisper-1", stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == text
    assert "".join(event.delta for event in events[:-1]) == text


def test_file_before_model_as_curl_users_write_it(client: httpx.Client, clip: Any) -> None:
    body = b"".join(
        [
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n',
            clip.encoded(subtype="FLOAT"),
            b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1',
            b'\r\n--x\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--x--\r\n',
        ]
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({}, 400, "invalid_parameter", "model"),
        ({"model": "gpt-9"}, 404, "model_not_found", "model"),
        ({"model": "whisper-1", "response_format": "xml"}, 400, "invalid_parameter", "response_format"),
        ({"model": "whisper-1", "language": "de"}, 400, "invalid_parameter", "language"),
        ({"model": "whisper-1", "temperature": "9"}, 400, "invalid_parameter", "temperature"),
        ({"model": "whisper-1", "voice": "deep"}, 400, "invalid_parameter", "voice"),
    ],
)
def test_errors_in_openais_shape(
    client: httpx.Client, clip: Any, fields: dict[str, str], status: int, code: str, param: str
) -> None:
    answer = client.post("/v1/audio/transcriptions", data=fields, files={"file": upload(clip)})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


def test_errors_as_the_client_sees_them(api: openai.OpenAI, clip: Any) -> None:
    create = api.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError, match="not audio"):
        create(file=("a.wav", b"nothing"), model="whisper-1")
    with pytest.raises(openai.BadRequestError, match="not audio"):
        create(file=("a.wav", b"nothing"), model="whisper-1", stream=True)
    with pytest.raises(openai.BadRequestError, match="no audio"):
        create(file=("a.wav", b""), model="whisper-1")


def test_a_file_before_its_model_takes_a_place(start_server: Any, clip: Any) -> None:
    """It is received before anybody knows how to transcribe it, but not more of them than there are places."""
    head = (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    )
    fields = {"file": ("a.wav", clip.encoded()), "model": (None, "whisper-1")}
    with start_server(max_files=1) as small, socket.create_connection(("127.0.0.1", small.port)) as holder:
        holder.sendall(head)
        while small.gauge("asr_queue_depth") == 0:
            time.sleep(0.02)
        for path in ("/v1/audio/transcriptions", "/transcribe"):
            files = fields if path.startswith("/v1/") else {"file": clip.encoded()}
            answer = httpx.post(f"{small.url}{path}", files=files)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        holder.close()
        while small.gauge("asr_queue_depth") == 1:
            time.sleep(0.02)
        bad = fields | {"model": (None, "gpt-9")}
        assert httpx.post(f"{small.url}/v1/audio/transcriptions", files=bad).status_code == 404
        assert small.gauge("asr_queue_depth") == 0
        assert httpx.post(f"{small.url}/v1/audio/transcriptions", files=fields).status_code == 200


def test_keys(start_server: Any, clip: Any) -> None:
    with start_server(api_keys="right", cors_origins="https://page.example") as server:
        wrong = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        with pytest.raises(openai.AuthenticationError):
            wrong.audio.transcriptions.create(file=upload(clip), model="whisper-1")
        right = openai.OpenAI(base_url=f"{server.url}/v1", api_key="right", max_retries=0)
        assert right.audio.transcriptions.create(file=upload(clip), model="whisper-1").text
        wrong.close()
        right.close()
        asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
        answer = httpx.options(f"{server.url}/transcribe", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        answer = httpx.options(f"{server.url}/transcribe", headers=asked | {"origin": "https://other.example"})
        assert "access-control-allow-origin" not in answer.headers
