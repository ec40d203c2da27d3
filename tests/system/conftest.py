"""A headless browser, driven through its own debugging protocol."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect


class Page:
    """One tab: evaluates JavaScript and waits for conditions."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.problems: list[str] = []
        self.requests: list[str] = []
        for domain in ("Runtime", "Page", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(json.dumps(parameters["entry"])[:500])
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def run(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> Any:
        end = time.monotonic() + seconds
        while not (value := self.run(condition)):
            assert time.monotonic() < end, f"waited in vain for {condition}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def key(self, key: str, code: int, shift: bool = False) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        fields = {"key": key, "text": text, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **fields)

    def look(self, width: int, theme: str) -> None:
        """As on a screen of this many pixels, with a theme of `light` or `dark`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def choose_file(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


@pytest.fixture
def open_page(tmp_path: Path) -> Callable[..., Any]:
    """`with open_page(url, microphone=clip.wav) as page`: chromium whose microphone plays the file."""

    @contextmanager
    def open_it(url: str, microphone: Path) -> Iterator[Page]:
        profile = tmp_path / "profile"
        command = [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio",
            "--no-first-run", "--disable-background-networking", "--remote-debugging-port=0",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-audio-capture={microphone}%noloop", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port = _port(profile / "DevToolsActivePort", browser)
            tabs = httpx.get(f"http://127.0.0.1:{port}/json").json()
            target = next(tab for tab in tabs if tab["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
                page = Page(connection)
                page.call("Page.navigate", url=url)
                yield page
        finally:
            browser.kill()
            browser.wait()

    return open_it


def _port(file: Path, browser: subprocess.Popen[bytes]) -> int:
    for _ in range(600):
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        assert browser.poll() is None, "chromium ended"
        time.sleep(0.1)
    raise AssertionError("chromium did not open its debugging port")
