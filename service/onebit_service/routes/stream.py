"""GET /stream: who may open a stream, and how it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog
from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from onebit_service.errors import BadMessageError, meaning_of
from onebit_service.metrics import NO_BITS
from onebit_service.routes.error_answers import public_error
from onebit_service.routes.stream_messages import SUBPROTOCOL, error_message
from onebit_service.routes.stream_session import StreamSession
from onebit_service.security import KEY_SUBPROTOCOL, check_origin
from onebit_service.service import Service

log = structlog.get_logger("onebit.stream")
router = APIRouter()

NORMAL = 1000
FAREWELL_SECONDS = 2.0


@router.websocket("/stream")
async def stream(websocket: WebSocket) -> None:
    service: Service = websocket.app.state.service
    begin = time.perf_counter()
    session = StreamSession(service, websocket, websocket.state.request_id)
    offered = [name for name in websocket.scope.get("subprotocols", ()) if not name.startswith(KEY_SUBPROTOCOL)]
    code = 1006
    try:
        # A refused handshake tells a browser nothing, so refusals come after it.
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        code = await _hold(service, websocket, session, offered)
    except WebSocketDisconnect as gone:
        code = gone.code
    finally:
        bits = NO_BITS if session.bits is None else str(session.bits)
        websocket.state.bits, websocket.state.status = bits, code
        service.metrics.request_duration.labels("stream", bits, _status(code)).observe(time.perf_counter() - begin)


async def _hold(service: Service, websocket: WebSocket, session: StreamSession, offered: list[str]) -> int:
    """The whole conversation, and the code that it was closed with."""
    try:
        if offered and SUBPROTOCOL not in offered:
            raise BadMessageError(f"this server speaks {SUBPROTOCOL}, not {offered[0][:50]}")
        check_origin(websocket, service.settings.allowed_origins)
        service.rate_limit.check(service.keys.identify(websocket))
        with service.scheduler.stream_slot():
            await session.run()
    except WebSocketDisconnect:
        raise
    except Exception as error:
        return await _refuse(service, websocket, session, error)
    await websocket.close(NORMAL)
    return NORMAL


async def _refuse(service: Service, websocket: WebSocket, session: StreamSession, error: Exception) -> int:
    shown = public_error(error)
    meaning = meaning_of(shown)
    if meaning.code == "internal":
        log.error("stream_failed", exc_info=error)
    service.metrics.rejected.labels(meaning.code).inc()
    # The client may be gone, or not reading; either way there is nobody to tell.
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await session.send(error_message(shown, websocket.state.request_id))
            await websocket.close(meaning.close, meaning.code)
    return meaning.close


def _status(code: int) -> str:
    """Codes come from the other side too: what is none of ours counts as one."""
    ours = (1000, 1001, 1003, 1005, 1006, 1008, 1009, 1011, 1012, 1013)
    return str(code) if code in ours else "other"
