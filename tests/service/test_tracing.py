from __future__ import annotations

import subprocess
import sys
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from onebit_service.server.application import create_app
from onebit_service.settings import Settings
from onebit_service.tracing import Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_one_span_per_request(model_file: Any) -> None:
    app = create_app(Settings(model=str(model_file)))
    exporter = InMemorySpanExporter()
    app.state.service.tracing = Tracing("", exporter)
    transport = httpx.ASGITransport(app)
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "x-request-id": "mine"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        await http.get("/health/live", headers=headers)
    app.state.service.tracing.stop()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /health/live"
    assert f"{span.context.trace_id:x}" == TRACE
    assert span.attributes["onebit.request_id"] == "mine"
    assert span.attributes["onebit.status"] == 200


def test_nothing_is_imported_without_it() -> None:
    program = (
        "import sys; from onebit_service.tracing import Tracing; Tracing('');"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Exception, match="telemetry"):
        Tracing("http://127.0.0.1:4318/v1/traces")
