"""What routes are given before they look at a request themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from onebit_service.service import Service


async def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]


async def known_client(connection: HTTPConnection, service: TheService) -> str:
    """Before everything else: who has no key learns nothing else."""
    return service.keys.identify(connection)


async def _counted_client(client: Annotated[str, Depends(known_client)], service: TheService) -> str:
    service.rate_limit.check(client)
    return client


Client = Annotated[str, Depends(_counted_client)]
"""Who asks for work, which counts against the client's rate."""
