"""The demo page in a real browser whose microphone plays a reference clip."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from onebit_model.data.reference import read_set
from onebit_model.files.assets import SHIPPED_MODEL
from onebit_model.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "onebit_service", "serve", "--port", str(port)]
    model = str(SHIPPED_MODEL)
    with subprocess.Popen([*command, "--model", model], stderr=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                if httpx.get(f"{address}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"{address}/"
        server.terminate()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    utterance = next(u for u in read_set("librispeech-other") if 3 < u.duration_seconds < 6)
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    silence = np.zeros(8_000, np.float32)
    soundfile.write(path, np.concatenate([silence, utterance.audio.read(), silence]), 16_000)
    return path


FINALS = "[...document.querySelectorAll('#finals li span:last-child')].map(e => e.textContent).join(' ')"


HOTWORDS = ["harbour", "lighthouse"]
# What goes over the socket: texts, and the lengths of packets.
LISTEN_IN = """
window.sent = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  window.sent.push(typeof data === "string" ? data : data.byteLength);
  send.call(this, data);
};
"""


def test_page(url: str, speech: Path, open_page: Any) -> None:
    with open_page(url, speech) as page:
        page.wait("document.querySelectorAll('input[name=bits]').length === 3")
        assert page.run("document.querySelector('input[name=bits]:checked').value") == "4"
        use_microphone(page)
        use_file(page, speech)
        assert page.problems == []
        assert {request.split("/")[2] for request in page.requests if "://" in request} == {url.split("/")[2]}


def use_microphone(page: Any) -> None:
    """By keyboard alone: to the precisions, one to the left, on to the button, press it."""
    page.key("Tab", 9)
    assert page.run("document.activeElement.name") == "bits"
    page.key("ArrowLeft", 37)
    assert page.run("document.querySelector('input[name=bits]:checked').value") == "2"
    page.key("Tab", 9)
    assert page.run("document.activeElement.id") == "hotwords"
    page.run(f"document.getElementById('hotwords').value = ' {', '.join(HOTWORDS)} ,'")
    page.key("Tab", 9)
    assert page.run("document.activeElement.id") == "microphone"
    page.run(LISTEN_IN)
    page.key("Enter", 13)
    page.wait("document.getElementById('status').textContent === 'Listening.'")
    assert json.loads(page.run("sent[0]"))["hotwords"] == HOTWORDS
    assert page.run("document.getElementById('microphone').getAttribute('aria-pressed')") == "true"
    page.wait("document.getElementById('partial').textContent || document.querySelector('#finals li')")
    page.wait("document.getElementById('lag').textContent.endsWith(' s')")
    time.sleep(3)
    page.key("Enter", 13)
    page.wait("document.getElementById('status').textContent.startsWith('Done')")
    # Whole packets of 100 ms; the last one holds what was left when the key was pressed.
    *packets, last, stop = page.run("sent.slice(1)")
    assert json.loads(stop) == {"type": "stop"}
    assert len(set(packets)) == 1
    assert 0 < last <= packets[0]
    assert page.run(FINALS)
    assert page.run("document.querySelector('#finals .time').textContent").count(":") == 2
    assert page.run("document.getElementById('microphone').textContent") == "Start microphone"
    page.wait("document.getElementById('computed').textContent.includes(' ms for ')")
    page.wait("document.getElementById('resident-bytes').textContent.endsWith(' MB')")


def use_file(page: Any, speech: Path) -> None:
    page.key("Tab", 9)
    assert page.run("document.activeElement.id") == "file"
    page.choose_file("#file", speech)
    page.wait("document.getElementById('status').textContent === 'Done.'")
    samples, _ = soundfile.read(speech, dtype="float32")
    recognizer = Recognizer.load()
    search = recognizer.search(None, HOTWORDS)
    # A pause is a segment too, but nothing that a page would show.
    expected = " ".join(segment.text for segment in recognizer.transcribe(samples, 2, 0, search) if segment.words)
    assert expected
    assert page.run(FINALS) == expected


def test_every_control_has_a_name(url: str, speech: Path, open_page: Any) -> None:
    with open_page(url, speech) as page:
        page.wait("document.querySelectorAll('input[name=bits]').length === 3")
        tree = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "radio", "textbox", "group", "region", "list", "status")
        named = [node for node in tree if node.get("role", {}).get("value") in roles and not node.get("ignored")]
        controls = [
            node for node in named if node["role"]["value"] in ("button", "radio", "textbox", "group", "region")
        ]
        assert len(controls) >= 6
        assert [node for node in controls if not node.get("name", {}).get("value")] == []
        assert page.run("document.documentElement.lang") == "en"
