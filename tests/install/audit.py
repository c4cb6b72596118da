"""Look for known vulnerabilities of the environment and the lock files: ``python -m install.audit``.

pip-audit reads the advisories of the package index. A mirror of the public index may have none: then nothing
was audited, which is reported and is no success.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "server/locks"
PROGRAM = (sys.executable, "-m", "pip_audit")


class Code(IntEnum):
    """How an audit ends."""

    CLEAN = 0
    VULNERABLE = 1
    NOT_AUDITED = 3


@dataclass(kw_only=True)
class Audit:
    """What was found.

    Attributes:
        audited: packages that were looked up.
        skipped: packages without an answer, with the reason.
        vulnerable: each package with its advisories.
        failure: why there is no result at all; empty if there is one.
    """

    audited: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    vulnerable: dict[str, str] = field(default_factory=dict)
    failure: str = ""

    @property
    def code(self) -> Code:
        if self.vulnerable:
            return Code.VULNERABLE
        return Code.CLEAN if self.audited else Code.NOT_AUDITED


def audit(arguments: Sequence[str], program: Sequence[str] = PROGRAM) -> Audit:
    """Run pip-audit with some arguments."""
    command = [*program, "--format", "json", "--progress-spinner", "off", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return Audit(failure=lines[-1][:500] if lines else f"pip-audit ended with {done.returncode}")
    return _result(found)


def _result(dependencies: Iterable[dict[str, Any]]) -> Audit:
    result = Audit()
    for each in dependencies:
        name = f"{each['name']} {each.get('version', '')}".strip()
        if "skip_reason" in each:
            result.skipped[name] = each["skip_reason"]
            continue
        result.audited += 1
        if each["vulns"]:
            fixes = ", ".join(sorted({fix for one in each["vulns"] for fix in one["fix_versions"]}))
            ids = ", ".join(one["id"] for one in each["vulns"])
            result.vulnerable[name] = f"{ids}; fixed in {fixes or 'no release yet'}"
    return result


def report(what: str, result: Audit) -> str:
    """What an audit found, in lines."""
    lines = [f"VULNERABLE {what}: {name}: {advisories}" for name, advisories in result.vulnerable.items()]
    if result.code is Code.NOT_AUDITED:
        reason = result.failure or next(iter(result.skipped.values()), "it has no packages")
        lines.append(
            f"NOT AUDITED {what}: the package index has no advisories, or is unreachable ({reason}). "
            "Run it where the public index can be reached, or name another service: "
            "make audit ARGS='--vulnerability-service osv'."
        )
    else:
        lines.append(f"{what}: {result.audited} packages audited, {len(result.vulnerable)} vulnerable")
        if result.skipped:
            lines.append(f"{what}: without an answer: {', '.join(sorted(result.skipped))}")
    return "\n".join(lines)


def main(arguments: Sequence[str], program: Sequence[str] = PROGRAM) -> int:
    """Audit the environment and each lock file; the exit code is the worst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--allow-unreachable", action="store_true", help="end with 0 if no advisories can be reached"
    )
    chosen, rest = parser.parse_known_args(arguments)
    parts = {"the environment": ["--local", "--skip-editable"]}
    for lock in sorted(LOCKS.glob("*.txt")):
        parts[str(lock.relative_to(ROOT))] = ["--disable-pip", "--require-hashes", "--requirement", str(lock)]
    codes = set[Code]()
    for what, flags in parts.items():
        result = audit([*flags, *rest], program)
        print(report(what, result))
        codes.add(result.code)
        if result.code is Code.NOT_AUDITED:
            # The other parts would ask the same service.
            break
    if Code.VULNERABLE in codes:
        return Code.VULNERABLE
    if Code.NOT_AUDITED in codes:
        return Code.CLEAN if chosen.allow_unreachable else Code.NOT_AUDITED
    return Code.CLEAN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
