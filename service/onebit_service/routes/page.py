"""The demo page: a handful of files of this package, and the figures that it shows."""

from __future__ import annotations

import resource
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response

from onebit_service.routes.dependencies import TheService

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {path.name: MEDIA_TYPES[path.suffix] for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES}
HEADERS = {
    "Cache-Control": "no-cache",
    # The page's own files and nothing else, and no other page around it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@router.get("/")
async def page() -> Response:
    return _file("index.html")


@router.get("/page/state")
async def state(service: TheService) -> Response:
    return JSONResponse(
        {
            "bits": service.packed.bits,
            "default_bits": service.settings.default_bits,
            "needs_key": service.keys.are_needed,
            "model_bytes": {bits: service.packed.bytes_for(bits) for bits in service.packed.bits},
            "resident_bytes": _resident_bytes(),
        },
        headers=HEADERS,
    )


@router.get("/page/{name}")
async def page_file(name: str) -> Response:
    if name not in FILES:
        raise HTTPException(404)
    return _file(name)


def _file(name: str) -> Response:
    return FileResponse(FOLDER / name, media_type=FILES[name], headers=HEADERS)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
