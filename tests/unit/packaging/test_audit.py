"""The audit of vulnerabilities: what is vulnerable fails, and what was not looked up is no success."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from install.audit import Code, main

CLEAN = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


def program(folder: Path, output: str, code: int = 0, error: str = "") -> tuple[str, str]:
    """Stands for pip-audit."""
    path = folder / "pip_audit.py"
    path.write_text(f"import sys\nprint({output!r})\nprint({error!r}, file=sys.stderr)\nsys.exit({code})\n")
    return sys.executable, str(path)


def listed(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


@pytest.mark.parametrize(
    ("dependencies", "code", "said"),
    [
        ([CLEAN], Code.CLEAN, "1 packages audited, 0 vulnerable"),
        ([CLEAN, SKIPPED], Code.CLEAN, "without an answer: own"),
        ([CLEAN, BAD], Code.VULNERABLE, "bad 1.0: PYSEC-1; fixed in 1.1"),
        ([SKIPPED], Code.NOT_AUDITED, "NOT AUDITED"),
        ([], Code.NOT_AUDITED, "NOT AUDITED"),
    ],
)
def test_what_was_found_decides(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    dependencies: list[dict[str, Any]],
    code: Code,
    said: str,
) -> None:
    fake = program(tmp_path, listed(*dependencies), code=int(BAD in dependencies))
    assert main([], fake) == code
    assert said in capsys.readouterr().out


def test_a_service_that_cannot_be_reached_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = program(tmp_path, "", code=1, error="ERROR: connection refused")
    assert main([], fake) == Code.NOT_AUDITED
    assert "connection refused" in capsys.readouterr().out


def test_ci_goes_on_without_advisories_and_never_with_a_vulnerability(tmp_path: Path) -> None:
    assert main(["--allow-unreachable"], program(tmp_path, listed(SKIPPED))) == Code.CLEAN
    assert main(["--allow-unreachable"], program(tmp_path, listed(BAD), code=1)) == Code.VULNERABLE
