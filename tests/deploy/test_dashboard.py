"""The dashboard asks for nothing that the service does not expose; a real Prometheus answers it in the system tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from onebit_service.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/onebit.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRIC = re.compile(r"\b(?:asr|process|python)_[a-z_]+\b")


def exposed_names() -> set[str]:
    """Names of series, those with labels but without samples included."""
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "info": ("",), "counter": ("",), "gauge": ("",)}
    names = set()
    for line in Metrics().text().decode().splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            names.update(name + suffix for suffix in suffixes.get(kind, ("",)))
    return names | {"process_open_fds", "process_max_fds"}


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def recorded_names() -> set[str]:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/rules/onebit.recording.yml").read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_asks_for_exposed_metrics(panel: dict[str, Any]) -> None:
    asked = {name for expression in expressions(panel) for name in METRIC.findall(expression)}
    assert asked
    assert asked - exposed_names() == set()


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"] == "${datasource}"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_ids_are_unique() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_data_source_is_the_provisioned_one() -> None:
    provisioned = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    variable = DASHBOARD["templating"]["list"][0]
    assert variable["type"] == "datasource"
    assert variable["current"]["value"] == provisioned["datasources"][0]["uid"]


def test_subjects_are_all_there() -> None:
    """Each metric of the service is on the dashboard; the collectors of the process count by what they show."""
    asked = {name for panel in PANELS for expression in expressions(panel) for name in METRIC.findall(expression)}
    own = {name for name in exposed_names() if name.startswith("asr_") and not name.endswith(("_sum", "_created"))}
    families = {re.sub(r"_(bucket|count)$", "", name) for name in own}
    assert {family for family in families if not any(name.startswith(family) for name in asked)} == set()


def test_rules_ask_for_exposed_metrics() -> None:
    for path in (ROOT / "deploy/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                assert set(METRIC.findall(rule["expr"])) - exposed_names() == set(), rule
                assert set(re.findall(r"\basr:[a-z_0-9:]+", rule["expr"])) <= recorded_names(), rule
