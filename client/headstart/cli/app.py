"""The command `headstart`: its global options and its list of commands."""

from pathlib import Path
from typing import Annotated

import typer

from headstart.channel import TlsConfig
from headstart.cli import evaluation, export, fine_tune, jobs, models, prediction, rebase, report
from headstart.cli.root import RootGroup
from headstart.cli.session import Session, checked_server
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

    Example: `headstart fine-tune pets/ --model pets`, where `pets/` has one sub-folder of pictures for each
    class; then `headstart predict pets cat.jpg`.
    """
    context.obj = Session(
        server=checked_server(server),
        tls=TlsConfig(ca=ca, cert=cert, key=key) if ca or cert or key else tls,
        token=token,
        timeout=timeout,
        as_json=as_json,
    )


app.command("fine-tune")(fine_tune.fine_tune)
app.command()(rebase.rebase)
app.command()(prediction.predict)
app.command()(prediction.embed)
app.command()(evaluation.evaluate)
app.command()(evaluation.compare)
app.command()(report.report)
app.command()(export.export)
app.command()(jobs.status)
app.command()(jobs.watch)
app.command("jobs")(jobs.list_jobs)
app.command()(jobs.cancel)
app.command("models")(models.list_models)
app.command()(models.model)
app.command()(models.alias)
app.command()(models.delete)
app.command("forget-example")(models.forget_example)
app.command()(models.backbones)
