"""The command `headstart`: its global options and its list of commands."""

from dataclasses import replace
from typing import Annotated

import typer

from headstart.cli.exits import EXIT_CODES_HELP
from headstart.cli.global_options import GlobalOptions
from headstart.cli.help import Commands
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
from headstart.cli.prediction.predict import embed, predict
from headstart.cli.prediction.review import review
from headstart.cli.root import RootGroup
from headstart.cli.session import Session
from headstart.cli.training.check import check
from headstart.cli.training.fine_tune import fine_tune
from headstart.cli.training.rebase import rebase
from headstart.cli.training.recipe_settings import settings_help
from headstart.cli.training.trying import try_examples
from headstart.release import installed_version

__all__ = ["app"]

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
    server, context_name = _destination(context, options.server, options.context_name)
    if options.as_json and options.output_format not in (None, Format.JSON):
        raise typer.BadParameter(f"excludes --json. Received: {options.output_format}", param_hint="-o")
    context.obj = Session(replace(options, server=server, context_name=context_name))


def _destination(
    context: typer.Context, server: str | None, name: str | None
) -> tuple[str | None, str | None]:
    """Return the server or the context: options override variables, and the server overrides the context."""
    if server is None or name is None:
        return server, name
    is_option = {
        each: getattr(context.get_parameter_source(each), "name", "") == "COMMANDLINE"
        for each in ("server", "context_name")
    }
    if all(is_option.values()):
        raise typer.BadParameter("excludes --context. Give one of them", param_hint="--server")
    return (None, name) if is_option["context_name"] else (server, None)


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
