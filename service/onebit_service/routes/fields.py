"""What a request says beside its audio, in its query or its form: read and checked once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ValidationError

from onebit_service.errors import InvalidParameterError

LONGEST_NAME = 100
# `include[]` adds to a list, `chunking_strategy[type]` sets one member of an object.
BRACKETS = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class GivenField:
    name: str
    value: str


@dataclass(frozen=True)
class Complaint:
    """What pydantic found first."""

    field: str
    is_unknown: bool
    message: str


def first_complaint(error: ValidationError) -> Complaint:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])[:LONGEST_NAME] if first["loc"] else ""
    return Complaint(field, first["type"] == "extra_forbidden", first["msg"].removeprefix("Value error, "))


def checked_fields(kind: type[Model], given: Iterable[GivenField]) -> Model:
    """Raises InvalidParameterError for a field that is unknown, bad, or given twice where it is no list."""
    try:
        return kind.model_validate(_collected(kind, given))
    except ValidationError as error:
        complaint = first_complaint(error)
        unknown = f"unknown parameter {complaint.field!r}"
        message = unknown if complaint.is_unknown else f"{complaint.field}: {complaint.message}"
        raise InvalidParameterError(complaint.field, message) from error


def _collected(kind: type[BaseModel], given: Iterable[GivenField]) -> dict[str, Any]:
    lists = {name for name, field in kind.model_fields.items() if get_origin(field.annotation) is list}
    values: dict[str, Any] = {}
    for field in given:
        bracketed = BRACKETS.fullmatch(field.name)
        name, member = bracketed.groups() if bracketed else (field.name, "")
        if member:
            _set(values.setdefault(name, {}), member, field)
        elif name in lists:
            values.setdefault(name, []).append(field.value)
        else:
            _set(values, field.name, field)
    return values


def _set(values: Any, name: str, field: GivenField) -> None:
    if not isinstance(values, dict) or name in values:
        shown = field.name[:LONGEST_NAME]
        raise InvalidParameterError(shown, f"{shown} is given twice")
    values[name] = field.value


def query_parameters(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as OpenAPI describes the parameters of a query."""
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in kind.model_json_schema()["properties"].items()
    ]
