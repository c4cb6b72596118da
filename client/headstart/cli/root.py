"""The command's root: global options that may stand anywhere, and the one place where errors end."""

import json
from typing import Any

import typer
from rich.console import Console

from headstart.cli.exits import ExitCode, Failure, exit_code, explain
from headstart.cli.help import NounGroup
from headstart.errors import HeadstartError

__all__ = ["RootGroup"]

_FLAGS = frozenset({"--json", "--tls"})
_VALUES = frozenset({"--server", "--ca", "--cert", "--key", "--token", "--timeout"})


class RootGroup(NounGroup):
    """Takes global options wherever they stand, and turns errors into exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Moves global options to the front."""
        return super().parse_args(ctx, _fronted(args))

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; what goes wrong is shown in a line or two."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of a pipe has seen enough
        except (HeadstartError, OSError, ValueError, TypeError) as error:
            failure = explain(error, ctx.obj)
            for line in failure.lines:
                _stderr().print(line, soft_wrap=True)
            _tell_programs(ctx, failure)
            raise typer.Exit(exit_code(error)) from None
        except typer.BadParameter as error:  # shown by typer itself
            error.message = error.message.removeprefix("Value error, ")  # put there by typer, and no news
            _tell_programs(ctx, Failure(code="INVALID_ARGUMENT", reason="", message=error.format_message()))
            raise
        except KeyboardInterrupt:
            _stderr().print("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _tell_programs(ctx: Any, failure: Failure) -> None:
    if ctx.params.get("as_json"):
        print(json.dumps(failure.document, ensure_ascii=False), flush=True)


def _stderr() -> Console:
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def _fronted(args: list[str]) -> list[str]:
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(args)
    for arg in waiting:
        if arg == "--":
            return [*front, *rest, arg, *waiting]
        if arg in _FLAGS or arg.partition("=")[0] in _VALUES:
            front.append(arg)
            if arg in _VALUES:
                front += [value for value in [next(waiting, None)] if value is not None]
        else:
            rest.append(arg)
    return front + rest
