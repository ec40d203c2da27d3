"""The address and the certificate to listen with: what is wrong with them is said before anything runs."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from onebit_service.errors import ListenError, SettingError
from onebit_service.settings import Settings

BACKLOG = 2048
# The end of a connection is seen behind everything that was sent before it: an upload that is held back must not have
# minutes of audio in the kernel when its client leaves.
RECEIVE_BUFFER_BYTES = 1 << 18
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def bound_listener(host: str, port: int) -> socket.socket:
    """Listens already: that two servers want one port shows only then."""
    try:
        return _listener(host, port)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        raise ListenError(f"cannot listen on {bracketed(host)}:{port}: {reason or error}") from error


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def curl_line(settings: Settings, port: int) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = bracketed(ANY_ADDRESS.get(settings.host, settings.host))
    return f"curl -F file=@speech.wav '{scheme}://{host}:{port}/transcribe?bits=1'"


def tls_fault(settings: Settings, error: OSError) -> SettingError:
    """OpenSSL says neither which of the two files is at fault nor, mostly, why."""
    for name in ("tls_cert", "tls_key"):
        path = Path(getattr(settings, name))
        try:
            path.read_bytes()
        except OSError as unreadable:
            return SettingError(name, f"{path}: {unreadable.strerror}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(settings.tls_cert)
    except OSError:
        return SettingError("tls_cert", f"{settings.tls_cert}: the file holds no certificate (PEM)")
    reason = getattr(error, "reason", None) or "the file holds no private key (PEM) that can be read"
    return SettingError("tls_key", f"{settings.tls_key}: does not go with {settings.tls_cert}: {reason}")
