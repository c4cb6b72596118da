"""The command `headstart`: its global options and its list of commands."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.channel import TlsConfig
from headstart.cli.aliases import aliases
from headstart.cli.backbones import backbones
from headstart.cli.fine_tune import fine_tune
from headstart.cli.jobs import jobs
from headstart.cli.models import models
from headstart.cli.prediction import embed, predict
from headstart.cli.rebase import rebase
from headstart.cli.root import RootGroup
from headstart.cli.session import Session, checked_server
from headstart.cli.stored_examples import stored_examples
from headstart.cli.versions import versions
from headstart.release import installed_version
from headstart.settings import DEFAULT_SERVER

__all__ = ["app"]

_EPILOG = (
    "The global options may stand anywhere.\n\n"
    "Exit codes: 0 all went well, 1 the call or the job failed, 2 wrong usage or an unreadable file, "
    "3 no server answers, 4 there is no such thing, 130 interrupted."
)

app = typer.Typer(
    cls=RootGroup,
    name="headstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=_EPILOG,
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
        str, typer.Option(envvar="HEADSTART_SERVER", help="The server, as host:port.")
    ] = DEFAULT_SERVER,
    tls: Annotated[bool, typer.Option("--tls", help="Secure the connection with TLS.")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADSTART_CA",
            help="Certificates that the server's is signed by, a PEM file. Means --tls.",
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADSTART_CERT", help="A certificate to show to the server, a PEM file. With --key."
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="HEADSTART_KEY", help="The private key of --cert, a PEM file.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HEADSTART_TOKEN",
            help="A bearer token, sent with each call: over TLS, or to this machine.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds a call may take.")] = 60.0,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON document on stdout and nothing else there; of a failure "
            '{"error": {"code", "reason", "message"}}.',
        ),
    ] = False,
    version: Annotated[  # noqa: ARG001  # its callback has done all there is to do
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tunes models on a few labelled examples, and asks them.

    Example: `headstart fine-tune pets photos/`, where `photos/` has one sub-folder of pictures for each
    class; then `headstart predict pets cat.jpg`.
    """
    context.obj = Session(
        server=checked_server(server),
        tls=TlsConfig(ca=ca, cert=cert, key=key) if ca or cert or key else tls,
        token=token,
        timeout=timeout,
        as_json=as_json,
    )


_TRAIN, _STORED = "Train and predict", "Stored things"
app.command("fine-tune", rich_help_panel=_TRAIN)(fine_tune)
app.command(rich_help_panel=_TRAIN)(rebase)
app.command(rich_help_panel=_TRAIN)(predict)
app.command(rich_help_panel=_TRAIN)(embed)
for _noun in (models, versions, aliases, jobs, stored_examples, backbones):
    app.add_typer(_noun, rich_help_panel=_STORED)
