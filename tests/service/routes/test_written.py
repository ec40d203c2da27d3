"""Written text on every interface, by a model whose decoder says the same whatever it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
from scripted_model import pieces_of, write_ctc_model, write_scripted_model
from typer.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from onebit_service.client import StreamOptions, open_stream
from onebit_service.commands.cli import app
from onebit_service.routes.stream_messages import FinalMessage


@pytest.fixture
def client(writer: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=writer.url, timeout=60) as http:
        yield http


def figure(client: httpx.Client, name: str, **labels: str) -> float:
    wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(f"{name}{{{wanted}}}"))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_file_is_written(client: httpx.Client, clip: Any, script: str, bits: int) -> None:
    before = figure(client, "asr_decoder_pieces_total", bits=str(bits))
    answer = client.post("/transcribe", params={"bits": bits}, content=clip.encoded()).json()
    assert answer["text"] == script
    (segment,) = answer["segments"]
    assert [word["word"] for word in segment["words"]] == script.split()
    times = [time for word in segment["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert figure(client, "asr_decoder_pieces_total", bits=str(bits)) - before == len(pieces_of(script))
    assert figure(client, "asr_decoder_seconds_total", bits=str(bits)) > 0


def test_who_answers_is_chosen_in_the_query_or_the_form(client: httpx.Client, clip: Any, script: str) -> None:
    heard = client.post("/transcribe?decoder=ctc", content=clip.encoded()).json()["text"]
    assert heard
    assert heard != script
    assert heard == heard.lower()
    parts = {"file": clip.encoded()}
    assert client.post("/transcribe", data={"decoder": "ctc"}, files=parts).json()["text"] == heard
    assert client.post("/transcribe", data={"decoder": "attention"}, files=parts).json()["text"] == script
    refused = client.post("/transcribe?decoder=rnnt", content=clip.encoded())
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "decoder")
    refused = client.post("/transcribe?decoder=attention&beam=9", content=clip.encoded())
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "beam")


async def test_a_model_without_a_decoder_says_so(start_server: Any, clip: Any, tmp_path: Path) -> None:
    write_ctc_model(tmp_path / "model")
    with start_server(model=tmp_path / "model") as running:
        refused = httpx.post(f"{running.url}/transcribe?decoder=attention", content=clip.encoded())
        assert refused.status_code == 422
        assert refused.json()["error"]["field"] == "decoder"
        assert refused.json()["error"]["code"] == "invalid_parameter"
        assert await refused_field(running.stream_url, "attention") == "finals"


def test_subtitles_are_written_text(client: httpx.Client, clip: Any) -> None:
    shape = {"format": "vtt", "max_line_width": 20, "max_line_count": 2}
    cues = client.post("/transcribe", params=shape, content=clip.encoded()).text.split("\n\n")[1:-1]
    lines = [line for cue in cues for line in cue.splitlines()[1:]]
    assert " ".join(lines) == "Hello, AT&amp;T: it is 5 o'clock. Is it?"
    assert all(len(line) <= 24 for line in lines)


def test_the_probability_that_nobody_speaks_is_in_the_answer(
    client: httpx.Client, writer: Any, clip: Any, script: str
) -> None:
    verbose = client.post("/transcribe?format=verbose_json", content=clip.encoded()).json()
    assert 0 <= verbose["segments"][0]["no_speech_prob"] < 0.01
    speech = openai.OpenAI(base_url=f"{writer.url}/v1", api_key="none").audio.transcriptions
    answer = speech.create(
        model="whisper-1", file=("a.wav", clip.encoded()), response_format="verbose_json", prompt="AT&T, Mr. Smith"
    )
    assert answer.text == script
    assert answer.segments is not None
    assert 0 <= answer.segments[0].no_speech_prob < 0.01


async def received(connection: Any) -> list[dict[str, Any]]:
    messages = []
    try:
        while True:
            messages.append(json.loads(await asyncio.wait_for(connection.recv(), 30)))
    except ConnectionClosed:
        return messages


@pytest.mark.parametrize("finals", [None, "attention", "ctc"])
async def test_finals_are_written_and_partials_are_heard(
    writer: Any, clip: Any, script: str, finals: str | None
) -> None:
    start: dict[str, Any] = {"type": "start", "bits": 1}
    async with connect(writer.stream_url, subprotocols=["onebit.v1"]) as connection:
        await connection.send(json.dumps(start | ({"finals": finals} if finals else {})))
        reading = asyncio.create_task(received(connection))
        for begin in range(0, len(clip.pcm), 6400):
            await connection.send(clip.pcm[begin : begin + 6400])
        await connection.send('{"type": "stop"}')
        messages = await reading
    assert messages[0]["finals"] == (finals or "attention")
    partials = [message["text"] for message in messages if message["type"] == "partial"]
    assert partials
    assert all(text == text.lower() for text in partials)
    (final,) = [message for message in messages if message["type"] == "final"]
    assert (final["text"] == script) == (finals != "ctc")
    assert final["reason"] == "stop"
    assert messages[-1]["type"] == "done"


async def refused_field(url: str, finals: str) -> str:
    async with connect(url, subprotocols=["onebit.v1"]) as connection:
        await connection.send(json.dumps({"type": "start", "finals": finals}))
        (error,) = await received(connection)
        assert error["type"] == "error"
        assert connection.close_code == 1008
        return str(error["field"])


async def test_who_else_might_answer_is_refused(writer: Any) -> None:
    assert await refused_field(writer.stream_url, "rnnt") == "finals"


@pytest.mark.parametrize("way", ["chunks", "segment"])
async def test_many_streams_get_their_finals_together(
    start_server: Any, tmp_path: Path, clip: Any, script: str, way: str
) -> None:
    path = tmp_path / "model"
    write_scripted_model(path, script)

    async def one(url: str) -> list[str]:
        async with open_stream(url, StreamOptions(bits=1, finals="attention")) as stream:
            await stream.send(clip.pcm)
            await stream.stop()
            return [message.text async for message in stream if isinstance(message, FinalMessage)]

    with start_server(model=path, live_finals=way, engine_threads=1, max_stream_wait_seconds=30) as running:
        assert await asyncio.gather(*(one(running.stream_url) for _ in range(12))) == 12 * [[script]]
        lines = [line for line in running.metrics().splitlines() if line.startswith("asr_decoder_fallbacks_total{")]
        assert len(lines) == 9
        assert all(line.endswith(" 0.0") for line in lines)


def test_made_up_text_is_counted_and_not_said(start_server: Any, tmp_path: Path, encoded: Any, script: str) -> None:
    path = tmp_path / "model"
    write_scripted_model(path, script, deaf=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    with (
        start_server(model=path, reference_interval_seconds=0) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        answer = client.post("/transcribe?bits=2", content=encoded(noise, 16_000)).json()
        assert (answer["text"], answer["segments"]) == ("", [])
        assert figure(client, "asr_decoder_fallbacks_total", bits="2", reason="no_speech") == 1


def test_the_command_line_chooses(tmp_path: Path, clip: Any, script: str) -> None:
    write_scripted_model(tmp_path / "model", script)
    soundfile.write(tmp_path / "a.wav", clip.samples, 16_000)
    manifest = {"id": "a", "audio": "a.wav", "text": "hello at and t", "duration": clip.seconds}
    (tmp_path / "mine.jsonl").write_text(json.dumps(manifest) + "\n")
    runner, model = CliRunner(), ["--model", str(tmp_path / "model")]
    for decoder, is_script in [(None, True), ("attention", True), ("ctc", False)]:
        option = ["--decoder", decoder] if decoder else []
        done = runner.invoke(app, ["transcribe", str(tmp_path / "a.wav"), "--bits", "1", *model, *option])
        assert done.exit_code == 0, done.output
        assert (done.stdout.strip() == script) == is_script
        scored = ["evaluate", "--set", str(tmp_path / "mine.jsonl"), "--bits", "1", "--markdown", *model, *option]
        done = runner.invoke(app, scored)
        assert done.exit_code == 0, done.output
        assert ("attention" in done.stdout) == is_script
        for finals in ("chunks", "segment"):
            done = runner.invoke(app, [*scored, "--chunk", "8", "--live", finals])
            assert done.exit_code == 0, done.output
            assert f"live finals by {finals}" in done.stdout
    refused = runner.invoke(app, ["evaluate", "--live", "segment"])
    assert refused.exit_code == 2
    assert "--chunk 8" in refused.output
