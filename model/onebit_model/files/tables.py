"""Tables that people and programs write, JSON or TOML, read into frozen dataclasses.

Whatever is wrong with one is said in one line: where it stands, its key and the fix.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tomllib
import typing
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import ErrorDetails

from onebit_model.errors import OnebitError

T = TypeVar("T")
# No value becomes one of another type, but that a whole number may stand for a number.
CONFIG = ConfigDict(strict=True, allow_inf_nan=False, protected_namespaces=())
KINDS = {
    "string_type": "text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
# Text, or a whole number, which is taken as text: programs write ids either way.
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
NotEmpty = Field(min_length=1)
LONGEST_SHOWN = 40  # characters of a wrong value in a message


def read_json(path: Path, error: type[OnebitError]) -> object:
    """What a JSON file holds; raises `error`, which names the file."""
    return parse_json(_read(path, error), str(path), error)


def read_toml(path: Path, error: type[OnebitError]) -> dict[str, Any]:
    """What a TOML file holds; raises `error`, which names the file."""
    try:
        return tomllib.loads(_read(path, error).decode())
    except UnicodeDecodeError as fault:
        raise error(f"{path}: not a text file in UTF-8") from fault
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        raise error(f"{path}: not TOML ({fault})") from fault


def parse_json(text: bytes | str, place: str, error: type[OnebitError]) -> object:
    """What a JSON text holds; raises `error`, which begins with `place`."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as fault:
        raise error(f"{place}: not JSON ({fault})") from fault


def _read(path: Path, error: type[OnebitError]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror}") from fault


def table_from(values: object, kind: type[T], place: str, error: type[OnebitError], *, more_keys: bool = False) -> T:
    """`values` as the dataclass `kind`, nested ones included; `more_keys` of the outermost table are passed over.

    Raises `error` for a missing or unknown key, a value of another type, and for what the dataclasses themselves
    refuse with a ValueError or an OnebitError.
    """
    try:
        return _reader(typing.cast("Hashable", kind), more_keys).validate_python(values)
    except ValidationError as faults:
        raise error(f"{place}: {_line(faults.errors())}") from faults


@functools.cache
def _reader(kind: Hashable, more_keys: bool) -> TypeAdapter[Any]:
    return TypeAdapter(_table(typing.cast("type[Any]", kind), more_keys))


def _table(kind: type[Any], more_keys: bool = False) -> Any:
    """What pydantic is to read where the dataclass `kind` is wanted."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    wanted: dict[str, Any] = {
        name: (_readable(hints[name]), ... if _is_required(field) else None) for name, field in fields.items()
    }
    model = create_model(kind.__name__, __config__=CONFIG, **wanted)

    def known(values: object) -> object:
        if isinstance(values, Mapping) and (unknown := sorted(map(str, values.keys() - fields.keys()))):
            raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(fields)}")
        return values

    def built(read: BaseModel) -> Any:
        try:
            return kind(**{name: getattr(read, name) for name in read.model_fields_set})
        except OnebitError as fault:
            raise ValueError(str(fault)) from fault

    checked: Any = Annotated[model, AfterValidator(built)]
    return checked if more_keys else Annotated[checked, BeforeValidator(known)]


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _readable(hint: Any) -> Any:
    """A type hint with readers in the places of dataclasses, and tuples that a list fills."""
    if dataclasses.is_dataclass(hint):
        return _table(typing.cast("type[Any]", hint))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[_readable(arguments[0]), *arguments[1:]]
    if origin in (tuple, list, dict):
        inner: Any = origin[tuple(map(_readable, arguments))]
        return Annotated[inner, Strict(False)] if origin is tuple else inner
    if type(None) in arguments:
        return _readable(next(a for a in arguments if a is not type(None))) | None
    return hint


def _line(faults: Sequence[ErrorDetails]) -> str:
    """The first fault, in a line; keys that are missing come last, and those of one table together."""
    wrong = [fault for fault in faults if fault["type"] != "missing"]
    if wrong:
        return _wrong(wrong[0])
    table = max((fault["loc"][:-1] for fault in faults), key=len)
    keys = [fault["loc"][-1] for fault in faults if fault["loc"][:-1] == table]
    if isinstance(keys[-1], int):
        return f"{_place(table)} needs {keys[-1] + 1} values"
    return f"{_prefix(table)}missing: {', '.join(map(str, keys))}"


def _wrong(fault: ErrorDetails) -> str:
    kind, place = fault["type"], _place(fault["loc"])
    if kind == "value_error":
        return f"{_prefix(fault['loc'])}{fault['ctx']['error']}"
    if kind == "too_short":
        return f"{place} is empty"
    if kind == "too_long":
        return f"{place} has more than {fault['ctx']['max_length']} values"
    if wanted := KINDS.get(kind) or fault.get("ctx", {}).get("expected"):  # expected: the values of a Literal
        return f"{place} must be {wanted}, not {shown(fault['input'])}".lstrip()
    message = fault["msg"]
    return f"{place}: {message[0].lower()}{message[1:]}, not {shown(fault['input'])}"


def _place(location: Sequence[int | str]) -> str:
    """("systems", 0, "sets") -> "systems[0]: sets"."""
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f": {part}" if place else part
    return place


def _prefix(location: Sequence[int | str]) -> str:
    return f"{_place(location)}: " if location else ""


def shown(value: object) -> str:
    """A value as its file has it, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
