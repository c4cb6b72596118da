"""A real Prometheus of the tests' own: Debian's programs, a temporary folder, a free port of the loopback."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

import programs
from server_process import free_port

HOST = "127.0.0.1"
MONITORING = Path(__file__).parents[1] / "k8s" / "monitoring"
RULES = "headstart.rules.yaml"


def write_rules(folder: Path) -> Path:
    """Write the rules as Prometheus reads them, without the operator's wrapping."""
    resource = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    path = folder / RULES
    path.write_text(yaml.safe_dump(resource["spec"]))
    return path


def rules() -> list[dict[str, Any]]:
    """All rules, those that record and those that alert."""
    resource = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    return [rule for group in resource["spec"]["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    return json.loads((MONITORING / "dashboard.json").read_text())


def dashboard_queries() -> list[str]:
    """What the dashboard asks for, with its variables as Grafana would fill them."""
    return [
        target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*")
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    ]


class PrometheusServer:
    """One Prometheus that scrapes a server each second and evaluates the rules.

    Args:
        folder: where its data and settings go.
        target: host and port of the metrics.
    """

    def __init__(self, folder: Path, target: str) -> None:
        write_rules(folder)
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [RULES],
            "scrape_configs": [{"job_name": "headstart", "static_configs": [{"targets": [target]}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        self._url = f"http://{HOST}:{free_port()}"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    programs.PROMETHEUS.need(),
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                    "--enable-feature=exemplar-storage",
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        return self._fetch("query", query=expression)["result"]

    def has(self, expression: str) -> bool:
        """Whether an expression gives a series now."""
        return bool(self.query(expression))

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        """The exemplars of the series of a selector."""
        now = time.time()
        return self._fetch("query_exemplars", query=expression, start=str(now - 600), end=str(now + 600))

    def is_ready(self) -> bool:
        """Whether it answers."""
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def rule_errors(self) -> list[str]:
        """What its rules failed with."""
        groups = self._fetch("rules")["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)

    def _fetch(self, what: str, **fields: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(fields)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
