"""The flags of commands, and their help, derived from the settings."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn, overload

import typer
from typer.core import TyperCommand

from headstart_server.settings.setting import Setting
from headstart_server.settings.settings import GROUPS, Settings, SettingsError
from headstart_server.settings.sources import Flag, Loaded, load, with_files

_SHOW_ALL = "headstart.show_all"
#: Replaces a hyphen while text is wrapped, so that a flag is not broken there.
_HYPHEN = "\u2011"
_SOURCES = (
    "Each setting is also an environment variable, such as HEADSTART_JOB_WORKERS for --job-workers, and a "
    "key of the TOML file of --config. docs/reference/settings.md describes all of them."
)


Command = Callable[..., None]


@overload
def with_settings(run: Command) -> Command: ...
@overload
def with_settings(*, names: Collection[str]) -> Callable[[Command], Command]: ...
def with_settings(
    run: Command | None = None, *, names: Collection[str] | None = None
) -> Command | Callable[[Command], Command]:
    """Add flags for settings to a command, whose first argument is the settings of all sources.

    Args:
        run: the command.
        names: names of the settings with flags; None for all. Variables and files set the others.
    """
    if run is None:
        return lambda run: _with_flags(run, names)
    return _with_flags(run, names)


def _with_flags(run: Command, names: Collection[str] | None) -> Command:
    chosen = [one for one in with_files() if names is None or one.name in names]
    own = list(signature(run).parameters.values())[1:]

    def with_flags(**values: Any) -> None:
        flags: dict[str, Flag] = {one.name: values.pop(one.name) for one in chosen}
        values.pop("help_all", None)
        run(load(flags, os.environ, values.pop("config")), **values)

    parameters = [_config(), *own, *map(_parameter, chosen)]
    if names is None:
        parameters.append(_help_all())
    changed: Any = with_flags
    changed.__name__, changed.__doc__ = run.__name__, run.__doc__
    changed.__signature__ = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in parameters])
    changed.__annotations__ = {one.name: one.annotation for one in parameters}
    return with_flags


def settings_of(loaded: Loaded) -> Settings:
    """Return the settings of a command; print their problems and exit with 2 if there are any."""
    try:
        return loaded.settings()
    except SettingsError as error:
        fail(error.problems, code=2)


def fail(problems: Sequence[str], *, code: int = 1) -> NoReturn:
    """Print problems to stderr, one line each, and exit."""
    for problem in problems:
        # The exit code must be right even if stderr is full or closed.
        with suppress(OSError):
            typer.echo(f"headstart-server: {' '.join(problem.split())}", err=True)
    raise typer.Exit(code)


def _parameter(one: Setting) -> Parameter:
    option = typer.Option(
        f"{one.flag}/--no-{one.flag[2:]}" if one.is_switch else one.flag,
        help=_help(one),
        metavar=one.kind.placeholder,
        rich_help_panel=GROUPS[one.section].title,
        show_default=False,
    )
    kind: Any = bool | None if one.is_switch else list[str] | None
    return Parameter(one.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])


def _help(one: Setting) -> str:
    default = one.format(one.default) or one.default_text
    if one.is_switch:
        default = "on" if one.default else ""
    further = [f"Or in a file: {one.file.flag}."] if one.is_secret else []
    further += [f"Default: {default}."] if default else []
    if one.kind.is_repeatable:
        further.append("Repeatable.")
    words = [word for word in one.words if word != default]
    further += [f"Or: {', '.join(words)}."] if words else []
    return " ".join([one.help, *further])


def _config() -> Parameter:
    option = typer.Option(
        "--config",
        "-c",
        envvar="HEADSTART_CONFIG",
        help="TOML file of settings.",
        metavar="FILE",
        show_default=False,
    )
    return Parameter(
        "config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )


def _help_all() -> Parameter:
    option = typer.Option(
        "--help-all",
        is_eager=True,
        callback=_print_all,
        help="Show every setting and exit.",
        show_default=False,
    )
    return Parameter("help_all", Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


def _print_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.meta[_SHOW_ALL] = True
        typer.echo(context.get_help())
        raise typer.Exit


class ServerCommand(TyperCommand):
    """A command of ``headstart-server``: its help has no table, so that a long flag gets a separate line."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        super(TyperCommand, self).format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options by their panels, without the settings that only ``--help-all`` lists."""
        panels: dict[str, list[tuple[str, str]]] = {"Options": []}
        hidden = 0
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            panel = getattr(param, "rich_help_panel", None) or "Options"
            if _is_hidden(param, panel) and _SHOW_ALL not in ctx.meta and self._has_all:
                hidden += 1
                continue
            flag, text = record
            panels.setdefault(panel, []).append((flag, text.replace("-", _HYPHEN)))
        for panel, records in panels.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)
        if self._has_all:
            formatter.write_paragraph()
            more = f" --help-all lists {hidden} more." if hidden else ""
            formatter.write_text(f"{_SOURCES}{more}".replace("-", _HYPHEN))
        formatter.buffer[:] = [part.replace(_HYPHEN, "-") for part in formatter.buffer]

    @property
    def _has_all(self) -> bool:
        return any(param.name == "help_all" for param in self.params)


def _is_hidden(param: Any, panel: str) -> bool:
    one = _ALL.get(param.name or "")
    return one is not None and panel == GROUPS[one.section].title and not one.is_basic


_ALL: Mapping[str, Setting] = {one.name: one for one in with_files()}
