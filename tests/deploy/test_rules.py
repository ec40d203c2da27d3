"""Every rule has a unit test; `make rules-check` runs them with promtool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = Path(__file__).parents[2] / "deploy/prometheus"
DOCUMENTATION = PROMETHEUS.parents[1] / "docs/deployment.md"


def rules(kind: str) -> dict[str, dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text()) for path in (PROMETHEUS / "rules").glob("*.yml")]
    found = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    return {rule[kind]: rule for rule in found if kind in rule}


def unit_tests() -> list[dict[str, Any]]:
    paths = (PROMETHEUS / "tests").glob("*.test.yml")
    return [test for path in paths for test in yaml.safe_load(path.read_text())["tests"]]


def test_every_alert_is_tested_to_fire() -> None:
    cases = [case for test in unit_tests() for case in test.get("alert_rule_test", [])]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert set(rules("alert")) == fired


def test_every_recording_rule_is_tested() -> None:
    asked = " ".join(case["expr"] for test in unit_tests() for case in test.get("promql_expr_test", []))
    assert [name for name in rules("record") if name not in asked] == []


def test_every_alert_says_what_is_wrong_and_is_documented() -> None:
    text = DOCUMENTATION.read_text()
    for name, rule in rules("alert").items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= set(rule["annotations"])
        assert f"`{name}`" in text, f"docs/deployment.md does not say what to do about {name}"


def test_configuration_reads_the_rules() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules/*.yml"]
    assert list((PROMETHEUS / "rules").glob("*.yml"))
