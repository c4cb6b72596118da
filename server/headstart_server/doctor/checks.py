"""Runs all checks concurrently, each within a time limit."""

import threading
import time
from collections.abc import Mapping

from headstart_server.doctor.artifacts import check_artifacts
from headstart_server.doctor.backbones import check_backbones
from headstart_server.doctor.database import check_database
from headstart_server.doctor.disk import check_disk
from headstart_server.doctor.finding import Check, Finding, failed
from headstart_server.doctor.hardware import check_hardware
from headstart_server.doctor.packages import check_packages
from headstart_server.doctor.ports import check_ports
from headstart_server.doctor.process import check_process
from headstart_server.doctor.redaction import redacted
from headstart_server.doctor.security import check_security
from headstart_server.doctor.tls import check_tls
from headstart_server.settings.settings import Settings

#: Seconds that one check may take. The database's own limit, 5 s for each answer, comes first.
CHECK_SECONDS = 10.0

#: All checks, in the order of the report.
CHECKS: Mapping[str, Check] = {
    "process": check_process,
    "packages": check_packages,
    "hardware": check_hardware,
    "backbones": check_backbones,
    "disk": check_disk,
    "ports": check_ports,
    "database": check_database,
    "bucket": check_artifacts,
    "TLS": check_tls,
    "security": check_security,
}


def run_checks(
    config: Settings, checks: Mapping[str, Check] = CHECKS, *, seconds: float = CHECK_SECONDS
) -> list[Finding]:
    """Return the findings of all checks, in their order."""
    found: dict[str, list[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = list(check(config))
        except Exception as error:  # noqa: BLE001 - the report is the only place for it
            found[name] = [_raised(name, error)]

    # Daemons: a file system that hangs must not keep the process alive.
    threads = [threading.Thread(target=run, args=each, daemon=True) for each in checks.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    results = dict(found)
    return [
        redacted(config, finding) for name in checks for finding in results.get(name, [_late(name, seconds)])
    ]


def _raised(name: str, error: Exception) -> Finding:
    return failed(
        name,
        f"The check could not be completed: {type(error).__name__}: {str(error)[:300]}",
        "Correct the cause if the message names one, else report this as a fault of Headstart.",
        error=type(error).__name__,
    )


def _late(name: str, seconds: float) -> Finding:
    return failed(
        name,
        f"The check did not end within {seconds:g} seconds: something that it uses does not answer.",
        "Check that network file systems, name servers and hosts named in the settings can be reached.",
    )
