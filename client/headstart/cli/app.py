"""The command `headstart`: its global options and its list of commands."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.completion import complete_contexts
from headstart.cli.exits import EXIT_CODES_HELP
from headstart.cli.help import ADVANCED, Commands
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
from headstart.cli.output.formats import RESULT, Format
from headstart.cli.prediction.predict import embed, predict
from headstart.cli.prediction.review import review
from headstart.cli.root import RootGroup
from headstart.cli.session import GlobalOptions, Session
from headstart.cli.training.check import check
from headstart.cli.training.fine_tune import fine_tune
from headstart.cli.training.rebase import rebase
from headstart.cli.training.recipe_settings import settings_help
from headstart.cli.training.trying import try_examples
from headstart.release import installed_version
from headstart.transport.settings import DEFAULT_SERVER

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
def root(
    context: typer.Context,
    *,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="HEADSTART_SERVER",
            help=f"The server's gRPC address. Default: that of the context, or {DEFAULT_SERVER}.",
        ),
    ] = None,
    context_name: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="NAME",
            envvar="HEADSTART_CONTEXT",
            autocompletion=complete_contexts,
            help="A stored server. Default: the current one.",
        ),
    ] = None,
    output_format: Annotated[
        Format | None,
        typer.Option("-o", metavar="FORMAT", help="Print table, json, name or csv, as the command supports."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The same as -o json. Errors are JSON, too.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.001, envvar="HEADSTART_TIMEOUT", help="The maximum duration of a call."
        ),
    ] = 60.0,
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.", rich_help_panel=ADVANCED)] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_CA",
            help="PEM file of the certificate authorities to trust. Implies --tls.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_CERT",
            help="PEM file of the client certificate, for mutual TLS. Requires --key.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_KEY",
            help="PEM file of the private key of --cert.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HEADSTART_TOKEN",
            help="The bearer token of each call. Sent over TLS or within this machine only.",
            show_default=False,
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_TOKEN_FILE",
            help="A file with the token, read again when the server rejects the token.",
            rich_help_panel=ADVANCED,
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001  # its callback has printed it
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune models on a few labeled examples, and predict with them.

    Train: `headstart fine-tune pets photos/`, where `photos/` has one folder of images per class.

    Predict: `headstart predict pets cat.jpg`
    """
    server, context_name = _destination(context, server, context_name)
    if as_json and output_format not in (None, Format.JSON):
        raise typer.BadParameter(f"excludes --json. Received: {output_format}", param_hint="-o")
    context.obj = Session(
        GlobalOptions(
            server=server,
            context=context_name,
            tls=tls,
            ca=ca,
            cert=cert,
            key=key,
            token=token,
            token_file=token_file,
            timeout=timeout,
            format=Format.JSON if as_json else output_format or Format.TABLE,
        )
    )


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
