from __future__ import annotations

import json

import pytest

from onebit_model.config import ModelConfig
from onebit_model.errors import ModelFileError


def test_json_round_trip() -> None:
    config = ModelConfig(blocks=12)
    assert ModelConfig.from_json(config.to_json()) == config
    assert config.outputs == 257


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 0}, "blocks"),
        ({"blocks": 2.5}, "blocks"),
        ({"blocks": True}, "blocks"),
        ({"heads": 7}, "heads"),
        ({"average_after": 7}, "average_after"),
        ({"colour": 1}, "unknown .*colour"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        ModelConfig.from_dict({**ModelConfig().to_dict(), **change})


@pytest.mark.parametrize("text", ["", "[]", "3", "{", json.dumps({"blocks": 6})])
def test_what_is_no_config(text: str) -> None:
    with pytest.raises(ModelFileError):
        ModelConfig.from_json(text)
