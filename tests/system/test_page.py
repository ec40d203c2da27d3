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


FIGURES = ["lag", "computed", "factor"]


def text_of(page: Any, element: str) -> Any:
    return page.run(f"document.getElementById('{element}').textContent")


def ready(page: Any) -> None:
    page.wait("document.querySelectorAll('input[name=bits]').length === 3")


def test_page(url: str, speech: Path, open_page: Any) -> None:
    with open_page(url, speech) as page:
        ready(page)
        assert page.run("document.querySelector('input[name=bits]:checked').value") == "4"
        choose_by_keyboard(page)
        use_microphone(page)
        use_file(page, speech)
        page.run("document.getElementById('microphone').click()")
        page.wait("document.getElementById('status').textContent === 'Listening.'")
        assert [text_of(page, figure) for figure in FIGURES] == ["–"] * 3
        assert page.problems == []
        assert {request.split("/")[2] for request in page.requests if "://" in request} == {url.split("/")[2]}


def choose_by_keyboard(page: Any) -> None:
    """Two bits, two hotwords, and back to the microphone."""
    for there in ("microphone", "file"):
        page.key("Tab", 9)
        assert page.run("document.activeElement.id") == there
    page.key("Tab", 9)
    assert page.run("document.activeElement.name") == "bits"
    page.key("ArrowLeft", 37)
    assert page.run("document.querySelector('input[name=bits]:checked').value") == "2"
    page.key("Tab", 9)
    assert page.run("document.activeElement.id") == "hotwords"
    page.run(f"document.getElementById('hotwords').value = ' {', '.join(HOTWORDS)} ,'")
    page.key("Enter", 13)
    for there in ("", "file", "microphone"):
        page.key("Tab", 9, shift=True)
        assert page.run("document.activeElement.id") == there


def use_microphone(page: Any) -> None:
    page.run(LISTEN_IN)
    page.key("Enter", 13)
    page.wait("document.getElementById('status').textContent === 'Listening.'")
    assert json.loads(page.run("sent[0]"))["hotwords"] == HOTWORDS
    assert page.run("document.getElementById('microphone').getAttribute('aria-pressed')") == "true"
    page.wait("document.getElementById('partial').textContent")
    assert page.run("getComputedStyle(document.getElementById('partial')).fontStyle") == "italic"
    page.wait("document.getElementById('lag').textContent.endsWith(' s')")
    page.wait("document.getElementById('level').style.getPropertyValue('--loudness') > '0%'")
    time.sleep(3)
    page.key("Enter", 13)
    page.wait("document.getElementById('status').textContent.startsWith('Done')")
    # Whole packets of 100 ms; the last one holds what was left when the key was pressed.
    *packets, last, stop = page.run("sent.slice(1)")
    assert json.loads(stop) == {"type": "stop"}
    assert len(set(packets)) == 1
    assert 0 < last <= packets[0]
    assert page.run(FINALS)
    assert page.run("getComputedStyle(document.querySelector('#finals li')).fontStyle") == "normal"
    assert page.run("document.querySelector('#finals .time').textContent").count(":") == 2
    assert text_of(page, "partial") == ""
    assert text_of(page, "microphone").strip() == "Start microphone"
    page.wait("document.getElementById('computed').textContent.includes(' ms for ')")
    page.wait("document.getElementById('resident-bytes').textContent.endsWith(' MB')")


def use_file(page: Any, speech: Path) -> None:
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


def test_the_text_can_be_taken_along(url: str, speech: Path, open_page: Any, tmp_path: Path) -> None:
    with open_page(url, speech) as page:
        ready(page)
        page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        buttons = "[...document.querySelectorAll('.tools button')]"
        assert page.run(f"{buttons}.every(button => button.disabled)")
        page.choose_file("#file", speech)
        page.wait("document.getElementById('status').textContent === 'Done.'")
        finals = page.run(FINALS)
        page.run("document.getElementById('copy').click()")
        page.wait("document.getElementById('status').textContent === 'Copied.'")
        assert " ".join(page.run("navigator.clipboard.readText()").split()) == finals
        page.run(f"{buttons}.slice(1).forEach(button => button.click())")
        files = [tmp_path / f"{speech.stem}.{kind}" for kind in ("txt", "srt", "vtt")]
        end = time.monotonic() + 20
        while not all(file.exists() and file.stat().st_size for file in files):
            assert time.monotonic() < end
            time.sleep(0.05)
        txt, srt, vtt = (file.read_text() for file in files)
        assert page.problems == []
    assert " ".join(txt.split()) == finals
    for kind, text in (("srt", srt), ("vtt", vtt)):
        assert text == httpx.post(f"{url}transcribe?format={kind}", content=speech.read_bytes(), timeout=60).text


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled(url: str, speech: Path, open_page: Any) -> None:
    with open_page(url, speech) as page:
        ready(page)
        slow = speech.stat().st_size / 8
        page.call(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=slow
        )
        page.choose_file("#file", speech)
        page.wait("document.getElementById('progress').value > 0.2")
        label = text_of(page, "upload-label")
        assert label.startswith(f"Sending {speech.name}: ")
        page.wait("document.getElementById('progress').value > 0.4")
        assert text_of(page, "upload-label") != label
        page.run("document.getElementById('cancel').click()")
        page.wait("document.getElementById('status').textContent === 'Cancelled.'")
        assert page.run("document.getElementById('upload').hidden")
        end = time.monotonic() + 5
        while "asr_queue_depth 0.0" not in httpx.get(f"{url}metrics").text:
            assert time.monotonic() < end
            time.sleep(0.1)


# The lowest contrast (WCAG 2.2, 1.4.3) of the texts that are shown, and which text has it.
LOWEST_CONTRAST = """
(() => {
  const numbers = (color) => color.match(/[0-9.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const pseudo = (element) => (element.placeholder ? "::placeholder" : null);
  const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility() &&
    !element.closest(":disabled, .visually-hidden") && (element.placeholder || [...element.childNodes]
      .some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())));
  return texts.map((element) => {
    const pair = [luminance(numbers(getComputedStyle(element, pseudo(element)).color)), luminance(background(element))];
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), element.outerHTML.slice(0, 80)];
  }).sort((one, other) => one[0] - other[0])[0];
})()
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everything_fits_and_can_be_read(url: str, speech: Path, open_page: Any, width: int, theme: str) -> None:
    with open_page(url, speech) as page:
        page.look(width, theme)
        ready(page)
        page.choose_file("#file", speech)
        page.wait("document.getElementById('status').textContent === 'Done.'")
        page.run("import('/page/transcript.js').then(({ showPartial }) => showPartial('what is being heard'))")
        time.sleep(1)  # for what fades in
        assert page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        contrast, text = page.run(LOWEST_CONTRAST)
        assert contrast >= 4.5, text
        sizes = "[...document.querySelectorAll('button, .button, .choices label')].filter(e => e.checkVisibility())"
        assert page.run(f"Math.min(...{sizes}.map(e => e.getBoundingClientRect().height))") >= 24
