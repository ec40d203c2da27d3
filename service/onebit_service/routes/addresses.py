"""Addresses as people and programs write them: a slash too many at the end, and HEAD where there is GET."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Addresses:
    """Outermost, so that everything behind it sees one spelling. A redirect would cost a POST its body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            changed = {"path": scope["path"].rstrip("/") or "/", "raw_path": scope["raw_path"].rstrip(b"/") or b"/"}
            if scope.get("method") == "HEAD":
                # The server leaves the body out: it still knows what was asked.
                changed["method"] = "GET"
            scope = {**scope, **changed}
        await self._app(scope, receive, send)
