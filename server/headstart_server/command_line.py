"""The class of every command: repeatable settings in the environment, and a help that truncates nothing."""

from functools import partial
from typing import Any

from typer.core import TyperCommand

#: Repeatable settings whose values contain commas.
_WITH_COMMAS = {"backbone", "add_backbone"}


class ServerCommand(TyperCommand):
    """A command of ``headstart-server``."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        for option in self.params:
            if getattr(option, "multiple", False):
                splits: Any = option
                splits.value_from_envvar = partial(_texts_of, option)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without a table, so that a long name has a line to itself."""
        super(TyperCommand, self).format_help(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options by their panels."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                panel = getattr(param, "rich_help_panel", None) or "Options"
                panels.setdefault(panel, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def texts_in(value: str, *, at_commas: bool = True) -> list[str]:
    """Return the texts in an environment variable: one a line, or in a single line with commas between them.

    Args:
        value: of the variable.
        at_commas: whether commas separate texts; else they belong to them.
    """
    separator = "," if at_commas and "\n" not in value.strip() else "\n"
    return [text.strip() for text in value.split(separator) if text.strip()]


def _texts_of(option: Any, ctx: Any) -> list[str] | None:
    value = option.resolve_envvar_value(ctx)
    return None if value is None else texts_in(value, at_commas=option.name not in _WITH_COMMAS)
