"""The audit log: a line for each call, that nothing takes back."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from fakes import ManualClock
from headstart_server.auth.audit import AuditLog


def test_each_line_is_json_with_its_time_and_only_this_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, clock=lambda: 0.5)
    audit.write({"method": "/a/B", "models": ["ü\n"]})
    audit.close()
    [line] = path.read_text().splitlines()
    assert json.loads(line) == {"time": "1970-01-01T00:00:00.500Z", "method": "/a/B", "models": ["ü\n"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("before", "after"), [(0o644, 0o640), (0o666, 0o660), (0o640, 0o640), (0o200, 0o200)]
)
def test_an_existing_file_is_closed_to_others(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "audit.log"
    path.touch()
    path.chmod(before)
    audit = AuditLog(path)
    assert stat.S_IMODE(path.stat().st_mode) == after
    path.chmod(before)
    audit.reopen()
    assert stat.S_IMODE(path.stat().st_mode) == after
    audit.close()


def test_a_file_that_cannot_be_closed_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"
    path.touch()
    path.chmod(0o644)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(PermissionError, match="Run chmod o= on it") as raised:
        AuditLog(path)
    assert raised.value.filename == str(path)


def test_a_start_adds_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for number in range(2):
        audit = AuditLog(path)
        audit.write({"number": number})
        audit.close()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1]


def test_after_it_was_moved_away_it_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.1"
    audit = AuditLog(path)
    audit.write({"number": 1})
    path.rename(old)
    audit.write({"number": 2})
    audit.reopen()
    audit.write({"number": 3})
    audit.close()
    assert [len(each.read_text().splitlines()) for each in (old, path)] == [2, 1]


def test_where_a_new_file_cannot_be_made_the_old_one_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(folder / "audit.jsonl")
    moved = folder.rename(tmp_path / "moved")
    audit.reopen()
    audit.write({"number": 1})
    audit.close()
    assert len((moved / "audit.jsonl").read_text().splitlines()) == 1


def test_of_strangers_so_many_lines_a_second_are_written_and_the_rest_is_counted(tmp_path: Path) -> None:
    clock = ManualClock()
    log = AuditLog(tmp_path / "audit", clock=clock, unauthenticated_rate=3)
    for _ in range(10):
        log.write_unauthenticated("UNAUTHENTICATED UNAUTHENTICATED", {"principal": None, "peer": "a"})
    # Another kind has a separate limit, and lines of identified callers are never omitted.
    log.write_unauthenticated("UNAVAILABLE ISSUER_KEYS_UNAVAILABLE", {"principal": None, "peer": "b"})
    for _ in range(5):
        log.write({"principal": "red"})
    lines = lines_of(tmp_path / "audit")
    assert [line.get("peer") for line in lines] == ["a"] * 3 + ["b"] + [None] * 5

    clock.advance(1.0)
    log.write_unauthenticated("UNAUTHENTICATED UNAUTHENTICATED", {"principal": None, "peer": "c"})
    reported, line = lines_of(tmp_path / "audit")[9:]
    assert (reported["left_out"], reported["reason"], reported["refused"]) == (7, "UNAUTHENTICATED", True)
    assert reported["since"] < reported["time"]
    assert line["peer"] == "c"
    # Reported once, also without further calls.
    for _ in range(4):
        log.write_unauthenticated("UNAUTHENTICATED UNAUTHENTICATED", {"principal": None, "peer": "d"})
    log.flush_omitted()
    log.close()
    assert [line.get("left_out") for line in lines_of(tmp_path / "audit")[11:]] == [None, None, 2]


def test_without_a_limit_every_stranger_has_a_line(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", clock=ManualClock(), unauthenticated_rate=0)
    for _ in range(100):
        log.write_unauthenticated("UNAUTHENTICATED UNAUTHENTICATED", {"principal": None})
    log.close()
    assert len(lines_of(tmp_path / "audit")) == 100


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_callers_that_could_not_be_checked_are_counted_as_not_refused(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", clock=ManualClock(), unauthenticated_rate=1)
    for _ in range(3):
        log.write_unauthenticated(
            "UNAVAILABLE ISSUER_KEYS_UNAVAILABLE", {"principal": None, "refused": False}
        )
    log.close()
    reported = lines_of(tmp_path / "audit")[-1]
    assert (reported["left_out"], reported["outcome"], reported["refused"]) == (2, "UNAVAILABLE", False)


def test_a_dash_writes_to_stdout_also_after_a_reopening(capfd: pytest.CaptureFixture[str]) -> None:
    audit = AuditLog(Path("-"), clock=ManualClock(0.0))
    audit.write({"method": "Delete"})
    audit.reopen()
    audit.write({"method": "SetAlias"})
    audit.close()
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [json.loads(line)["method"] for line in lines] == ["Delete", "SetAlias"]
    assert not Path("-").exists()
