"""The chart through Helm's own engine, for every file in ci/, and its manifests against Kubernetes' schemas."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any, get_type_hints

import kubernetes_validate
import pytest
import yaml

from onebit_service.settings import PREFIX, Settings

helm_python = pytest.importorskip("helm_python", reason="there is no wheel of Helm's engine for this platform")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/onebit"
VALUES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
# The oldest that Chart.yaml admits, and the newest that there are schemas of.
KUBERNETES = ("1.29", "1.37")
# Kinds of operators: their schemas are not part of Kubernetes.
FOREIGN_KINDS = ("ServiceMonitor", "PrometheusRule", "ScaledObject")
CHART_SETTINGS = {
    *("host", "port", "drain_seconds", "engine_threads", "api_keys", "api_keys_file", "tls_cert", "tls_key")
}

Manifest = dict[str, Any]


def values(name: str) -> dict[str, Any]:
    return yaml.safe_load(VALUES[name].read_text())


def render_texts(given: dict[str, Any], release: str = "speech") -> dict[str, str]:
    return helm_python.Chart.load(CHART).render(given, name=release, namespace="asr")


def render(given: dict[str, Any], release: str = "speech") -> dict[str, Manifest]:
    """Manifests by kind: the chart makes at most one of each, but for ConfigMaps."""
    found: dict[str, Manifest] = {}
    for path, text in render_texts(given, release).items():
        if path.endswith(".yaml"):
            for manifest in yaml.safe_load_all(text):
                if manifest:
                    kind = "Dashboard" if manifest["metadata"]["name"].endswith("-dashboard") else manifest["kind"]
                    assert kind not in found
                    found[kind] = manifest
    return found


def container(manifests: dict[str, Manifest]) -> Manifest:
    (only,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("name", VALUES)
def test_lint(name: str) -> None:
    report = helm_python.lint(CHART, values(name), strict=True)
    assert report["errors"] == []
    assert [m["error"] for m in report["messages"] if m["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALUES)
def test_manifests_are_valid(name: str, version: str) -> None:
    for kind, manifest in render(values(name)).items():
        if manifest["kind"] in FOREIGN_KINDS:
            with pytest.raises(kubernetes_validate.SchemaNotFoundError):
                kubernetes_validate.validate(manifest, version, strict=True)
        else:
            kubernetes_validate.validate(manifest, version, strict=True)
        assert kind == "Dashboard" or manifest["metadata"]["name"].startswith("speech")


def test_a_wrong_manifest_would_be_noticed() -> None:
    deployment = copy.deepcopy(render(values("default"))["Deployment"])
    deployment["spec"]["template"]["spec"]["containerz"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_every_template_is_rendered_by_some_values() -> None:
    rendered = {
        path for name in VALUES for path, text in render_texts(values(name)).items() if text.strip() and path != ""
    }
    templates = {f"onebit/templates/{path.name}" for path in (CHART / "templates").iterdir() if path.suffix != ".tpl"}
    assert templates <= rendered


def test_every_value_that_switches_is_switched_in_ci() -> None:
    """Each `enabled` of values.yaml is true in one ci file and false in another."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    switches = [name for name, value in defaults.items() if isinstance(value, dict) and "enabled" in value]
    for switch in switches:
        seen = {values(name).get(switch, {}).get("enabled", defaults[switch]["enabled"]) for name in VALUES}
        assert seen == {True, False}, switch


def test_default_is_one_replica_without_extras() -> None:
    manifests = render({})
    assert set(manifests) == {"Deployment", "Service", "ConfigMap", "ServiceAccount"}
    assert manifests["Deployment"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("name", VALUES)
def test_selectors_meet_the_pods(name: str) -> None:
    manifests = render(values(name))
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [manifests["Deployment"]["spec"]["selector"]["matchLabels"], manifests["Service"]["spec"]["selector"]]
    if "PodDisruptionBudget" in manifests:
        selectors.append(manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"])
    if "NetworkPolicy" in manifests:
        selectors.append(manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"])
    assert all(selector.items() <= labels.items() for selector in selectors)
    if "ServiceMonitor" in manifests:
        service_labels = manifests["Service"]["metadata"]["labels"]
        assert manifests["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= service_labels.items()


@pytest.mark.parametrize("name", VALUES)
def test_pods_are_locked_down(name: str) -> None:
    manifests = render(values(name))
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert container(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    spool = next(volume for volume in pod["volumes"] if volume["name"] == "spool")
    assert spool["emptyDir"]["sizeLimit"]


@pytest.mark.parametrize("name", VALUES)
def test_the_pod_outlives_the_drain(name: str) -> None:
    manifests = render(values(name))
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    drain = float(manifests["ConfigMap"]["data"]["ONEBIT_DRAIN_SECONDS"])
    sleep = float(container(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    # Two seconds of farewell and five of lingering connections: see service/onebit_service/server/running.py.
    assert pod["terminationGracePeriodSeconds"] >= sleep + drain + 7


@pytest.mark.parametrize("name", VALUES)
def test_settings_are_understood_by_the_service(name: str) -> None:
    manifests = render(values(name))
    environment = manifests["ConfigMap"]["data"]
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    assert set(environment) <= known
    Settings.from_environment(environment)
    env = {entry["name"] for entry in container(manifests)["env"]}
    assert env <= known


def test_settings_keep_their_values() -> None:
    settings = Settings.from_environment(render(values("keys"))["ConfigMap"]["data"])
    assert settings.max_upload_bytes == 4294967296
    assert settings.queue_seconds == 12.5
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


def test_schema_knows_the_settings_of_the_service() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    kinds = {int: "integer", float: "number", str: "string"}
    hints = get_type_hints(Settings)
    expected = {f.name: kinds.get(hints[f.name], "array") for f in dataclasses.fields(Settings)}
    assert {name: entry["type"] for name, entry in schema.items()} == {
        name: kind for name, kind in expected.items() if name not in CHART_SETTINGS
    }


def test_schema_knows_all_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(schema) - {"global"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"autoscaling": {"enabled": True}, "keda": {"enabled": True}}, "exclude each other"),
        ({"autoscaling": {"enabled": True, "targetStreamPercent": 0}}, "needs targetStreamPercent"),
        ({"apiKeys": {"inline": ["a"], "existingSecret": {"name": "b"}}}, "exclude each other"),
        ({"replicas": 2}, "replicas"),
        ({"settings": {"max_stream": 2}}, "max_stream"),
        ({"settings": {"default_bits": 3}}, "default_bits"),
        ({"settings": {"drain_seconds": 3}}, "drain_seconds"),
        ({"drainSeconds": "30s"}, "drainSeconds"),
    ],
)
def test_wrong_values_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message):
        render_texts(given)


def test_threads_follow_the_cpu() -> None:
    def threads(name: str) -> Manifest:
        return container(render(values(name)))["env"][0]

    assert threads("default")["valueFrom"]["resourceFieldRef"] == {"resource": "requests.cpu", "divisor": "1"}
    assert threads("limits")["valueFrom"]["resourceFieldRef"] == {"resource": "limits.cpu", "divisor": "1"}
    assert threads("placement")["value"] == "2"


def test_autoscaling_reads_what_is_recorded_and_offered() -> None:
    manifests = render(values("autoscaling"))
    assert "replicas" not in manifests["Deployment"]["spec"]
    stream, cpu = manifests["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert stream["object"]["target"] == {"type": "Value", "value": "650m"}
    assert stream["object"]["describedObject"]["name"] == manifests["Service"]["metadata"]["name"]
    assert cpu["resource"]["target"]["averageUtilization"] == 80

    adapter = yaml.safe_load((CHART.parent / "prometheus-adapter-values.yaml").read_text())
    (rule,) = adapter["rules"]["custom"]
    assert rule["name"]["as"] == stream["object"]["metric"]["name"]
    recorded = {r["record"] for g in manifests["PrometheusRule"]["spec"]["groups"] for r in g["rules"] if "record" in r}
    series = re.match(r"[a-z:_]+", rule["seriesQuery"])
    assert series is not None
    assert series[0] in recorded
    assert re.fullmatch(rule["name"]["matches"], series[0])


def test_keda_asks_for_the_recorded_ratio_of_this_release() -> None:
    manifests = render(values("keda"))
    (trigger,) = manifests["ScaledObject"]["spec"]["triggers"]
    assert trigger["metadata"]["query"] == 'max(asr:streams:utilisation{namespace="asr",service="speech-onebit"})'
    assert trigger["metadata"]["threshold"] == "0.7"
    assert manifests["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    assert "HorizontalPodAutoscaler" not in manifests
    assert "replicas" not in manifests["Deployment"]["spec"]


@pytest.mark.parametrize(
    ("name", "there"),
    [("default", False), ("monitoring", True), ("autoscaling", True), ("keda", False), ("placement", False)],
)
def test_disruption_budget_only_above_one_replica(name: str, there: bool) -> None:
    assert ("PodDisruptionBudget" in render(values(name))) is there


def test_rules_and_dashboard_are_the_ones_of_compose() -> None:
    manifests = render(values("monitoring"))
    rules = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))]
    assert manifests["PrometheusRule"]["spec"]["groups"] == [
        group for document in rules for group in document["groups"]
    ]
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/onebit.json").read_text())
    assert json.loads(manifests["Dashboard"]["data"]["onebit.json"]) == dashboard
    assert manifests["Dashboard"]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_network_policy_lets_nothing_out() -> None:
    policy = render(values("network-policy"))["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    assert len(policy["ingress"][0]["from"]) == 2


def test_keys_come_from_a_secret() -> None:
    inline = render(values("keys"))
    assert inline["Secret"]["stringData"]["api-keys"].split() == ["first-key", "second-key"]
    assert "first-key" not in json.dumps(inline["Deployment"]) + json.dumps(inline["ConfigMap"])

    existing = render(values("existing-secret-tls"))
    assert "Secret" not in existing
    volumes = existing["Deployment"]["spec"]["template"]["spec"]["volumes"]
    (keys,) = [volume["secret"] for volume in volumes if volume["name"] == "keys"]
    assert (keys["secretName"], keys["items"]) == ("speech-keys", [{"key": "keys.txt", "path": "api-keys"}])


def test_tls_reaches_probes_and_scraping() -> None:
    manifests = render(values("existing-secret-tls"))
    probes = [
        container(manifests)[f"{kind}Probe"]["httpGet"]["scheme"] for kind in ("startup", "readiness", "liveness")
    ]
    assert probes == ["HTTPS"] * 3
    assert manifests["ServiceMonitor"]["spec"]["endpoints"][0]["scheme"] == "https"
    assert manifests["ConfigMap"]["data"]["ONEBIT_TLS_CERT"] == "/etc/onebit/tls/tls.crt"


def test_other_settings_restart_the_pods() -> None:
    def checksum(given: dict[str, Any]) -> str:
        return render(given)["Deployment"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]

    assert checksum({}) != checksum({"settings": {"default_bits": 1}})


def test_notes_tell_what_is_missing() -> None:
    notes = render_texts({"autoscaling": {"enabled": True}})["onebit/templates/NOTES.txt"]
    assert "without it" in notes
    assert "Whoever reaches the service may use it" in notes
    assert "https://speech.example.com/" in render_texts(values("ingress"))["onebit/templates/NOTES.txt"]


def test_long_names_are_cut() -> None:
    assert len(render({}, release="r" * 53)["Service"]["metadata"]["name"]) <= 63
