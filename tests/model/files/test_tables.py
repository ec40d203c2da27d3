from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from onebit_model.errors import OutputPathError, RecipeError
from onebit_model.files.tables import Name, NotEmpty, read_json, read_toml, table_from


@dataclass(frozen=True)
class Wheel:
    size: float
    spokes: int = 32

    def __post_init__(self) -> None:
        if self.spokes < 3:
            raise OutputPathError(f"spokes must be 3 or more, not {self.spokes}")


@dataclass(frozen=True)
class Cycle:
    name: Name
    wheels: Annotated[tuple[Wheel, ...], NotEmpty]
    gears: tuple[int, int] = (3, 7)
    bell: Wheel | None = None
    notes: dict[str, list[str]] = field(default_factory=dict)
    light: bool = False
    brake: Literal["rim", "disc"] = "rim"


TABLE = """
name = "tandem"
wheels = [{size = 28}, {size = 26.5, spokes = 24}]
gears = [2, 5]
notes = {road = ["fast"]}
[bell]
size = 1
"""


def cycle(text: str, tmp_path: Path, *, more_keys: bool = False) -> Cycle:
    (tmp_path / "cycle.toml").write_text(text)
    values = read_toml(tmp_path / "cycle.toml", RecipeError)
    return table_from(values, Cycle, "cycle.toml", RecipeError, more_keys=more_keys)


def test_a_table_becomes_dataclasses_at_every_depth(tmp_path: Path) -> None:
    expected = Cycle("tandem", (Wheel(28.0), Wheel(26.5, 24)), (2, 5), Wheel(1.0), {"road": ["fast"]})
    assert cycle(TABLE, tmp_path) == expected
    assert cycle("name = 7\nwheels = [{size = 1}]", tmp_path) == Cycle("7", (Wheel(1.0),))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("size = 1", "size = true"), "bell: size must be a number, not true"),
        (("size = 1", "size = nan"), "bell: size must be a number, not NaN"),
        (("size = 1", "sise = 1"), "bell: unknown key 'sise'; known are size, spokes"),
        (("size = 1", "spokes = 4"), "bell: missing: size"),
        (("size = 1", ""), "bell: missing: size"),
        (("size = 28}", "spokes = 1}"), "wheels[0]: missing: size"),
        (("spokes = 24", "spokes = 2"), "wheels[1]: spokes must be 3 or more, not 2"),
        (("spokes = 24", "spokes = 24.0"), "wheels[1]: spokes must be a whole number, not 24.0"),
        (('"tandem"', "false"), "name must be text, not false"),
        (('name = "tandem"\n', ""), "missing: name"),
        (("[2, 5]", "5"), "gears must be a list, not 5"),
        (("[2, 5]", "[2]"), "gears needs 2 values"),
        (("[2, 5]", "[2, 5, 6]"), "gears has more than 2 values"),
        (("[2, 5]", "[2, 1979-05-27]"), 'gears[1] must be a whole number, not "1979-05-27"'),
        (('["fast"]', '"fast"'), 'notes: road must be a list, not "fast"'),
        (('["fast"]', f'"{"a" * 99}"'), f'notes: road must be a list, not "{"a" * 39}...'),
        (("wheels = [{size = 28}, {size = 26.5, spokes = 24}]", "wheels = []"), "wheels is empty"),
        (("[bell]\nsize = 1", "light = 1"), "light must be true or false, not 1"),
        (("[bell]\nsize = 1", "brake = 'none'"), """brake must be 'rim' or 'disc', not "none\""""),
        (("[bell]\nsize = 1", "bell = 1"), "bell must be a table, not 1"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_place(change: tuple[str, str], line: str, tmp_path: Path) -> None:
    assert change[0] in TABLE
    with pytest.raises(RecipeError) as error:
        cycle(TABLE.replace(*change, 1), tmp_path)
    assert str(error.value) == f"cycle.toml: {line}"


def test_a_missing_key_is_not_named_where_another_one_is_misspelt(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown key 'nam'"):
        cycle(TABLE.replace("name", "nam"), tmp_path)


def test_more_keys_are_passed_over_where_the_reader_says_so(tmp_path: Path) -> None:
    assert cycle("colour = 1\n" + TABLE, tmp_path, more_keys=True) == cycle(TABLE, tmp_path)
    with pytest.raises(RecipeError, match="bell: unknown key 'colour'"):
        cycle(TABLE + "colour = 1\n", tmp_path, more_keys=True)


@pytest.mark.parametrize(("content", "fault"), [(b"[" * 100_000, "not JSON"), (b"\xff", "not JSON"), (b"", "not JSON")])
def test_what_is_no_json_is_named(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RecipeError, match=rf"a\.json: {fault}"):
        read_json(tmp_path / "a.json", RecipeError)


@pytest.mark.parametrize(("content", "fault"), [(b"a = ", "not TOML"), (b"\xff", "not a text file in UTF-8")])
def test_what_is_no_toml_is_named(content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=rf"a\.toml: {fault}"):
        read_toml(tmp_path / "a.toml", RecipeError)
    with pytest.raises(RecipeError, match=r"b\.toml: cannot be read: No such file"):
        read_toml(tmp_path / "b.toml", RecipeError)
