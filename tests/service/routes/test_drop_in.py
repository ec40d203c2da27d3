"""What programs written for other servers send, and people type: preflights, HEAD, slashes, the form's variants."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from onebit_service.errors import SettingError
from onebit_service.security import Keys
from onebit_service.settings import Settings

OPENAI = "/v1/audio/transcriptions"


@pytest.mark.parametrize("origins", ["*", "https://page.example"])
def test_preflights_of_openais_javascript_client(start_server: Any, origins: str) -> None:
    """Its headers are whatever it likes."""
    wanted = "authorization,content-type,x-stainless-arch,x-stainless-os,x-stainless-retry-count,x-anything"
    asked = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    with start_server(cors_origins=origins, api_keys="secret", reference_interval_seconds=0) as server:
        answer = httpx.options(f"{server.url}{OPENAI}", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-headers"] == wanted
        assert answer.headers["access-control-allow-origin"] == origins
        stranger = httpx.options(f"{server.url}{OPENAI}", headers=asked | {"origin": "https://other.example"})
        assert ("access-control-allow-origin" in stranger.headers) == (origins == "*")


@pytest.mark.parametrize("path", ["/", "/health/live", "/health/ready", "/metrics", "/docs", "/v1/models", "/nothing"])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, got = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_slashes_at_the_end(client: httpx.Client, clip: Any) -> None:
    for path in ("/health/live", "/health/ready", "/v1/models", "/v1/models/whisper-1", "/docs", "/page/page.js"):
        assert client.get(f"{path}/").text == client.get(path).text
    for path in ("/transcribe?bits=1", f"{OPENAI}?"):
        slashed = path.replace("?", "/?")
        fields = {"model": "onebit-1bit"} if path.startswith("/v1/") else {}
        answers = [client.post(way, data=fields, files={"file": clip.encoded()}) for way in (path, slashed)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json()["text"] == answers[1].json()["text"]


def test_the_documentation_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page.text
    assert "max_line_width" in page.text
    assert "<script" not in page.text
    linked = re.findall(r'(?:href|src)="([^"]*)"', page.text)
    assert linked
    for address in linked:
        assert "//" not in address
        assert client.get(f"/{address}").status_code == 200


@pytest.mark.parametrize("language", ["en", "EN", "en-US", "en_GB", "english", "English", ""])
def test_english_in_any_spelling(client: httpx.Client, clip: Any, language: str) -> None:
    data = {"model": "onebit-1bit", "language": language}
    assert client.post(OPENAI, data=data, files={"file": clip.encoded()}).status_code == 200


@pytest.mark.parametrize("language", ["de", "german", "e", "xx-en"])
def test_other_languages_are_refused(client: httpx.Client, clip: Any, language: str) -> None:
    data = {"model": "onebit-1bit", "language": language}
    answer = client.post(OPENAI, data=data, files={"file": clip.encoded()})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "language")


@pytest.fixture(scope="module")
def api(server: Any) -> Any:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_chunking_strategies(api: openai.OpenAI, clip: Any) -> None:
    """OpenAI's client sends an object as one field for each member."""
    create, file = api.audio.transcriptions.create, ("a.wav", clip.encoded())
    strategies: list[Any] = [
        "auto",
        {"type": "server_vad"},
        {"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 500, "prefix_padding_ms": 100},
    ]
    texts = {create(file=file, model="onebit-1bit", chunking_strategy=strategy).text for strategy in strategies}
    assert len(texts) == 1
    for strategy in ({"type": "client_vad"}, {"type": "server_vad", "threshold": 7}, {"threshold": 0.5}):
        with pytest.raises(openai.BadRequestError, match="chunking_strategy"):
            create(file=file, model="onebit-1bit", chunking_strategy=strategy)  # type: ignore[call-overload]


def test_probabilities_of_words(api: openai.OpenAI, clip: Any) -> None:
    create, file = api.audio.transcriptions.create, ("a.wav", clip.encoded())
    answer = create(file=file, model="gpt-4o-transcribe", include=["logprobs"])
    assert answer.logprobs
    assert [word.token for word in answer.logprobs] == answer.text.split()
    assert all(word.logprob is not None and word.logprob <= 0 for word in answer.logprobs)
    assert bytes(int(byte) for byte in answer.logprobs[0].bytes or []).decode() == answer.logprobs[0].token
    assert create(file=file, model="gpt-4o-transcribe").logprobs is None
    events = list(create(file=file, model="gpt-4o-transcribe", include=["logprobs"], stream=True))
    heard = [word.token for event in events[:-1] for word in event.logprobs or []]  # type: ignore[union-attr]
    assert heard == answer.text.split()


def test_usage_in_the_last_event(api: openai.OpenAI, clip: Any) -> None:
    *_, last = api.audio.transcriptions.create(file=("a.wav", clip.encoded()), model="whisper-1", stream=True)
    assert last.type == "transcript.text.done"
    assert last.usage is not None
    assert last.usage.input_tokens == math.ceil(clip.seconds * 25)
    assert last.usage.output_tokens == len(last.text.split())
    assert last.usage.total_tokens == last.usage.input_tokens + last.usage.output_tokens


def test_keys_that_no_header_can_hold(tmp_path: Path) -> None:
    for key in ("schlüssel", "密码", "tab\tkey"):
        with pytest.raises(SettingError, match="ONEBIT_API_KEYS: .*ASCII") as refused:
            Keys.load(Settings(api_keys=("good", key)))
        assert key not in str(refused.value)
        file = tmp_path / "keys"
        file.write_text(f"good\n{key}\n", encoding="utf-8")
        with pytest.raises(SettingError, match="ONEBIT_API_KEYS_FILE: .*ASCII"):
            Keys.load(Settings(api_keys_file=str(file)))
