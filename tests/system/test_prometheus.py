"""A real Prometheus scrapes a running service, evaluates the rules, and answers every question of the dashboard."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/onebit.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SCRAPE_SECONDS = 1
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/rules/onebit.alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
# No request has failed: the share of failures has no series, or is 0.
MAY_BE_ABSENT = ("asr:failures:ratio5m", "asr:refusals:ratio5m")
# What Grafana puts in, for a scrape interval of one second.
VARIABLES = {"$__rate_interval": "30s", "$job": ".*", "$instance": ".*"}
LOAD = r"""
import asyncio
from loadtests.server import Server
from loadtests.streams import Load, run_load

async def main():
    short = dict(packet_seconds=0.1, streams=2, seconds=1, clip_seconds=1, bound_seconds=60)
    loads = [Load(bits=bits, chunk=8, **short) for bits in (1, 2, 4)]
    for report in await asyncio.gather(*(run_load(Server("{url}"), load) for load in loads)):
        assert report.finished and not report.lost, report

asyncio.run(main())
"""

pytestmark = pytest.mark.timeout(600)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.5)
    pytest.fail(f"{what}: not within {seconds:.0f} s")


def small_set(folder: Path) -> Path:
    """Three clips of a shipped set: all of it would be scored for a minute."""
    shipped = ROOT / "model/onebit_model/reference_sets/ljspeech"
    rows = [json.loads(line) for line in (shipped / "ljspeech.jsonl").read_text().splitlines()[:3]]
    with tarfile.open(shipped / rows[0]["archive"]) as archive:
        for row in rows:
            archive.extract(f"{row['id']}.opus", folder, filter="data")
    manifest = folder / "small.jsonl"
    fields = [{k: row[k] for k in ("id", "text", "duration")} | {"audio": f"{row['id']}.opus"} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in fields))
    return manifest


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    work = tmp_path_factory.mktemp("service")
    settings = {"REFERENCE_DELAY_SECONDS": "0", "REFERENCE_SETS": str(small_set(work)), "MAX_STREAMS": "8"}
    environment = os.environ | {f"ONEBIT_{name}": value for name, value in settings.items()}
    log = work / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "onebit_service", "serve", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: urllib.request.urlopen(f"{url}/health/ready", timeout=5).status == 200, 60, log.read_text())
        yield url
    finally:
        process.terminate()
        process.wait(60)


@dataclass(frozen=True)
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> list[dict[str, Any]]:
        """Series with a number in them, over the last minutes."""
        now = time.time()
        range_ = {"start": str(now - 120), "end": str(now), "step": "1"}
        found = self.ask("query_range", query=expression, **range_)["result"]
        return [series for series in found if any(value != "NaN" for _, value in series["values"])]


@pytest.fixture(scope="module")
def prometheus(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With the configuration that compose mounts, but for where the service is and how often it is asked."""
    work = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / pattern) for pattern in config["rule_files"]]
    port = free_port()
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [service.removeprefix("http://")]
    config["scrape_configs"][1]["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
    (work / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={work}/prometheus.yml",
                f"--storage.tsdb.path={work}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Prometheus(f"http://127.0.0.1:{port}")
        wait_for(lambda: running.values("asr_build_info"), 60, "first scrape")
        yield running
    finally:
        process.terminate()
        process.wait(30)


def post(service: str, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(service.removeprefix("http://"), timeout=60)
    connection.request("POST", path, body, {"Content-Type": "audio/L16; rate=16000; channels=1"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture(scope="module")
def loaded(service: str, prometheus: Prometheus) -> Prometheus:
    """After files and streams at every precision, a refusal, and the first reference set."""
    from loadtests.speech import pcm_clips

    # Counters that begin after the first scrape have no rate until they rise again.
    clip = pcm_clips(1)[0]
    for _ in range(2):
        for bits in (1, 2, 4):
            assert post(service, f"/transcribe?bits={bits}", clip) == 200
        assert post(service, "/transcribe?bits=3", clip) == 422
        subprocess.run([sys.executable, "-c", LOAD.format(url=service)], check=True, cwd=ROOT)
        time.sleep(2 * SCRAPE_SECONDS)
    wait_for(lambda: prometheus.values("asr_wer_ratio"), 120, "word error rates of a reference set")
    time.sleep(2 * SCRAPE_SECONDS)
    return prometheus


def expression(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text
    return text


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_has_an_answer(panel: dict[str, Any], loaded: Prometheus) -> None:
    for target in panel["targets"]:
        series = loaded.values(expression(target["expr"]))
        assert series, target["expr"]
        named = re.findall(r"{{(\w+)}}", target["legendFormat"])
        assert all(set(named) <= set(one["metric"]) for one in series), target["legendFormat"]


def test_variables_of_the_dashboard_have_values(loaded: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"][1:]:
        label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
        assert label is not None
        series = loaded.values(expression(label[1]))
        assert all(label[2] in one["metric"] for one in series)
        assert series


def test_rules_are_evaluated(loaded: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in loaded.ask("rules")["groups"] for rule in group["rules"]]

    # A group with an interval of its own has its first turn somewhere within it.
    wait_for(lambda: all(rule["health"] != "unknown" for rule in rules()), 150, "a first turn of every rule")
    assert len(rules()) > 20
    assert {rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"} == {}


@pytest.mark.parametrize(
    "name",
    [
        rule["record"]
        for group in yaml.safe_load((DEPLOY / "prometheus/rules/onebit.recording.yml").read_text())["groups"]
        if group.get("interval") is None
        for rule in group["rules"]
    ],
)
def test_recorded_series_exist(name: str, loaded: Prometheus) -> None:
    if name not in MAY_BE_ABSENT:
        assert loaded.values(name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_looks_at_series_that_exist(alert: dict[str, Any], loaded: Prometheus) -> None:
    """An alert about a name or label that nobody publishes is as silent as one about a healthy service."""
    selectors = re.findall(r"\b(?:asr[\w:]+|process_\w+|up)\b(?:{[^}]*})?", alert["expr"])
    assert selectors
    for selector in selectors:
        if not selector.startswith(MAY_BE_ABSENT):
            wait_for(lambda selector=selector: loaded.values(selector), 150, selector)


def test_nothing_is_wrong_with_a_healthy_service(loaded: Prometheus) -> None:
    alerts = loaded.ask("alerts")["alerts"]
    assert [a["labels"]["alertname"] for a in alerts if a["state"] == "firing"] == []


def test_exposition_is_clean(service: str) -> None:
    text = urllib.request.urlopen(f"{service}/metrics", timeout=10).read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    ours = [line for line in done.stdout.decode().splitlines() + done.stderr.decode().splitlines() if "asr_" in line]
    assert ours == []


def test_rules_and_their_unit_tests() -> None:
    rules = sorted(str(path) for path in (DEPLOY / "prometheus/rules").glob("*.yml"))
    tests = sorted(str(path) for path in (DEPLOY / "prometheus/tests").glob("*.test.yml"))
    subprocess.run(["promtool", "check", "rules", *rules], check=True)
    subprocess.run(["promtool", "test", "rules", *tests], check=True)
    subprocess.run(["promtool", "check", "config", str(DEPLOY / "prometheus/prometheus.yml")], check=True)
