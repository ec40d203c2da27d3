"""Errors as clients see them: the one place where exceptions become HTTP answers and WebSocket messages."""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from onebit_model.errors import OnebitError
from onebit_service.errors import BusyError, InternalError, Meaning, field_of, meaning_of
from onebit_service.routes.peer import ClientGoneError

log = structlog.get_logger("onebit.errors")

OPENAI_PREFIX = "/v1/"
# OpenAI's clients know one status for everything that is wrong with a request.
OPENAI_STATUS = {408: 400, 415: 400, 422: 400}
CLIENT_CLOSED_REQUEST = 499


def error_fields(error: Exception) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": meaning_of(error).code, "message": str(error)}
    if (field := field_of(error)) is not None:
        fields["field"] = field
    return fields


def public_error(error: Exception) -> OnebitError:
    """What may be said to a client; the rest stays in the log."""
    if isinstance(error, OnebitError) and meaning_of(error).code != "internal":
        return error
    return (
        error
        if isinstance(error, InternalError)
        else InternalError("something failed in the server; its log says what")
    )


def error_response(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("state", {}).get("request_id", "")
    shown = public_error(error)
    meaning = meaning_of(shown)
    # The rest of an upload is not wanted any more: the connection cannot be used again.
    headers = {"Connection": "close"} if request.method == "POST" else {}
    if isinstance(shown, BusyError):
        headers["Retry-After"] = str(math.ceil(shown.retry_after_seconds))
    if meaning.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    _count(request, meaning)
    if request.url.path.startswith(OPENAI_PREFIX):
        status = OPENAI_STATUS.get(meaning.status, meaning.status)
        return JSONResponse({"error": openai_fields(shown, meaning)}, status, headers)
    return JSONResponse({"error": error_fields(shown), "request_id": request_id}, meaning.status, headers)


def openai_fields(error: Exception, meaning: Meaning) -> dict[str, Any]:
    kinds = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
    kind = kinds.get(meaning.status, "invalid_request_error")
    return {"message": str(error), "type": kind, "param": field_of(error), "code": meaning.code}


def _count(request: Request, meaning: Meaning) -> None:
    request.app.state.service.metrics.rejected.labels(meaning.code).inc()


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGoneError):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    if meaning_of(error).code == "internal":
        log.error("request_failed", path=request.url.path, exc_info=error)
    return error_response(request, error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    request_id = request.scope.get("state", {}).get("request_id", "")
    code = codes.get(error.status_code, "invalid_request")
    headers = dict(error.headers or {})
    if request.url.path.startswith(OPENAI_PREFIX):
        fields = {"message": str(error.detail), "type": "invalid_request_error", "param": None, "code": code}
        return JSONResponse({"error": fields}, error.status_code, headers)
    content = {"error": {"code": code, "message": str(error.detail)}, "request_id": request_id}
    return JSONResponse(content, error.status_code, headers)


def install_error_answers(app: FastAPI) -> None:
    for kind in (OnebitError, ClientGoneError):
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
