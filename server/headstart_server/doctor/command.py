"""Runs the checks and prints their findings, as text or as JSON."""

import json
import logging
import shutil
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import structlog
import typer

from headstart_server.doctor.artifacts import check_artifacts
from headstart_server.doctor.backbones import check_backbones
from headstart_server.doctor.database import check_database
from headstart_server.doctor.disk import check_disk
from headstart_server.doctor.finding import Check, Finding, Status, failed, redacted
from headstart_server.doctor.hardware import check_hardware
from headstart_server.doctor.packages import check_packages
from headstart_server.doctor.ports import check_ports
from headstart_server.doctor.process import check_process
from headstart_server.doctor.security import check_security, check_tls
from headstart_server.settings.settings import Settings

#: Maximum seconds of one check, above the database's own timeout of 5 s for each answer.
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
        except Exception as error:  # noqa: BLE001 - reported as a finding
            found[name] = [_raised(name, error)]

    # Daemon threads, because a hanging file system must not keep the process alive.
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


_COLORS = {
    Status.OK: typer.colors.GREEN,
    Status.WARNING: typer.colors.YELLOW,
    Status.FAILED: typer.colors.RED,
    Status.SKIPPED: typer.colors.BRIGHT_BLACK,
}
#: Maximum and minimum width of lines.
_WIDTHS = (120, 60)


def run_doctor(config: Settings, *, as_json: bool, strict: bool) -> int:
    """Check a server's settings and this machine, print the findings, and return the exit code.

    The code is 1 if a check failed, or with `strict` if there is a warning; otherwise 0.
    """
    # Errors are reported as findings. Logs of the checked parts would break the output.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    findings = run_checks(config)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        widest, narrowest = _WIDTHS
        width = max(narrowest, min(widest, shutil.get_terminal_size().columns))
        for line in text_lines(findings, width=width, colored=sys.stdout.isatty()):
            typer.echo(line)
    bad = {Status.FAILED, Status.WARNING} if strict else {Status.FAILED}
    return int(any(finding.status in bad for finding in findings))


def text_lines(findings: Sequence[Finding], *, width: int, colored: bool) -> Iterator[str]:
    """Yield the report: status, name and fact in columns, remedies below them, and a summary."""
    names = max((len(finding.name) for finding in findings), default=0)
    indent = " " * (max(map(len, Status)) + names + 4)
    for finding in findings:
        status = finding.status.ljust(max(map(len, Status)))
        if colored:
            status = typer.style(status, fg=_COLORS[finding.status])
        first, *more = _wrapped(finding.summary, width - len(indent))
        yield f"{status}  {finding.name.ljust(names)}  {first}"
        for line in more:
            yield indent + line
        if finding.remedy:
            for number, line in enumerate(_wrapped(finding.remedy, width - len(indent) - 3)):
                yield f"{indent}{'   ' if number else '-> '}{line}"
    yield ""
    if names_of_failed := ", ".join(each.name for each in findings if each.status is Status.FAILED):
        yield from _wrapped(f"Failed: {names_of_failed}.", width)
    yield _summary(findings)


def _wrapped(text: str, width: int) -> list[str]:
    # File names may contain any bytes, including terminal control sequences.
    printable = "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))
    return textwrap.wrap(printable, max(20, width), break_on_hyphens=False) or [""]


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.status for finding in findings)
    warnings = counts[Status.WARNING]
    parts = [
        f"{counts[Status.FAILED]} failed",
        f"{warnings} warning{'' if warnings == 1 else 's'}",
        f"{counts[Status.OK]} ok",
        f"{counts[Status.SKIPPED]} skipped",
    ]
    return ", ".join(parts) + "."
