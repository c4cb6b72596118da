"""The help of the command: golden files of what a new user reads first, and one screen for each command."""

import os
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headstart.cli.app import app
from headstart.spec import RECIPES

GOLDEN = Path(__file__).with_name("golden")
NOUNS = {group.typer_instance.info.name: group.typer_instance for group in app.registered_groups}
TOP = [each.name or each.callback.__name__ for each in app.registered_commands]
COMMANDS = [[name] for name in TOP] + [
    [name, each.name or each.callback.__name__]
    for name, noun in NOUNS.items()
    for each in noun.registered_commands
]
SCREEN = 40
#: The list of all commands has a line for each.
TOP_SCREEN = 46


@cache
def shown(*arguments: str, columns: int = 100) -> str:
    result = CliRunner().invoke(app, list(arguments), prog_name="headstart", env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ["", *NOUNS])
def test_the_help_of_each_noun_is_its_golden_file(name):
    """Set UPDATE_GOLDEN=1 to write the files again, and read the difference."""
    text = shown(*filter(None, [name]), "--help")
    file = GOLDEN / f"{'-'.join(filter(None, ['headstart', name]))}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)

    assert text == file.read_text()


def test_the_top_help_names_every_command_and_the_complete_help_the_exit_codes():
    assert all(f"\n  {name} " in shown("--help") for name in [*TOP, *NOUNS])
    assert "\nExit codes:\n  0    Success.\n" in shown("--help-all")
    assert "\n  130  Interrupted" in shown("--help-all")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_has_an_example_that_can_be_copied(command):
    for columns in (60, 100):
        text = shown(*command, "--help", columns=columns)
        assert f"\nExample: headstart {' '.join(command)}" in text


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_help_truncates_an_option(command):
    for columns in (40, 80, 100):
        text = shown(*command, "--help-all", columns=columns)
        assert "…" not in text
        assert "\nGlobal options:\n  --server HOST:PORT" in text


@pytest.mark.parametrize("command", [[], *([name] for name in NOUNS), *COMMANDS], ids=" ".join)
def test_each_help_fits_one_screen(command):
    lines = shown(*command, "--help").splitlines()

    assert len(lines) <= (SCREEN if command else TOP_SCREEN)
    assert [line for line in lines if len(line) > 100] == []


def test_the_complete_help_lists_each_setting_of_each_recipe():
    text = shown("fine-tune", "--help-all")
    recipes = {name: {each.name for each in fields(kind)} - {"view"} for name, kind in RECIPES.items()}

    for setting in set().union(*recipes.values()):
        having = ", ".join(name for name, settings in recipes.items() if setting in settings)
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {setting} ")]
        assert line.endswith(f"({having})")


def test_help_has_a_short_option():
    assert shown("-h") == shown("--help")
