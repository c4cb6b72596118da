"""Runs the checks and prints their findings, as text or as JSON."""

import json
import logging
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import structlog
import typer

from headstart_server.doctor.checks import run_checks
from headstart_server.doctor.finding import Finding, Status
from headstart_server.settings.settings import Settings

_COLORS = {
    Status.OK: typer.colors.GREEN,
    Status.WARNING: typer.colors.YELLOW,
    Status.FAILED: typer.colors.RED,
    Status.SKIPPED: typer.colors.BRIGHT_BLACK,
}
#: The widest and narrowest lines of text.
_WIDTHS = (120, 60)


def run_doctor(config: Settings, *, as_json: bool, strict: bool) -> int:
    """Check a server's settings and this machine, and print the findings.

    Args:
        as_json: whether to print JSON instead of text.
        strict: whether warnings count as failures.

    Returns:
        The exit code: 1 if a check failed, else 0.
    """
    # Errors belong into the findings. Logs of the checked parts would break the output.
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
    # File names may hold anything, control sequences of terminals among it.
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
