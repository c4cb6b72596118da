"""The options of every command."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from headstart.cli.contexts_file import complete_contexts
from headstart.cli.help import ADVANCED
from headstart.cli.output.formats import Format
from headstart.transport.settings import DEFAULT_SERVER

_CREDENTIALS: Final = ("ca", "cert", "key", "token", "token_file")


@dataclass(frozen=True, kw_only=True)
class GlobalOptions:
    """The global options; None: the context's value, and for `context_name` the current one."""

    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="HEADSTART_SERVER",
            help=f"The server's gRPC address. Default: that of the context, or {DEFAULT_SERVER}.",
        ),
    ] = None
    context_name: Annotated[
        str | None,
        typer.Option(
            "--context",
            metavar="NAME",
            envvar="HEADSTART_CONTEXT",
            autocompletion=complete_contexts,
            help="A stored server. Default: the current one.",
        ),
    ] = None
    output_format: Annotated[
        Format | None,
        typer.Option("-o", metavar="FORMAT", help="Print table, json, name or csv, as the command supports."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json. Errors are JSON, too.")] = (
        False
    )
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.001, envvar="HEADSTART_TIMEOUT", help="The maximum duration of a call."
        ),
    ] = 60.0
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.", rich_help_panel=ADVANCED)] = False
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_CA",
            help="PEM file of the certificate authorities to trust. Implies --tls.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_CERT",
            help="PEM file of the client certificate, for mutual TLS. Requires --key.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_KEY",
            help="PEM file of the private key of --cert.",
            rich_help_panel=ADVANCED,
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HEADSTART_TOKEN",
            help="The bearer token of each call. Sent over TLS or within this machine only.",
            show_default=False,
            rich_help_panel=ADVANCED,
        ),
    ] = field(default=None, repr=False)
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="HEADSTART_TOKEN_FILE",
            help="A file with the token, read again when the server rejects the token.",
            rich_help_panel=ADVANCED,
        ),
    ] = None

    @property
    def format(self) -> Format:
        """The output format."""
        return Format.JSON if self.as_json else self.output_format or Format.TABLE


def for_one_server(options: GlobalOptions, root: typer.Context) -> GlobalOptions:
    """Return options with one server: the command line overrides variables, and --server the context.

    With --context, credentials from variables are dropped, because they may be for another server.
    """
    if not _is_on_command_line(root, "context_name"):
        return options if options.server is None else replace(options, context_name=None)
    if _is_on_command_line(root, "server"):
        raise typer.BadParameter("excludes --context. Give one of them", param_hint="--server")
    foreign: dict[str, Any] = {
        name: None for name in ("server", *_CREDENTIALS) if not _is_on_command_line(root, name)
    }
    return replace(options, **foreign)


def _is_on_command_line(root: typer.Context, name: str) -> bool:
    return getattr(root.get_parameter_source(name), "name", "") == "COMMANDLINE"
