"""Structured logs on standard error: JSON lines, or coloured text for people."""

from __future__ import annotations

import logging
import sys

import structlog

from onebit_service.settings import Settings

# Without a handler of their own these write bare lines to standard error.
FOREIGN = ("python_multipart", "asyncio")


def configure_logs(settings: Settings) -> None:
    """Our own events and those of libraries, in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    is_json = settings.log_format == "json"
    last: list[structlog.typing.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if is_json
        else [structlog.dev.ConsoleRenderer()]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    # Of other libraries only what goes wrong: their debugging would fill the log with every piece of a body.
    levels = {"onebit": level, "uvicorn": level} | dict.fromkeys(FOREIGN, max(level, logging.WARNING))
    for name, least in levels.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
    logging.getLogger("uvicorn.access").disabled = True
