"""Every setting of the service, with what it means. Nothing else reads the environment."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from onebit_model.config import PRECISIONS, LiveFinals
from onebit_service.errors import SettingError

PREFIX = "ONEBIT_"
# Longer times overflow the clocks of ffmpeg's limits and of threads that wait.
YEAR_SECONDS = 365 * 86_400
LIVE_FINALS = get_args(LiveFinals)
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("json", "console")
# `null` is what browsers send for pages without an origin of their own.
ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

# The variable of the client's key, which is no setting of the server.
CLIENT_KEY = PREFIX + "KEY"
# Kubernetes sets these in every pod beside services named onebit or onebit-SOMETHING; among them is ONEBIT_PORT.
KUBERNETES_NAME = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")


def _setting(default: Any, meaning: str, least: int | None = None, most: float = float("inf")) -> Any:
    """Numbers are from `least` to `most`; without a `least` they are more than 0."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "least": least, "most": most})


@dataclass(frozen=True)
class Settings:
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: int = _setting(8000, "Port to listen on; 0 takes any free one.", least=0, most=65_535)
    tls_cert: str = _setting("", "Certificate file (PEM). Browsers give the microphone to localhost or TLS only.")
    tls_key: str = _setting("", "Private key file (PEM) of the certificate.")

    model: str = _setting("", "Packed model file; empty: the one that is shipped.")
    language_model: str = _setting(
        "",
        "N-gram model of the beam search; empty: the shipped one, if it fits the model's vocabulary; none: none.",
    )
    default_bits: int = _setting(4, "Precision where a request names none: 1, 2 or 4.")
    live_finals: str = _setting(
        "segment",
        "What the attention decoder sees of a stream's segment: segment, the whole of it heard once more, as in a "
        "file; chunks, what they have left of it, with less work and more words wrong.",
    )
    isa: str = _setting("", "Instruction set of the kernels; empty: the best of this machine.")
    engine_threads: int = _setting(0, "Threads that compute; 0: one per available CPU.", least=0, most=256)

    max_files: int = _setting(64, "Files being received or computed at once; more are refused with 503.", most=10_000)
    max_streams: int = _setting(128, "Streams open at once; more are refused with close code 1013.", most=1_000_000)
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
    spool_bytes: int = _setting(
        64 << 20,
        "Disk for uploads that are ahead of their decoding, all together; what is more waits at the client.",
        least=0,
    )
    max_audio_seconds: float = _setting(14400.0, "Longest audio of a file.")
    upload_idle_seconds: float = _setting(
        20.0, "An upload that sends nothing for this long is given up, and a connection whose request does not begin."
    )
    min_upload_bytes_per_second: int = _setting(
        200, "Slowest upload, on average, after its first upload_idle_seconds.", least=0
    )
    ffmpeg: str = _setting(
        "ffmpeg", "Program for what libsndfile cannot read (mp4, webm), looked for when needed; empty: none."
    )
    ffmpeg_seconds: float = _setting(600.0, "Longest run of ffmpeg for one file.", most=YEAR_SECONDS)

    max_stream_seconds: float = _setting(14400.0, "Longest audio of one stream; then it is stopped as if by `stop`.")
    idle_seconds: float = _setting(30.0, "A stream without any message for this long is closed.")
    max_silent_seconds: float = _setting(
        600.0, "A stream without audio for this long is closed, whatever keepalives it sends."
    )
    buffer_seconds: float = _setting(
        60.0, "Audio of one stream that may wait for being computed; from 60 on any message is taken."
    )
    drain_seconds: float = _setting(30.0, "Time for running work to finish after SIGTERM.", least=0, most=YEAR_SECONDS)

    api_keys: tuple[str, ...] = _setting((), "Keys that clients must show (comma-separated); empty: no key is needed.")
    api_keys_file: str = _setting("", "File with one key a line, beside api_keys.")
    rate_limit: str = _setting("", 'Requests and streams per client, such as "60/minute"; empty: no limit.')
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins whose pages may call the HTTP routes (comma-separated, * for all)."
    )
    allowed_origins: tuple[str, ...] = _setting((), "Origins whose pages may open streams; empty: all.")

    reference_interval_seconds: float = _setting(
        86400.0,
        "Time between two runs that score the shipped reference sets in the background; 0: none.",
        least=0,
        most=YEAR_SECONDS,
    )
    reference_sets: tuple[str, ...] = _setting(
        (), "What they score: names of shipped sets, or paths of manifests (comma-separated); empty: all shipped sets."
    )
    reference_delay_seconds: float = _setting(
        60.0, "Time from the start to the first of them.", least=0, most=YEAR_SECONDS
    )

    otlp_endpoint: str = _setting(
        "", "OpenTelemetry collector (http://host:4318/v1/traces) for one span per request; needs the extra telemetry."
    )
    log_level: str = _setting("info", "debug, info, warning or error.")
    log_format: str = _setting("json", "json or console.")

    def __post_init__(self) -> None:
        self._require("default_bits", self.default_bits in PRECISIONS, "must be 1, 2 or 4")
        self._require("tls_cert", not self.tls_cert or bool(self.tls_key), "needs tls_key beside it")
        self._require("tls_key", not self.tls_key or bool(self.tls_cert), "needs tls_cert beside it")
        self._require("live_finals", self.live_finals in LIVE_FINALS, f"is not one of {', '.join(LIVE_FINALS)}")
        self._require("log_level", self.log_level in LOG_LEVELS, f"is not one of {', '.join(LOG_LEVELS)}")
        self._require("log_format", self.log_format in LOG_FORMATS, f"is not one of {', '.join(LOG_FORMATS)}")
        for name in ("cors_origins", "allowed_origins"):
            for origin in getattr(self, name):
                if not ORIGIN.fullmatch(origin):
                    raise SettingError(name, f"{origin!r} is neither * nor an origin such as https://page.example:8443")
        for field in dataclasses.fields(self):
            if isinstance(field.default, int | float):
                self._require_range(field.name, field.metadata["least"], field.metadata["most"])

    def _require(self, name: str, holds: bool, message: str) -> None:
        if not holds:
            raise SettingError(name, f"{getattr(self, name)!r} {message}")

    def _require_range(self, name: str, least: int | None, most: float) -> None:
        value = getattr(self, name)
        low = "more than 0" if least is None else f"at least {least}"
        high = "finite" if most == float("inf") else f"at most {most}"
        reaches = value > 0 if least is None else value >= least
        self._require(name, reaches and value <= most and value < float("inf"), f"must be {low}, and {high}")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], options: Mapping[str, str | None] | None = None
    ) -> Settings:
        """From variables such as ONEBIT_MAX_STREAMS; options go before them. What is empty counts as not set."""
        kinds = get_type_hints(cls)
        values = {}
        for field in dataclasses.fields(cls):
            text = (options or {}).get(field.name) or _from_variable(environment, field.name)
            if text:
                values[field.name] = _parsed(field.name, text, kinds[field.name])
        return cls(**values)


def _from_variable(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(PREFIX + name.upper(), "")
    return "" if name == "port" and KUBERNETES_ADDRESS.fullmatch(text) else text


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: misspelt ones, most likely."""
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)} | {CLIENT_KEY}
    return sorted(
        name
        for name, text in environment.items()
        if name.startswith(PREFIX)
        and name not in known
        and not KUBERNETES_NAME.fullmatch(name)
        and not (name.endswith("_PORT") and KUBERNETES_ADDRESS.fullmatch(text))
    )


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
            wanted = "a whole number" if kind is int else "a number"
            raise SettingError(name, f"{text!r} is not {wanted}") from error
    if kind is str:
        return text
    return tuple(part.strip() for part in text.split(",") if part.strip())
