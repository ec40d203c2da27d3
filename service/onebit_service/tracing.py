"""OpenTelemetry spans, one per request or stream, for those who install the extra `telemetry` and name a collector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from onebit_service.errors import SettingError


class Tracing:
    """Does nothing, and imports nothing, without an endpoint or an exporter."""

    def __init__(self, endpoint: str, exporter: Any = None) -> None:
        self._provider: Any = _provider(endpoint, exporter) if endpoint or exporter is not None else None

    @contextmanager
    def request(self, scope: Scope, state: dict[str, Any]) -> Iterator[None]:
        """A span around everything that a request does; the caller's trace goes on in it."""
        if self._provider is None:
            yield
            return
        from opentelemetry.propagate import extract

        tracer = self._provider.get_tracer("onebit")
        name = f"{scope.get('method', 'WS')} {scope['path']}"
        context = extract(dict(Headers(scope=scope).items()))
        with tracer.start_as_current_span(name, context=context) as span:
            try:
                yield
            finally:
                span.set_attribute("onebit.request_id", state["request_id"])
                span.set_attribute("onebit.bits", str(state["bits"]))
                span.set_attribute("onebit.status", state.get("status", 0))

    def stop(self) -> None:
        """Sends what is still waiting."""
        if self._provider is not None:
            self._provider.shutdown()


def _provider(endpoint: str, exporter: Any) -> Any:
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint)
    except ImportError as error:
        raise SettingError("otlp_endpoint", "needs the extra: pip install 'onebit[telemetry]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "onebit"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
