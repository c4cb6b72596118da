"""The command `headstart`: its global options and its list of commands."""

from typing import Annotated, Any

import typer
from rich.console import Console

from headstart.cli.exits import EXIT_CODES_HELP, ExitCode, Failure, exit_code, explain
from headstart.cli.global_options import GlobalOptions, for_one_server
from headstart.cli.help import Commands, NounGroup
from headstart.cli.nouns.aliases import aliases
from headstart.cli.nouns.captured import captured
from headstart.cli.nouns.contexts import contexts, login
from headstart.cli.nouns.datasets import datasets
from headstart.cli.nouns.examples import stored_examples
from headstart.cli.nouns.feedback import feedback
from headstart.cli.nouns.jobs import jobs
from headstart.cli.nouns.models import models
from headstart.cli.nouns.server import backbones, usage, wait, whoami
from headstart.cli.nouns.versions import versions
from headstart.cli.option_groups import expanded
from headstart.cli.output.formats import RESULT, Format
from headstart.cli.output.safe_console import SafeConsole, print_json
from headstart.cli.prediction.predict import embed, predict
from headstart.cli.prediction.review import review
from headstart.cli.session import Session
from headstart.cli.training.fine_tune import check, fine_tune
from headstart.cli.training.rebase import rebase
from headstart.cli.training.recipe_settings import settings_help
from headstart.cli.training.trying import try_examples
from headstart.errors import HeadstartError
from headstart.release import installed_version

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
        except (KeyboardInterrupt, typer.Abort) as error:
            # A prompt raises Abort at Ctrl-C, but also at the end of stdin and at a "no".
            if isinstance(error, typer.Abort) and not isinstance(error.__context__, KeyboardInterrupt):
                raise
            _stderr().print("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def _print_json(ctx: Any, failure: Failure) -> None:
    if ctx.params.get("as_json") or ctx.params.get("output_format") == Format.JSON:
        print_json(failure.document)


def _stderr() -> Console:
    return SafeConsole(stderr=True, markup=False, highlight=False, emoji=False)


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


app = Commands(
    cls=RootGroup,
    name="headstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXIT_CODES_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(enabled: bool) -> None:
    if enabled:
        print(f"headstart {installed_version()}")
        raise typer.Exit


@app.callback()
@expanded
def root(
    context: typer.Context,
    *,
    options: GlobalOptions,
    version: Annotated[  # noqa: ARG001  # its callback has printed it
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune models on a few labeled examples, and predict with them.

    Train: `headstart fine-tune pets photos/`, where `photos/` has one folder of images per class.

    Predict: `headstart predict pets cat.jpg`
    """
    if options.as_json and options.output_format not in (None, Format.JSON):
        raise typer.BadParameter(f"excludes --json. Received: {options.output_format}", param_hint="-o")
    context.obj = Session(for_one_server(options, context))


_TRAIN, _STORED, _SERVER = "Train and predict", "Stored things", "Server"
_SETTINGS = f"Settings of recipes, for --set:\n{settings_help()}"
app.command("try", rich_help_panel=_TRAIN)(try_examples)
app.command("fine-tune", formats=RESULT, rich_help_panel=_TRAIN, epilog=_SETTINGS)(fine_tune)
app.command(rich_help_panel=_TRAIN, epilog=_SETTINGS)(check)
app.command(formats=RESULT, rich_help_panel=_TRAIN)(rebase)
app.command(rich_help_panel=_TRAIN)(predict)
app.command(rich_help_panel=_TRAIN)(embed)
app.command(rich_help_panel=_TRAIN)(review)
for _noun in (models, versions, aliases, jobs, datasets, stored_examples, captured, feedback, backbones):
    app.add_typer(_noun, rich_help_panel=_STORED)
app.command(rich_help_panel=_SERVER)(login)
app.add_typer(contexts, rich_help_panel=_SERVER)
app.command(rich_help_panel=_SERVER)(whoami)
app.command(rich_help_panel=_SERVER)(usage)
app.command(rich_help_panel=_SERVER)(wait)
