"""Who may call, how often, and what browsers are told about it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from onebit_service.errors import (
    ForbiddenOriginError,
    RateLimitedError,
    SettingError,
    UnauthorizedError,
)
from onebit_service.settings import Settings

if TYPE_CHECKING:
    from limits import RateLimitItem

KEY_SUBPROTOCOL = "key."
NOT_SENDABLE = "a key holds other characters than printable ASCII, and so could not be sent in a header"


class Keys:
    """The keys that open the service; none at all leaves it open."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, so that comparing them tells nothing about the keys.
        self._digests = [_digest(key) for key in keys]

    @staticmethod
    def load(settings: Settings) -> Keys:
        keys = list(settings.api_keys)
        if not all(map(_can_be_sent, keys)):
            raise SettingError("api_keys", NOT_SENDABLE)
        if settings.api_keys_file:
            try:
                lines = Path(settings.api_keys_file).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "the file is not text in UTF-8"
                raise SettingError("api_keys_file", f"{settings.api_keys_file}: {reason}") from error
            keys += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if not keys:
                raise SettingError("api_keys_file", f"{settings.api_keys_file}: the file holds no key")
            if not all(map(_can_be_sent, keys)):
                raise SettingError("api_keys_file", f"{settings.api_keys_file}: {NOT_SENDABLE}")
        return Keys(keys)

    @property
    def are_needed(self) -> bool:
        return bool(self._digests)

    def identify(self, connection: HTTPConnection) -> str:
        """The client behind a request, for limits and fairness: its key, else its address."""
        if not self._digests:
            return connection.client.host if connection.client else "unknown"
        shown = _shown_key(connection)
        if shown is None:
            raise UnauthorizedError("this server needs a key: Authorization: Bearer KEY")
        digest = _digest(shown)
        # Every key is compared, wherever the right one stands.
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            raise UnauthorizedError("the key is not valid")
        return "key:" + digest.hex()[:16]


def _can_be_sent(key: str) -> bool:
    """HTTP headers hold nothing else for sure."""
    return key.isascii() and key.isprintable()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _shown_key(connection: HTTPConnection) -> str | None:
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for protocol in connection.scope.get("subprotocols", ()):
        if protocol.startswith(KEY_SUBPROTOCOL):
            text = protocol.removeprefix(KEY_SUBPROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


class RateLimit:
    """Requests and streams per client, in a moving window."""

    def __init__(self, text: str) -> None:
        self._item: RateLimitItem | None = None
        if not text:
            return
        from limits import parse_many
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        try:
            items = parse_many(text)
        except ValueError as error:
            raise SettingError("rate_limit", f"{text!r} is no rate such as 60/minute") from error
        if len(items) > 1 or items[0].amount < 1:
            raise SettingError("rate_limit", f"{text!r} is not one rate of 1 or more")
        self._item = items[0]
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, client: str) -> None:
        if self._item is None or self._limiter.hit(self._item, client):
            return
        reset_time = self._limiter.get_window_stats(self._item, client).reset_time
        raise RateLimitedError(f"more than {self._item} from this client", max(1.0, reset_time - time.time()))


def check_origin(connection: HTTPConnection, allowed: tuple[str, ...]) -> None:
    origin = connection.headers.get("origin")
    if allowed and "*" not in allowed and origin is not None and origin not in allowed:
        raise ForbiddenOriginError(f"pages from {origin[:200]} may not open streams here")
