"""The demo page: a handful of files of this package, and the figures that it shows."""

from __future__ import annotations

import resource
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from onebit_service.service import Service

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
FILES = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "stream.js": "text/javascript; charset=utf-8",
    "recorder.js": "text/javascript; charset=utf-8",
}
FRESH = {"Cache-Control": "no-cache"}


@router.get("/")
async def page() -> Response:
    return FileResponse(FOLDER / "index.html", media_type="text/html; charset=utf-8", headers=FRESH)


@router.get("/page/state")
async def state(request: Request) -> Response:
    service: Service = request.app.state.service
    return JSONResponse(
        {
            "bits": service.packed.bits,
            "default_bits": service.settings.default_bits,
            "needs_key": service.keys.are_needed,
            "model_bytes": {bits: service.packed.bytes_for(bits) for bits in service.packed.bits},
            "resident_bytes": _resident_bytes(),
        },
        headers=FRESH,
    )


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=FRESH)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
