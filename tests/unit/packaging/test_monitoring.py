"""Alert rules and dashboard: what Prometheus' own checker says of them, and that they name what there is."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from headstart_server.observability.metrics import CPU_CORES, DATABASE_AVAILABLE, METRICS, Kind, Metric
from headstart_server.observability.telemetry import Telemetry
from programs import PROMTOOL
from prometheus import MONITORING, dashboard, dashboard_queries, rules, write_rules


def samples_of(metric: Metric) -> list[str]:
    """Return the names of the series of a metric."""
    if metric.kind is Kind.HISTOGRAM:
        return [metric.name + end for end in ("_bucket", "_sum", "_count")]
    return [metric.name]


def test_promtool_finds_no_fault_in_the_rules(tmp_path: Path):
    check = [PROMTOOL.need(), "check", "rules", str(write_rules(tmp_path))]
    ended = subprocess.run(check, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(rules())} rules found" in ended.stdout


def test_the_rules_alert_when_they_must_and_are_silent_otherwise(tmp_path: Path):
    write_rules(tmp_path)
    shutil.copy(MONITORING / "rules-test.yaml", tmp_path)
    test = [PROMTOOL.need(), "test", "rules", "rules-test.yaml"]
    ended = subprocess.run(test, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_is_tested_in_both_directions():
    tested = yaml.safe_load((MONITORING / "rules-test.yaml").read_text())
    cases = [case for test in tested["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}

    assert fires == alerts
    assert alerts - silent == {"HeadstartPredictSlow", "HeadstartGpuMemoryFull"}


def test_each_alert_has_a_section_that_says_what_to_do():
    page = (MONITORING.parents[1] / "docs" / "operate" / "monitoring.md").read_text()
    sections = set(re.findall(r"^### (Headstart\w+)$", page, re.MULTILINE))

    assert sections == {rule["alert"] for rule in rules() if "alert" in rule}


def test_rules_and_dashboard_name_metrics_that_there_are():
    known = {rule["record"] for rule in rules() if "record" in rule}
    known |= {sample for metric in METRICS for sample in samples_of(metric)}
    known |= {sample.name for family in Telemetry("test").registry.collect() for sample in family.samples}
    named = set()
    for expression in [rule["expr"] for rule in rules()] + dashboard_queries():
        named |= set(re.findall(r"\b(?:grpc_server|headstart|process)[_:][\w:]+", expression))

    assert named - known == set()
    assert "headstart:embedding_latency_seconds:p99_5m" in named


def test_only_declared_metrics_are_in_the_registry():
    registry = Telemetry("test").registry
    declared = {metric.name.removesuffix("_total") for metric in METRICS}
    ours = {family.name for family in registry.collect() if not family.name.startswith("process_")}

    assert ours <= declared
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_promtool_finds_no_fault_in_any_metric():
    registry = CollectorRegistry()
    for metric in METRICS:
        labels = ["value"] * len(metric.labels)
        if metric.kind is Kind.COUNTER:
            series = metric.counter(registry)
        elif metric.kind is Kind.GAUGE:
            series = metric.gauge(registry)
        else:
            series = metric.histogram(registry)
        if labels:
            series.labels(*labels)
    check = [PROMTOOL.need(), "check", "metrics"]
    ended = subprocess.run(check, input=generate_latest(registry), capture_output=True, check=False)

    assert (ended.returncode, ended.stdout + ended.stderr) == (0, b"")


def test_a_metric_that_cannot_be_read_is_left_out_of_the_scrape_and_logged():
    telemetry = Telemetry("test")
    telemetry.read(DATABASE_AVAILABLE, lambda: 1 / 0)
    telemetry.read(CPU_CORES, lambda: 2.0)
    with capture_logs() as logs:
        shown = generate_latest(telemetry.registry).decode()

    assert "headstart_cpu_cores 2.0\n" in shown
    assert "\nheadstart_database_available " not in shown
    assert [(entry["event"], entry["metric"]) for entry in logs] == [
        ("metric_read_failed", "headstart_database_available")
    ]


def test_the_dashboard_is_what_grafana_imports():
    read = dashboard()
    panels = [panel for panel in read["panels"] if panel["type"] != "row"]

    assert len({panel["id"] for panel in read["panels"]}) == len(read["panels"])
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert {variable["name"] for variable in read["templating"]["list"]} == {"datasource", "job"}
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in read["panels"]]
    assert len(set(places)) == len(places)


def test_the_kustomization_has_the_rules_and_the_dashboard(kustomize: Callable[[Path], list[Any]]):
    kinds = {document["kind"]: document for document in kustomize(MONITORING)}

    assert set(kinds) == {"PrometheusRule", "ConfigMap"}
    assert kinds["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert kinds["ConfigMap"]["data"]["headstart.json"] == (MONITORING / "dashboard.json").read_text()


def test_what_alerts_watch_the_first_time_begins_at_zero():
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in Telemetry("test").registry.collect()
        for sample in family.samples
    }

    assert shown["headstart_job_runs_total", "failed"] == 0
    assert shown["headstart_feature_cache_requests_total", "memory"] == 0
    assert shown["headstart_job_takeovers_total",] == 0
