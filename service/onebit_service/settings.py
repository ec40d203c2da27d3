"""Every setting of the service, with what it means. Nothing else reads the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from onebit_model.config import PRECISIONS
from onebit_service.errors import InvalidParameterError

PREFIX = "ONEBIT_"


def _setting(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True)
class Settings:
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: int = _setting(8000, "Port to listen on; 0 takes any free one.")
    tls_cert: str = _setting("", "Certificate file (PEM). Browsers give the microphone to localhost or TLS only.")
    tls_key: str = _setting("", "Private key file (PEM) of the certificate.")

    model: str = _setting("", "Packed model file; empty: the one that is shipped.")
    language_model: str = _setting(
        "",
        "N-gram model of the beam search; empty: the shipped one, if it fits the model's vocabulary; none: none.",
    )
    default_bits: int = _setting(4, "Precision where a request names none: 1, 2 or 4.")
    isa: str = _setting("", "Instruction set of the kernels; empty: the best of this machine.")
    engine_threads: int = _setting(0, "Threads that compute; 0: one per available CPU.")

    max_files: int = _setting(64, "Files being received or computed at once; more are refused with 503.")
    max_streams: int = _setting(128, "Streams open at once; more are refused with close code 1013.")
    max_stream_wait_seconds: float = _setting(
        0.25, "New streams are refused while those that are open wait longer than this for an engine (median of 3 s)."
    )
    queue_seconds: float = _setting(
        30.0, "New files are refused with 503 while ready work has been waiting for longer than this."
    )
    max_file_wait_seconds: float = _setting(
        60.0, "A file that was let in is given up with 503 when no engine had time for it for this long."
    )
    max_upload_bytes: int = _setting(4 << 30, "Largest body of a request.")
    max_audio_seconds: float = _setting(14400.0, "Longest audio of a file.")
    upload_idle_seconds: float = _setting(
        20.0, "An upload that sends nothing for this long is given up, and a connection whose request does not begin."
    )
    min_upload_bytes_per_second: int = _setting(200, "Slowest upload, on average, after its first upload_idle_seconds.")
    ffmpeg: str = _setting("ffmpeg", "Program for containers that libsndfile does not know (mp4, webm); empty: none.")
    ffmpeg_seconds: float = _setting(600.0, "Longest run of ffmpeg for one file.")

    max_stream_seconds: float = _setting(14400.0, "Longest audio of one stream; then it is stopped as if by `stop`.")
    idle_seconds: float = _setting(30.0, "A stream without any message for this long is closed.")
    max_silent_seconds: float = _setting(
        600.0, "A stream without audio for this long is closed, whatever keepalives it sends."
    )
    buffer_seconds: float = _setting(60.0, "Audio of one stream that may wait for being computed.")
    drain_seconds: float = _setting(30.0, "Time for running work to finish after SIGTERM.")

    api_keys: tuple[str, ...] = _setting((), "Keys that clients must show (comma-separated); empty: no key is needed.")
    api_keys_file: str = _setting("", "File with one key a line, beside api_keys.")
    rate_limit: str = _setting("", 'Requests and streams per client, such as "60/minute"; empty: no limit.')
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins whose pages may call the HTTP routes (comma-separated, * for all)."
    )
    allowed_origins: tuple[str, ...] = _setting((), "Origins whose pages may open streams; empty: all.")

    reference_interval_seconds: float = _setting(
        86400.0, "Time between two runs that score the shipped reference sets in the background; 0: none."
    )
    reference_sets: tuple[str, ...] = _setting(
        (), "What they score: names of shipped sets, or paths of manifests (comma-separated); empty: all shipped sets."
    )
    reference_delay_seconds: float = _setting(60.0, "Time from the start to the first of them.")

    otlp_endpoint: str = _setting(
        "", "OpenTelemetry collector (http://host:4318/v1/traces) for one span per request; needs the extra telemetry."
    )
    log_level: str = _setting("info", "debug, info, warning or error.")
    log_format: str = _setting("json", "json or console.")

    def __post_init__(self) -> None:
        self._require("default_bits", self.default_bits in PRECISIONS, "must be 1, 2 or 4")
        self._require("port", 0 <= self.port < 65536, "must be from 0 to 65535")
        self._require("engine_threads", self.engine_threads >= 0, "must not be negative")
        self._require("tls_key", bool(self.tls_cert) == bool(self.tls_key), "goes together with tls_cert")
        self._require("log_level", self.log_level in ("debug", "info", "warning", "error"), "is no level")
        for name in ("reference_interval_seconds", "reference_delay_seconds"):
            self._require(name, 0 <= getattr(self, name) < float("inf"), "must not be negative")
        self._require("log_format", self.log_format in ("json", "console"), "must be json or console")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.startswith(("max_", "buffer_", "idle_", "upload_", "queue_", "ffmpeg_seconds")):
                self._require(field.name, 0 < value < float("inf"), "must be more than 0, and finite")

    def _require(self, name: str, holds: bool, message: str) -> None:
        if not holds:
            raise InvalidParameterError(name, f"setting {PREFIX}{name.upper()}: {getattr(self, name)!r} {message}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """From variables such as ONEBIT_MAX_STREAMS; an empty variable counts as not set."""
        kinds = get_type_hints(cls)
        values = {}
        for field in dataclasses.fields(cls):
            text = environment.get(PREFIX + field.name.upper(), "")
            # Kubernetes sets ONEBIT_PORT=tcp://... in every pod beside a service named onebit.
            if text and not text.startswith("tcp://"):
                values[field.name] = _parsed(field.name, text, kinds[field.name])
        return cls(**values)


def settings_table() -> str:
    """All settings as the Markdown of docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = ",".join(field.default) if isinstance(field.default, tuple) else str(field.default)
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{PREFIX}{field.name.upper()}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join(rows) + "\n"


def _parsed(name: str, text: str, kind: Any) -> Any:
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise InvalidParameterError(name, f"setting {PREFIX}{name.upper()}: {text!r} is not a number") from error
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())
