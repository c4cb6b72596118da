"""The command `headstart`: its global options and its list of commands."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.channel import TlsConfig
from headstart.cli.aliases import aliases
from headstart.cli.backbones import backbones
from headstart.cli.check import check
from headstart.cli.exits import EXIT_CODES_HELP
from headstart.cli.fine_tune import fine_tune
from headstart.cli.help import ADVANCED, Commands
from headstart.cli.jobs import jobs
from headstart.cli.models import models
from headstart.cli.prediction import embed, predict
from headstart.cli.rebase import rebase
from headstart.cli.recipe_settings import settings_help
from headstart.cli.root import RootGroup
from headstart.cli.session import Session
from headstart.cli.stored_examples import stored_examples
from headstart.cli.versions import versions
from headstart.release import installed_version
from headstart.settings import DEFAULT_SERVER, checked_server

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


def _version(wanted: bool) -> None:
    if wanted:
        print(f"headstart {installed_version()}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    server: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", envvar="HEADSTART_SERVER", help="The server's gRPC address."),
    ] = DEFAULT_SERVER,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help='Print one JSON document on stdout; an error is {"error": {"code", "reason", "message"}}.',
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="The maximum duration of a call.")
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
    version: Annotated[  # noqa: ARG001  # its callback has printed it
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune models on a few labeled examples, and predict with them.

    Train: `headstart fine-tune pets photos/`, where `photos/` has one folder of images per class.

    Predict: `headstart predict pets cat.jpg`
    """
    context.obj = Session(
        server=checked_server(server),
        tls=TlsConfig(ca=ca, cert=cert, key=key) if ca or cert or key else tls,
        token=token,
        timeout=timeout,
        as_json=as_json,
    )


_TRAIN, _STORED = "Train and predict", "Stored things"
_SETTINGS = f"Settings of recipes, for --set:\n{settings_help()}"
app.command("fine-tune", rich_help_panel=_TRAIN, epilog=_SETTINGS)(fine_tune)
app.command(rich_help_panel=_TRAIN, epilog=_SETTINGS)(check)
app.command(rich_help_panel=_TRAIN)(rebase)
app.command(rich_help_panel=_TRAIN)(predict)
app.command(rich_help_panel=_TRAIN)(embed)
for _noun in (models, versions, aliases, jobs, stored_examples, backbones):
    app.add_typer(_noun, rich_help_panel=_STORED)
