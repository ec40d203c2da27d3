from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from onebit_service.errors import InvalidParameterError
from onebit_service.settings import PREFIX, Settings, settings_table

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
        ("tls_cert", "cert.pem"),
    ],
)
def test_bad_values_are_named(name: str, value: str) -> None:
    with pytest.raises(InvalidParameterError, match="ONEBIT_"):
        Settings.from_environment({PREFIX + name.upper(): value})
