"""The server speaks TLS itself, as browsers want it before they give the microphone."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
from websockets.sync.client import connect

from onebit_model.files.assets import SHIPPED_MODEL


def test_tls(tmp_path: Path) -> None:
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    model = str(SHIPPED_MODEL)
    command = [sys.executable, "-m", "onebit_service", "serve", "--port", str(port), "--model", model, *files]
    trust = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        with httpx.Client(verify=trust) as http:
            for _ in range(600):
                try:
                    if http.get(f"https://localhost:{port}/health/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
            assert "onebit" in http.get(f"https://localhost:{port}/").text
        with connect(f"wss://localhost:{port}/stream", ssl=trust, subprotocols=["onebit.v1"]) as stream:  # type: ignore[list-item]
            stream.send(json.dumps({"type": "start"}))
            assert json.loads(stream.recv())["type"] == "ready"
        server.terminate()
        assert server.stdout is not None
        assert f"https://127.0.0.1:{port}" in server.stdout.read()
        assert server.wait(30) == 0
