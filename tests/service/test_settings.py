from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onebit_service.errors import InvalidParameterError
from onebit_service.settings import PREFIX, Settings, settings_table, unknown_variables

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_is_documented() -> None:
    assert settings_table() in DOCUMENT.read_text()
    assert all(field.metadata["meaning"] for field in dataclasses.fields(Settings))


def test_environment() -> None:
    environment = {"ONEBIT_MAX_STREAMS": "7", "ONEBIT_API_KEYS": " a, b,,", "ONEBIT_ISA": "generic", "OTHER": "x"}
    settings = Settings.from_environment(environment)
    assert (settings.max_streams, settings.api_keys, settings.isa) == (7, ("a", "b"), "generic")
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"ONEBIT_PORT": "tcp://10.0.0.1:8000"}).port == 8000
    assert Settings.from_environment({"ONEBIT_PORT": ""}).port == 8000
    assert Settings.from_environment({"ONEBIT_MODEL": "tcp://10.0.0.1:8000"}).model == "tcp://10.0.0.1:8000"


def test_options_go_before_the_environment() -> None:
    """Unless they are empty; a variable that an option replaces is not looked at."""
    environment = {"ONEBIT_HOST": "10.0.0.1", "ONEBIT_PORT": "http"}
    settings = Settings.from_environment(environment, {"host": "", "port": "9000", "model": None})
    assert (settings.host, settings.port, settings.model) == ("10.0.0.1", 9000, "")


def test_unknown_variables_are_found() -> None:
    of_kubernetes = {
        "ONEBIT_SERVICE_HOST": "10.0.0.1",
        "ONEBIT_SERVICE_PORT_HTTP": "80",
        "ONEBIT_PORT": "tcp://10.0.0.1:80",
        "ONEBIT_PORT_80_TCP": "tcp://10.0.0.1:80",
        "ONEBIT_PORT_80_TCP_ADDR": "10.0.0.1",
        "ONEBIT_OTHER_PORT": "udp://10.0.0.1:53",
    }
    ours = {"ONEBIT_KEY": "x", "ONEBIT_MAX_STREAMS": "3", "HOME": "/"}
    assert unknown_variables(of_kubernetes | ours) == []
    assert unknown_variables(ours | {"ONEBIT_MAX_STREAM": "3", "ONEBIT_MY_PORT": "80"}) == [
        "ONEBIT_MAX_STREAM",
        "ONEBIT_MY_PORT",
    ]


@pytest.mark.parametrize("origin", ["*", "null", "https://page.example", "http://localhost:3000", "http://[::1]:80"])
def test_origins(origin: str) -> None:
    assert Settings.from_environment({"ONEBIT_CORS_ORIGINS": origin}).cors_origins == (origin,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("default_bits", "3"),
        ("port", "99999"),
        ("port", "http"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("max_streams", "0"),
        ("buffer_seconds", "-1"),
        ("buffer_seconds", "nan"),
        ("engine_threads", "-1"),
        ("engine_threads", "100000"),
        ("tls_cert", "cert.pem"),
        ("tls_key", "key.pem"),
        ("max_files", "1000000"),
        ("max_audio_seconds", "inf"),
        ("drain_seconds", "nan"),
        ("drain_seconds", "-1"),
        ("min_upload_bytes_per_second", "-1"),
        ("ffmpeg_seconds", "1e300"),
        ("reference_delay_seconds", "1e300"),
        ("reference_delay_seconds", "nan"),
        ("reference_interval_seconds", "1e300"),
        ("cors_origins", "nonsense"),
        ("cors_origins", "https://page.example/"),
        ("allowed_origins", "https://page.example,page.example"),
    ],
)
def test_bad_values_are_named(name: str, value: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"ONEBIT_{name.upper()}: "):
        Settings.from_environment({PREFIX + name.upper(): value})


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("port", "1e3", "not a whole number"),
        ("max_streams", "4.0", "not a whole number"),
        ("idle_seconds", "soon", "not a number"),
        ("log_level", "loud", "debug, info, warning, error"),
    ],
)
def test_complaints_say_what_is_wanted(name: str, value: str, complaint: str) -> None:
    with pytest.raises(InvalidParameterError, match=complaint):
        Settings.from_environment({PREFIX + name.upper(): value})


def test_no_drain_and_no_slowest_upload() -> None:
    """0 makes sense here."""
    settings = Settings(drain_seconds=0, min_upload_bytes_per_second=0)
    assert (settings.drain_seconds, settings.min_upload_bytes_per_second) == (0, 0)
