"""Whether the server lives, whether it takes work, and its figures."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from onebit_service.errors import DrainingError, OverloadedError
from onebit_service.routes.api_documents import LIVE_ANSWERS, METRICS_ANSWERS, READY_ANSWERS
from onebit_service.routes.dependencies import TheService

router = APIRouter()


@router.get("/health/live", responses=LIVE_ANSWERS)
async def live(service: TheService) -> Response:
    """200 while the process can do its work at all; anything else means: restart it."""
    if service.failure is not None or (service.loaded and not service.scheduler.engines_alive):
        return JSONResponse({"status": "dead"}, 503)
    return JSONResponse({"status": "live"})


@router.get("/health/ready", responses=READY_ANSWERS)
async def ready(service: TheService) -> Response:
    """200 while new work is taken; not where none was for a minute although some was offered."""
    scheduler = service.scheduler
    if scheduler.draining:
        raise DrainingError("the server is shutting down", 5.0)
    if scheduler.is_stuck:
        raise OverloadedError("nothing that was offered has been let in for a minute", 5.0)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", responses=METRICS_ANSWERS, response_class=Response)
async def metrics(service: TheService) -> Response:
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
