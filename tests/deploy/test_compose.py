"""deploy/compose.yaml as the real Compose reads it, with and without the profile `monitoring`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from onebit_service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).with_name("docker-compose")
MEBIBYTE = 1 << 20


def compose_config(*options: str, **environment: str) -> dict[str, Any]:
    command = [COMPOSE, "-f", str(ROOT / "deploy/compose.yaml"), *options, "config", "--format", "json"]
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "level=warning" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return compose_config()


@pytest.fixture(scope="module")
def monitoring() -> dict[str, Any]:
    return compose_config("--profile", "monitoring")


def test_plain_command_starts_the_service_alone(plain: dict[str, Any]) -> None:
    assert list(plain["services"]) == ["onebit"]


def test_profile_adds_prometheus_and_grafana(monitoring: dict[str, Any]) -> None:
    assert sorted(monitoring["services"]) == ["grafana", "onebit", "prometheus"]


def test_profile_wyoming_starts_the_command_for_home_assistant(plain: dict[str, Any]) -> None:
    config = compose_config("--profile", "wyoming", ONEBIT_BIND="0.0.0.0", ONEBIT_WYOMING_HOTWORDS="Anna,attic")
    service, alone = config["services"]["wyoming"], plain["services"]["onebit"]
    assert service["command"] == ["wyoming", "--uri", "tcp://0.0.0.0:10300", "--hotwords", "Anna,attic"]
    (port,) = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("0.0.0.0", "10300", 10300)
    assert service["build"] == alone["build"]
    for limit in ("read_only", "cap_drop", "security_opt", "mem_limit", "tmpfs", "stop_grace_period"):
        assert service[limit] == alone[limit]
    Settings.from_environment(service["environment"])


def test_memory_fits_the_boxes(plain: dict[str, Any], monitoring: dict[str, Any]) -> None:
    """With room for the system: 1 GB alone, 2 GB with monitoring."""

    def total(config: dict[str, Any]) -> int:
        return sum(int(service["mem_limit"]) for service in config["services"].values())

    assert total(plain) <= 700 * MEBIBYTE
    assert total(monitoring) <= 1500 * MEBIBYTE


def test_service_is_locked_down(plain: dict[str, Any]) -> None:
    service = plain["services"]["onebit"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    (spool,) = service["tmpfs"]
    assert spool.startswith("/var/spool/onebit:size=128m,")
    assert int(service["environment"]["ONEBIT_MAX_UPLOAD_BYTES"]) <= 128 * MEBIBYTE


def test_stopping_waits_for_the_drain(plain: dict[str, Any]) -> None:
    service = plain["services"]["onebit"]
    assert service["stop_grace_period"] == "45s"
    assert float(service["environment"]["ONEBIT_DRAIN_SECONDS"]) + 10 <= 45


def test_environment_is_made_of_settings(plain: dict[str, Any]) -> None:
    given = {name: value for name, value in plain["services"]["onebit"]["environment"].items() if value is not None}
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    assert set(given) <= known
    Settings.from_environment(given)


def test_every_port_is_local_by_default(monitoring: dict[str, Any]) -> None:
    ports = [port for service in monitoring["services"].values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_variables_reach_the_service() -> None:
    config = compose_config(ONEBIT_BIND="0.0.0.0", ONEBIT_PUBLISHED_PORT="80", ONEBIT_API_KEYS="a,b", WITH_FFMPEG="1")
    service = config["services"]["onebit"]
    (port,) = service["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("0.0.0.0", "80", 8000)
    assert service["environment"]["ONEBIT_API_KEYS"] == "a,b"
    assert service["build"]["args"]["WITH_FFMPEG"] == "1"


def test_mounted_files_exist(monitoring: dict[str, Any]) -> None:
    mounts = [mount for service in monitoring["services"].values() for mount in service.get("volumes", [])]
    sources = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    assert sources
    assert [source for source in sources if not source.exists()] == []


def test_stored_metrics_are_bounded(monitoring: dict[str, Any]) -> None:
    command = monitoring["services"]["prometheus"]["command"]
    assert any(option.startswith("--storage.tsdb.retention.size=") for option in command)
    assert any(option.startswith("--storage.tsdb.retention.time=") for option in command)


def test_images_are_pinned(monitoring: dict[str, Any]) -> None:
    images = [service["image"] for name, service in monitoring["services"].items() if name != "onebit"]
    assert all(image.rpartition(":")[2][0].isdigit() or ":v" in image for image in images)


def test_dashboard_is_provisioned_from_where_it_is_mounted(monitoring: dict[str, Any]) -> None:
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/onebit.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    grafana = monitoring["services"]["grafana"]
    (mount,) = [mount for mount in grafana["volumes"] if mount["target"] == path]
    assert (Path(mount["source"]) / "onebit.json").is_file()
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{path}/onebit.json"
