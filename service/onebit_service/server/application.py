"""The ASGI application."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from onebit_model.recognition.recognizer import Recognizer
from onebit_service.logs import configure_logs
from onebit_service.routes import documentation as documentation_routes
from onebit_service.routes import health as health_routes
from onebit_service.routes import openai as openai_routes
from onebit_service.routes import page as page_routes
from onebit_service.routes import stream as stream_route
from onebit_service.routes import transcribe as transcribe_route
from onebit_service.routes.addresses import Addresses
from onebit_service.routes.error_answers import install_error_answers
from onebit_service.routes.request_context import RequestContext
from onebit_service.scheduling.engine_thread import EngineFactory
from onebit_service.scheduling.work import Clock
from onebit_service.service import Service
from onebit_service.settings import Settings


def create_app(
    settings: Settings | None = None,
    make_engine: EngineFactory = Recognizer.engine,
    clock: Clock = time.monotonic,
) -> FastAPI:
    """Raises ModelFileError and InvalidParameterError before anything listens."""
    settings = settings or Settings()
    configure_logs(settings)
    service = Service(settings, make_engine, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="onebit",
        version=version("onebit"),
        summary="Speech recognition at 1, 2 and 4 bits per weight.",
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's pages about the interface load scripts from elsewhere; there is one of our own.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.include_router(health_routes.router)
    app.include_router(transcribe_route.router)
    app.include_router(stream_route.router)
    app.include_router(openai_routes.router)
    app.include_router(page_routes.router)
    app.include_router(documentation_routes.router)
    install_error_answers(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            # OpenAI's clients send headers of their own (x-stainless-...), and others may.
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(RequestContext, service=service)
    app.add_middleware(Addresses)
    return app
