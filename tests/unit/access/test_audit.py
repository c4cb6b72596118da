"""The audit log: a line for each call, that nothing takes back."""

import json
import stat
from pathlib import Path

from headstart_server.access.audit import AuditLog


def test_each_line_is_json_with_its_time_and_only_this_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, clock=lambda: 0.5)
    audit.write({"method": "/a/B", "models": ["ü\n"]})
    audit.close()
    [line] = path.read_text().splitlines()
    assert json.loads(line) == {"time": "1970-01-01T00:00:00.500Z", "method": "/a/B", "models": ["ü\n"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


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
