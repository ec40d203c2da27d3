"""What the page asks of the server beside files and streams; tests/system/test_page.py uses the page itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_of_what_the_page_has_heard(client: httpx.Client, clip: Any, kind: str) -> None:
    """As the server itself writes them, from nothing but the words of an answer."""
    answer = client.post("/transcribe", content=clip.encoded()).json()
    segments = [{"words": []}, *answer["segments"]]
    written = client.post(f"/page/subtitles/{kind}", json={"segments": segments})
    assert written.status_code == 200, written.text
    assert written.text == client.post(f"/transcribe?format={kind}", content=clip.encoded()).text
    assert written.headers["content-type"].startswith({"srt": "application/x-subrip", "vtt": "text/vtt"}[kind])


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not the segments of a transcript"),
        (b"[]", "not the segments of a transcript"),
        (b'{"segments": [{"words": [{"word": "a", "start": 1e999, "end": 2}]}]}', "not the segments of a transcript"),
        (b'{"segments": [' + b" " * (1 << 23) + b"]}", "more than 8388608 bytes"),
    ],
)
def test_what_is_no_transcript(client: httpx.Client, body: bytes, complaint: str) -> None:
    answer = client.post("/page/subtitles/srt", content=body)
    assert answer.status_code == 422
    assert complaint in answer.json()["error"]["message"]


def test_the_page_allows_nothing_but_itself(client: httpx.Client) -> None:
    for path in ("/", "/page/style.css", "/page/page.js", "/page/icon.svg"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert client.get("/page/__init__.py").status_code == 404


def test_subtitles_need_the_key(start_server: Any) -> None:
    with start_server(api_keys="secret") as server:
        bare = httpx.post(f"{server.url}/page/subtitles/srt", json={"segments": []})
        with_key = httpx.post(
            f"{server.url}/page/subtitles/srt", json={"segments": []}, headers={"Authorization": "Bearer secret"}
        )
    assert (bare.status_code, with_key.status_code) == (401, 200)
