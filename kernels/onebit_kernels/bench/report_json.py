"""Reports of benchmarks as JSON: each measurement on a line of its own, for people who compare two files."""

import json
from collections.abc import Mapping


def report_json(report: Mapping[str, object]) -> str:
    fields = ",\n".join(f" {json.dumps(name)}: {_value(value)}" for name, value in report.items())
    return f"{{\n{fields}\n}}\n"


def _value(value: object) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
    return f"[\n{rows}\n ]"
