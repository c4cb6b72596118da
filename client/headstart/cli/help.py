"""Help of commands as plain text, and --help-all for the advanced options."""

import itertools
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from headstart.cli.option_groups import expanded
from headstart.cli.output.formats import DOCUMENT, Format

Function = TypeVar("Function", bound=Callable[..., Any])

ADVANCED = "Advanced options"
"""Panel of the options that only --help-all lists."""
_GLOBAL = "Global options"
_HELP_ALL = "--help-all"
_COMPLETION = ("install_completion", "show_completion")  # added by typer
_MAX_NAME = 30
_MAX_WIDTH = 100
_INDENT = 2
_GAP = 2


class Command(TyperCommand):
    """A command whose --help fits on one screen."""

    formats: Sequence[Format] = DOCUMENT  # supported output formats

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002  # an override
        """Return the arguments of the usage line."""
        return _usage_pieces(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, or print the complete help."""
        if _HELP_ALL in _options_of(args) and not ctx.resilient_parsing:
            _print_all(self, ctx)
        has_output = any("-o" in each.opts for each in self.params)
        if "-o" in _options_of(args) and not has_output and not ctx.resilient_parsing:
            received = next(iter(args[args.index("-o") + 1 :]), "nothing")
            ctx.fail(f"-o takes {_listed(self.formats)} here. Received: {received}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command, unless it does not support the output format."""
        requested = ctx.obj.options.format
        if requested not in self.formats:
            ctx.fail(f"-o takes {_listed(self.formats)} here. Received: {requested}")
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_text(self, ctx))


class NounGroup(TyperGroup):
    """The commands of one kind of resource."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002  # an override
        """Return the placeholder of the command."""
        return ["COMMAND ..."]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, or print the complete help."""
        before = itertools.takewhile(lambda each: each.startswith("-"), args)
        if _HELP_ALL in before and not ctx.resilient_parsing:
            _print_all(self, ctx)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_text(self, ctx))


class Commands(typer.Typer):
    """A group of commands of the class `Command`."""

    def command(
        self, name: str | None = None, *, formats: Sequence[Format] = DOCUMENT, **more: Any
    ) -> Callable[[Function], Function]:
        """Return a decorator that adds a function as a command with these output formats."""
        kind = type("Command", (Command,), {"formats": tuple(formats)})
        add = super().command(name, cls=kind, **more)

        def decorate(function: Function) -> Function:
            add(expanded(function))
            return function

        return decorate


def noun(name: str, help: str) -> Commands:
    """Return the group of commands of one kind of resource."""
    return Commands(name=name, help=help, cls=NounGroup, no_args_is_help=True)


def help_text(command: Any, ctx: Any, *, everything: bool = False) -> str:
    """Return the help of a command; `everything` includes advanced and global options."""
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    usage = " ".join(["Usage:", ctx.command_path, *command.collect_usage_pieces(ctx)])
    blocks = [usage, *_paragraphs(command.help or "", width)]
    arguments = [each for each in command.params if each.param_type_name == "argument" and each.help]
    blocks += _section("Arguments", [(_argument(each), each.help) for each in arguments], width)
    for name, commands in _subcommands(command, ctx).items():
        blocks += _section(name, commands, width)
    sections, left_out = _options(command, everything=everything)
    if everything and ctx.parent is not None:
        of_root = _options(ctx.find_root().command, everything=True)[0]
        sections[_GLOBAL] = [each for records in of_root.values() for each in records]
    for name, records in sections.items():
        blocks += _section(name, records, width)
    blocks.append(_last_lines(command, ctx, left_out, width, everything=everything))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _usage_pieces(command: Any) -> list[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    return ["[OPTIONS]", *map(_argument, arguments)]


def _print_all(command: Any, ctx: Any) -> None:
    print(help_text(command, ctx, everything=True), end="")
    ctx.exit()


def _options_of(args: list[str]) -> list[str]:
    return args[: args.index("--")] if "--" in args else args


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    if argument.nargs != 1 and not name.endswith("..."):
        name += "..."
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _options(command: Any, *, everything: bool) -> tuple[dict[str, list[tuple[str, str]]], int]:
    """Return the options by panel, and the number of omitted ones."""
    panels: dict[str, list[tuple[str, str]]] = {}
    left_out = 0
    for each in command.params:
        if each.param_type_name != "option" or each.hidden:
            continue
        panel = ADVANCED if each.name in _COMPLETION else each.rich_help_panel or "Options"
        if panel == ADVANCED and not everything:
            left_out += 1
            continue
        panels.setdefault(panel, []).append((_option(each), _described(each)))
    return panels, left_out


def _option(option: Any) -> str:
    names = [*sorted(option.opts, key=len), *option.secondary_opts]
    value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
    return f"{', '.join(names)}{value}"


def _described(option: Any) -> str:
    notes = []
    if option.envvar:
        notes.append(f"env: {option.envvar}")
    default = option.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and option.show_default:
        notes += [f"default: {default}"] if isinstance(default, str) else [f"default: {default:g}"]
    if option.required:
        notes.append("required")
    return " ".join([option.help or "", *(f"[{'; '.join(notes)}]" for _ in notes[:1])])


def _subcommands(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    panels: dict[str, list[tuple[str, str]]] = {}
    for name in command.list_commands(ctx) if isinstance(command, TyperGroup) else ():
        each: Any = command.get_command(ctx, name)
        if each is not None and not each.hidden:
            panel = each.rich_help_panel or "Commands"
            panels.setdefault(panel, []).append((name, _first_sentence(each.help or "")))
    return panels


def _first_sentence(text: str) -> str:
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return first.split(". ")[0].removesuffix(".")


def _paragraphs(text: str, width: int) -> Iterator[str]:
    examples: list[str] = []
    for paragraph in text.replace("`", "").split("\n\n"):
        line = " ".join(paragraph.split())
        if ": headstart" in line:
            examples.append(line)
        elif line:
            yield "\n".join(_wrapped(line, width))
    if examples:
        yield "\n".join(examples)  # not wrapped, so that they can be copied


def _section(name: str, records: Iterable[tuple[str, str]], width: int) -> list[str]:
    rows = list(records)
    if not rows:
        return []
    column = min(max(len(left) for left, _ in rows), _MAX_NAME) + _INDENT + _GAP
    lines = [f"{name}:"]
    for left, right in rows:
        wrapped = _wrapped(right.replace("`", ""), max(width - column, 20)) or [""]
        if len(left) + _INDENT + _GAP > column:
            lines.append(" " * _INDENT + left)
        else:
            lines.append(((" " * _INDENT + left).ljust(column) + wrapped.pop(0)).rstrip())
        lines += [" " * column + each for each in wrapped]
    return ["\n".join(lines)]


def _last_lines(command: Any, ctx: Any, left_out: int, width: int, *, everything: bool) -> str:
    if everything:
        return command.epilog or ""
    lines = []
    if left_out:
        count = f"{left_out} more option{'s' if left_out > 1 else ''}"
        lines.append(f"{ctx.command_path} {_HELP_ALL} lists {count}.")
    if isinstance(command, Command):
        lines.append(f"Output: -o {_listed(command.formats)}.")
    if ctx.parent is not None:
        lines.append(f"Global options, such as --server: {ctx.find_root().command_path} --help")
    return "\n".join(each for line in lines for each in _wrapped(line, width))


def _listed(formats: Sequence[Format]) -> str:
    *first, last = formats
    return f"{', '.join(first)} or {last}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
