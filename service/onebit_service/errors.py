"""Errors of the service, and the one table that says what each error of the whole program means on the wire.

OnebitError                 (onebit_model.errors: model files, audio, precisions)
└── ServiceError
    ├── InvalidParameterError   a field that is unknown or holds a bad value
    │   ├── UnknownModelError       a model name that nothing here has (OpenAI routes)
    │   └── SettingError            a setting of the server that cannot be used
    ├── ListenError             an address that the server cannot listen on
    ├── UnauthorizedError       no key, or a wrong one
    ├── ForbiddenOriginError    a browser page that is not on the list
    ├── BusyError               not now; says when to come back
    │   ├── RateLimitedError        this client sends too much
    │   ├── OverloadedError         everybody together sends too much
    │   ├── DrainingError           the server is going down
    │   └── LoadingError            the server is coming up
    ├── SlowUploadError         an upload that does not move
    ├── StreamError             the stream broke the protocol
    │   ├── WrongFrameError         text where binary is due, or the reverse, or an unknown type
    │   ├── BadMessageError         a message that is not allowed or not understood
    │   ├── TooFarAheadError        more audio than may wait
    │   └── IdleError               nothing came for too long
    └── InternalError           our fault
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onebit_model.audio.reading import NoSuchChannelError
from onebit_model.errors import (
    AudioTooLargeError,
    InvalidAudioError,
    MissingAudioError,
    OnebitError,
    SearchOptionError,
    UnsupportedBitsError,
    UnsupportedMediaError,
)


class ServiceError(OnebitError):
    pass


class InvalidParameterError(ServiceError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownModelError(InvalidParameterError):
    pass


class SettingError(InvalidParameterError):
    def __init__(self, name: str, complaint: str) -> None:
        super().__init__(name, f"setting ONEBIT_{name.upper()}: {complaint}")
        self.complaint = complaint


class ListenError(ServiceError):
    pass


class UnauthorizedError(ServiceError):
    pass


class ForbiddenOriginError(ServiceError):
    pass


class BusyError(ServiceError):
    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(BusyError):
    pass


class OverloadedError(BusyError):
    pass


class DrainingError(BusyError):
    pass


class LoadingError(BusyError):
    pass


class SlowUploadError(ServiceError):
    pass


class StreamError(ServiceError):
    pass


class WrongFrameError(StreamError):
    pass


class BadMessageError(StreamError):
    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooFarAheadError(StreamError):
    pass


class IdleError(StreamError):
    pass


class InternalError(ServiceError):
    pass


@dataclass(frozen=True)
class Meaning:
    """How one kind of error looks from outside: its code, its HTTP status and its WebSocket close code."""

    code: str
    status: int
    close: int


# The most special kind that fits an error counts.
MEANINGS: Mapping[type[OnebitError], Meaning] = {
    OnebitError: Meaning("internal", 500, 1011),
    UnsupportedBitsError: Meaning("unsupported_bits", 422, 1008),
    SearchOptionError: Meaning("invalid_parameter", 422, 1008),
    MissingAudioError: Meaning("missing_audio", 422, 1008),
    UnsupportedMediaError: Meaning("unsupported_media", 415, 1008),
    InvalidAudioError: Meaning("invalid_audio", 422, 1008),
    NoSuchChannelError: Meaning("invalid_parameter", 422, 1008),
    AudioTooLargeError: Meaning("too_large", 413, 1009),
    InvalidParameterError: Meaning("invalid_parameter", 422, 1008),
    UnknownModelError: Meaning("model_not_found", 404, 1008),
    UnauthorizedError: Meaning("unauthorized", 401, 1008),
    ForbiddenOriginError: Meaning("forbidden_origin", 403, 1008),
    RateLimitedError: Meaning("rate_limited", 429, 1013),
    OverloadedError: Meaning("overloaded", 503, 1013),
    DrainingError: Meaning("draining", 503, 1012),
    LoadingError: Meaning("loading", 503, 1013),
    SlowUploadError: Meaning("slow_upload", 408, 1008),
    WrongFrameError: Meaning("wrong_frame", 400, 1003),
    BadMessageError: Meaning("invalid_message", 400, 1008),
    TooFarAheadError: Meaning("too_far_ahead", 400, 1009),
    IdleError: Meaning("idle", 408, 1008),
    InternalError: Meaning("internal", 500, 1011),
}


def meaning_of(error: Exception) -> Meaning:
    kinds = (kind for kind in type(error).__mro__ if kind in MEANINGS)
    return MEANINGS[next(kinds, OnebitError)]


def field_of(error: Exception) -> str | None:
    if isinstance(error, UnsupportedBitsError):
        return "bits"
    if isinstance(error, NoSuchChannelError):
        return "channel"
    return getattr(error, "field", None)
