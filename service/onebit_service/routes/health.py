"""Whether the server lives, whether it takes work, and its figures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from onebit_service.errors import DrainingError
from onebit_service.routes.api_documents import LIVE_ANSWERS, METRICS_ANSWERS, READY_ANSWERS
from onebit_service.service import Service

router = APIRouter()


@router.get("/health/live", responses=LIVE_ANSWERS)
async def live(request: Request) -> Response:
    """200 while the process can do its work at all; anything else means: restart it."""
    service: Service = request.app.state.service
    if service.failure is not None or (service.loaded and not service.scheduler.engines_alive):
        return JSONResponse({"status": "dead"}, 503)
    return JSONResponse({"status": "live"})


@router.get("/health/ready", responses=READY_ANSWERS)
async def ready(request: Request) -> Response:
    """200 while new work is taken."""
    scheduler = request.app.state.service.scheduler
    if scheduler.draining:
        raise DrainingError("the server is shutting down", 5.0)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", responses=METRICS_ANSWERS, response_class=Response)
async def metrics(request: Request) -> Response:
    return Response(request.app.state.service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
