"""Texts of others do not control the terminal."""

import json
import sys
from io import StringIO

import pytest
import typer
from rich.table import Table
from rich.text import Text

from headstart.cli.completion import _is_plain
from headstart.cli.confirmation import confirm
from headstart.cli.output.safe_console import SafeConsole, SafeOutput, print_json


def test_control_characters_of_texts_are_removed_and_styles_stay() -> None:
    console = SafeConsole(file=StringIO(), width=60, force_terminal=True, color_system="standard")
    table = Table.grid()
    table.add_row(Text("red\x1b[2Jcat\u202egod", style="red"), Text("\u05d0\u05d1 na\u00efve \U0001f600"))
    console.print(table)
    console.print(Text("one\ntwo\x9b"))
    printed = console.file.getvalue()
    assert "red[2Jcatgod" in printed
    assert "\x1b[31m" in printed
    assert "\u05d0\u05d1 na\u00efve \U0001f600" in printed
    assert printed.endswith("one\ntwo\n")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "expected"), [(Terminal, "a[2J\nb"), (StringIO, "a\x1b[2J\n\tb")])
def test_only_a_terminal_gets_texts_for_programs_without_them(
    monkeypatch: pytest.MonkeyPatch, stream: type[StringIO], expected: str
) -> None:
    monkeypatch.setattr(sys, "stdout", written := stream())
    SafeOutput().write("a\x1b[2J\n\tb")
    assert written.getvalue() == expected


def test_json_has_them_as_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "\x1b\x7f\x9b\u202e na\u00efve"})
    printed = capsys.readouterr().out
    assert printed == '{"a": "\\u001b\\u007f\\u009b\\u202e na\u00efve"}\n'
    assert json.loads(printed) == {"a": "\x1b\x7f\x9b\u202e na\u00efve"}


def test_all_outputs_are_valid_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", written := StringIO())
    SafeOutput().write("caf\udce9 \u00e9\n")
    print_json({"a": "caf\udce9 \u00e9"})
    SafeConsole(file=written, width=60).print(Text("caf\udce9 \u00e9"))
    assert written.getvalue() == 'caf? \u00e9\n{"a": "caf? \u00e9"}\ncaf? \u00e9\n'


def test_a_question_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question))
    confirm("delete model pets with 1 alias (a\x1b[2J)", skip=False)
    assert questions == ["Delete model pets with 1 alias (a[2J)?"]


@pytest.mark.parametrize(
    ("name", "is_plain"),
    [
        ("pets@stable", True),
        ("hub:org/net-1.0", True),
        (("job-1", "pets, running"), True),
        ("a;b", False),
        ("$(x)", False),
        ("`x`", False),
        ("a b", False),
        ("--server=x", False),
        ("a\n", False),
        ("\x1b[2J", False),
        ("", False),
        (("job-1", "$(x), running"), False),
    ],
)
def test_a_shell_gets_only_names_that_it_does_not_evaluate(
    name: str | tuple[str, str], is_plain: bool
) -> None:
    assert _is_plain(name) is is_plain
