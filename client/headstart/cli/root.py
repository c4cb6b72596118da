"""The root command: global options and error handling."""

import json
from typing import Any

import typer
from rich.console import Console

from headstart.cli.exits import ExitCode, Failure, exit_code, explain
from headstart.cli.help import NounGroup
from headstart.cli.output.formats import Format
from headstart.errors import HeadstartError

__all__ = ["RootGroup"]

_UsageError: Any = typer.BadParameter.__mro__[1]  # typer exports only its subclass
_FLAGS = frozenset({"--json", "--tls"})
_VALUES = frozenset(
    {"--server", "--context", "--ca", "--cert", "--key", "--token", "--token-file", "--timeout"}
)
_FORMATS = frozenset(Format)


class RootGroup(NounGroup):
    """A command group that accepts global options anywhere and maps errors to exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move global options to the front."""
        return super().parse_args(ctx, _fronted(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print an error in a line or two."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of the pipe has ended
        except (HeadstartError, OSError, ValueError, TypeError) as error:
            failure = explain(error, ctx.obj)
            for line in failure.lines:
                _stderr().print(line, soft_wrap=True)
            _print_json(ctx, failure)
            raise typer.Exit(exit_code(error)) from None
        except _UsageError as error:  # printed by typer itself
            error.message = error.message.removeprefix("Value error, ")  # a prefix from typer
            _print_json(ctx, Failure(code="INVALID_ARGUMENT", reason="", message=error.format_message()))
            raise
        except KeyboardInterrupt:
            _stderr().print("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _print_json(ctx: Any, failure: Failure) -> None:
    if ctx.params.get("as_json") or ctx.params.get("output_format") == Format.JSON:
        print(json.dumps(failure.document, ensure_ascii=False), flush=True)


def _stderr() -> Console:
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def _fronted(args: list[str]) -> list[str]:
    front: list[str] = []
    remaining: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            return [*front, *remaining, arg, *waiting]
        if arg in _FLAGS or arg.partition("=")[0] in _VALUES:
            front.append(arg)
            if arg in _VALUES:
                front += [value for value in [next(waiting, None)] if value is not None]
        elif arg == "-o":
            value = next(waiting, None)
            # Other values are files, which some commands write.
            into = front if value in _FORMATS else remaining
            into += [arg] if value is None else [arg, value]
        else:
            remaining.append(arg)
    return front + remaining
