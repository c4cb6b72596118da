"""Texts of others do not control the terminal."""

from io import StringIO

from rich.table import Table
from rich.text import Text

from headstart.cli.output.safe_console import SafeConsole


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
