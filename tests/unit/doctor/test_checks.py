"""The report: every check is run, none can break it, and it reads well."""

import threading
from collections.abc import Iterator

import pytest

from headstart_server.doctor.command import CHECKS, run_checks, text_lines
from headstart_server.doctor.finding import Finding, Status, failed, ok, skipped, warning
from headstart_server.settings.setting import Off
from headstart_server.settings.settings import Settings

CONFIG = Settings()


def test_a_check_that_raises_is_a_failure_with_its_error_and_a_remedy():
    def broken(config: Settings) -> Iterator[Finding]:
        yield ok("first", "lost")
        raise RuntimeError("the reason")

    (found,) = run_checks(CONFIG, {"broken": broken})
    assert found.status is Status.FAILED
    assert "RuntimeError: the reason" in found.summary
    assert found.remedy


def test_a_check_that_hangs_costs_its_time_limit_and_no_other_finding():
    release, ended = threading.Event(), threading.Event()

    def hanging(config: Settings) -> Iterator[Finding]:
        release.wait(60)
        ended.set()
        yield ok("hanging", "late")

    found = run_checks(
        CONFIG, {"hanging": hanging, "quick": lambda config: [ok("quick", "done")]}, seconds=1.0
    )
    assert not ended.is_set()
    release.set()
    assert [(one.name, one.status) for one in found] == [("hanging", Status.FAILED), ("quick", Status.OK)]
    assert "within 1 seconds" in found[0].summary


def test_a_warning_or_failure_without_a_remedy_cannot_be_made():
    with pytest.raises(ValueError, match="remedy"):
        failed("name", "summary", "")
    with pytest.raises(ValueError, match="remedy"):
        warning("name", "summary", "")


@pytest.mark.parametrize("password", ["s3cret-word", "p%40ss%2Fword", "with@at", "with/slash"])
def test_passwords_appear_nowhere(password: str):
    config = Settings.of(database=f"postgresql://me:{password}@db:5432/x")

    def leaking(config: Settings) -> Iterator[Finding]:
        url = config.storage.database_url
        yield failed("a", f"no {url}", f"use {url}", url=url)
        yield ok("b", f"password {password}", words=[f"{password}!", "plain"])

    found = run_checks(config, {"leaking": leaking})
    for plain in (password, password.replace("%40", "@").replace("%2F", "/")):
        assert plain not in str(found)
    assert "db:5432" in found[0].summary
    assert found[1].details["words"][1] == "plain"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_keeps_to_its_width_and_aligns_its_columns(width: int):
    findings = [
        ok("one", "fine"),
        warning("two words", "word " * 50, "do " * 50),
        failed("three", f"/a/{'long' * 60}/path", "do something"),
        skipped("four", "off"),
    ]
    lines = list(text_lines(findings, width=width, colored=False))
    assert all(len(line) <= width for line in lines)
    assert lines[0] == "ok       one        fine"
    assert lines[1].startswith("warning  two words  word word")
    assert any(line.startswith(" " * 20 + "-> do do") for line in lines)
    assert lines[-2:] == ["Failed: three.", "1 failed, 1 warning, 1 ok, 1 skipped."]


def test_line_breaks_of_an_error_become_spaces():
    findings = [failed("database", "connection refused\n\tIs the server running?", "Start it.")]
    assert next(text_lines(findings, width=80, colored=False)).endswith(
        "connection refused Is the server running?"
    )


def test_only_terminals_get_colors_and_nothing_of_a_name_controls_them():
    findings = [failed("x\u202e", "file \x1b[31m\n\udcff", "remove it")]
    (first, *_) = text_lines(findings, width=80, colored=False)
    assert "\x1b" not in first
    assert "\udcff" not in first
    (colored, *_) = text_lines(findings, width=80, colored=True)
    assert colored.startswith("\x1b[")


def test_all_checks_of_a_default_server_have_a_place_in_the_report(tmp_path):
    found = run_checks(
        Settings.of(data_dir=tmp_path / "data", port=0, metrics_port=Off.OFF), CHECKS, seconds=60
    )
    names = [one.name for one in found]
    assert len(names) == len(set(names))
    assert {"Python", "packages", "CPU", "runtime", "memory", "backbone", "data folder", "gRPC port"} <= set(
        names
    )
    assert not [one for one in found if one.status is Status.FAILED]
    assert not (tmp_path / "data").exists()
