"""The command ``headstart-server config``: shows, checks and writes settings."""

import json
from pathlib import Path
from typing import Annotated

import typer

from headstart_server.settings.document import effective_toml, toml_template
from headstart_server.settings.options import ServerCommand, fail, with_settings
from headstart_server.settings.settings import SETTINGS, SettingsError
from headstart_server.settings.sources import DEFAULT, Loaded, Value, plain

config = typer.Typer(help="Show, check and write settings.", no_args_is_help=True, rich_markup_mode=None)


@config.command("show", cls=ServerCommand)
@with_settings
def show(
    loaded: Loaded,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
) -> None:
    """Print the effective settings as TOML, with their origins.

    Secrets are masked. Exits with 1 if a setting is invalid; config check reports all problems.
    """
    if as_json:
        typer.echo(json.dumps([_json(name, value) for name, value in loaded.values.items()], indent=2))
    else:
        typer.echo(effective_toml(loaded.values), nl=False)
    if problems := _problems(loaded):
        fail(problems)


@config.command("check", cls=ServerCommand)
@with_settings
def check(loaded: Loaded) -> None:
    """Report every problem of the settings and their files.

    Exits with 1 if it finds a problem.
    """
    problems = _problems(loaded)
    for warning in loaded.warnings:
        typer.echo(f"headstart-server: Warning: {warning}", err=True)
    if problems:
        fail(problems)
    changed = sum(value.origin != DEFAULT for value in loaded.values.values())
    typer.echo(
        f"No problems found. {changed} of {len(SETTINGS)} settings are set; the others have their defaults.\n"
        "To check this machine, the ports, the database and the bucket, run headstart-server doctor with the "
        "same settings."
    )


@config.command("init", cls=ServerCommand)
def init(
    file: Annotated[
        Path | None,
        typer.Argument(help="New file to write. Default: stdout.", metavar="FILE"),
    ] = None,
) -> None:
    """Write a TOML file with every setting.

    Each setting has its description and its default, commented out.
    """
    if file is None:
        typer.echo(toml_template(), nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(toml_template())
    except FileExistsError:
        fail([f"{file} exists. Remove it, or choose another file."])
    except OSError as error:
        fail([f"Cannot write {file}: {error.strerror}. Choose another file."])


def _problems(loaded: Loaded) -> list[str]:
    from headstart_server.app.start_checks import address_problems, file_problems

    try:
        settings = loaded.settings()
    except SettingsError as error:
        return [*error.problems]
    return [*address_problems(settings), *file_problems(settings)]


def _json(name: str, value: Value) -> dict[str, object]:
    one = SETTINGS[name]
    return {"name": name, "section": one.section, "value": plain(one, value.value), "origin": value.origin}
