"""Around every request: an id, a line in the log, the duration metric, security headers, the last net for errors."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onebit_service.metrics import NO_BITS
from onebit_service.routes.error_answers import CLIENT_CLOSED_REQUEST, error_response
from onebit_service.routes.peer import ClientGoneError
from onebit_service.service import Service

log = structlog.get_logger("onebit.http")

ENDPOINTS = {
    "/transcribe": "transcribe",
    "/v1/audio/transcriptions": "openai",
    "/v1/models": "models",
    "/health/live": "health",
    "/health/ready": "health",
    "/metrics": "metrics",
    "/": "page",
    "/docs": "page",
}
QUIET_ENDPOINTS = ("health", "metrics")
CONTENT_POLICY = "; ".join(
    [
        "default-src 'self'",
        "connect-src 'self' ws: wss:",
        "img-src 'self' data:",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ]
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


def request_id_of(headers: Headers) -> str:
    shown = headers.get("x-request-id", "")
    return shown if re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", shown) else uuid.uuid4().hex


class RequestContext:
    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id_of(Headers(scope=scope))
        state["bits"] = NO_BITS
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])
        with self._service.tracing.request(scope, state):
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._http(scope, receive, send, state)

    async def _http(self, scope: Scope, receive: Receive, send: Send, state: dict[str, Any]) -> None:
        begin = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = state["request_id"]
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except (ClientDisconnect, ClientGoneError):
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            log.exception("request_failed", path=scope["path"])
            if status == 0:
                await error_response(Request(scope, receive), error)(scope, receive, send_with_headers)
            status = 500
        finally:
            self._record(scope, state, status, time.perf_counter() - begin)

    def _record(self, scope: Scope, state: dict[str, Any], status: int, seconds: float) -> None:
        state["status"] = status
        endpoint = ENDPOINTS.get(scope["path"], "other")
        bits = str(state["bits"])
        self._service.metrics.request_duration.labels(endpoint, bits, str(status)).observe(seconds)
        if endpoint not in QUIET_ENDPOINTS:
            log.info("request", endpoint=endpoint, bits=bits, status=status, seconds=round(seconds, 4))
