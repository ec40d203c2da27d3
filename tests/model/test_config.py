from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from onebit_kernels import Model
from onebit_model.config import ModelConfig
from onebit_model.errors import ModelFileError
from onebit_model.files.packed import model_config

REPOSITORY = Path(__file__).parents[2]


def test_json_round_trip() -> None:
    config = ModelConfig(blocks=12)
    assert model_config(config.to_json()) == config
    assert config.outputs == 257


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 0}, "blocks"),
        ({"blocks": 2.5}, "blocks"),
        ({"blocks": True}, "blocks"),
        ({"blocks": "6"}, "blocks"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_is_no_size_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        model_config(json.dumps({**ModelConfig().to_dict(), **change}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_model": 500, "heads": 5}, "d_model must be a multiple of 32"),
        ({"heads": 7}, "d_model / heads"),
        ({"heads": 64}, "d_model / heads"),
        ({"heads": 2}, "d_model / heads"),
        ({"feed_forward1": 1000}, "feed_forward1 must be a multiple of 16"),
        ({"feed_forward2": 2040}, "feed_forward2 must be a multiple of 16"),
        ({"max_positions": 1501}, "max_positions must be a multiple of 2"),
        ({"left_chunks": 1 << 17}, "left_chunks must be a whole number from 1 to 65536"),
        ({"average_after": 7}, "average_after"),
    ],
)
def test_sizes_that_the_kernels_refuse_are_named(change: dict[str, int], message: str) -> None:
    values = ModelConfig().to_dict() | change
    with pytest.raises(ModelFileError, match=message):
        model_config(json.dumps(values))
    with pytest.raises(ValueError, match="model config: "):
        Model(values, {}, [1])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"d_model": 32, "heads": 2},
        {"d_model": 128, "heads": 1},
        {"feed_forward1": 16, "feed_forward2": 48},
        {"max_positions": 2, "left_chunks": 1 << 16, "mel_bins": 1, "average_after": 6},
    ],
)
def test_the_kernels_take_what_the_config_allows(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the tensor .* is missing"):
        Model(ModelConfig(**(ModelConfig().to_dict() | change)).to_dict(), {}, [1])


@pytest.mark.parametrize("text", ["", "[]", "3", "{", json.dumps({"blocks": 6})])
def test_what_is_no_config(text: str) -> None:
    with pytest.raises(ModelFileError):
        model_config(text)


def constants(path: Path) -> set[str]:
    """Names in capitals that a module gives a value to."""
    statements = ast.parse(path.read_text()).body
    assigned = [node for node in statements if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [
        target for node in assigned for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return {target.id for target in targets if isinstance(target, ast.Name) and target.id.isupper()}


def test_what_the_config_states_is_stated_nowhere_else() -> None:
    stated = constants(REPOSITORY / "model/onebit_model/config.py")
    assert {"SAMPLE_RATE", "PRECISIONS", "CHUNKS", "OUTPUT_FRAME_SAMPLES"} <= stated
    modules = [path for root in ("model", "service") for path in (REPOSITORY / root).rglob("*.py")]
    again = {path.name: stated & constants(path) for path in modules if path.name != "config.py"}
    assert {name: names for name, names in again.items() if names} == {}
