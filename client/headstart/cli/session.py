"""The state that all commands share: the client and the output format."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import typer
from rich.console import Console, RenderableType

from headstart.cli.contexts_file import Context, ContextsFile, expanded_path
from headstart.cli.global_options import GlobalOptions
from headstart.cli.output.formats import Format, Listing
from headstart.cli.output.recorder import Recorder
from headstart.cli.output.safe_console import SafeConsole, SafeOutput, print_json
from headstart.client import Client
from headstart.control_characters import without_controls
from headstart.inputs.examples import ExampleWarning
from headstart.transport.channel import TlsConfig
from headstart.transport.retries import RetryPolicy
from headstart.transport.settings import DEFAULT_SERVER, checked_server
from headstart.transport.status import reading

_RETRIES = RetryPolicy()
_PIPE_WIDTH = 240  # a pipe has no terminal width, and the default of 80 columns would truncate tables


class Session:
    """One run of the command."""

    def __init__(self, options: GlobalOptions) -> None:
        self.options = options
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)
        self._recorder = Recorder()

    @property
    def as_json(self) -> bool:
        """Whether stdout contains only JSON."""
        return self.options.format is Format.JSON

    @cached_property
    def connection(self) -> Context:
        """The context from the options, or the current one.

        A context's credentials are only for its server: with --server, no context applies, and with
        --context, no credentials from variables do.
        """
        options = self.options
        context = Context(server=DEFAULT_SERVER if options.server is None else options.server)
        if options.server is None:
            file = ContextsFile()
            stored = file.read()
            name = options.context_name or stored.current
            if name:
                context = stored.get(name)
                if file.is_exposed():
                    self.note(f"warning: other users can read {file.path}. Run: chmod 600 {file.path}")
        ca, cert, key = (
            str(option or stored_path)
            for option, stored_path in zip(
                (options.ca, options.cert, options.key), (context.ca, context.cert, context.key), strict=True
            )
        )
        return Context(
            server=checked_server(context.server),
            tls=bool(options.tls or context.tls or ca or cert or key),
            ca=ca,
            cert=cert,
            key=key,
            token=options.token or ("" if options.token_file else context.token),
            token_file=str(options.token_file or ("" if options.token else context.token_file)),
        )

    @contextmanager
    def client(
        self, *, timeout: float | None = None, retries: int | RetryPolicy = _RETRIES
    ) -> Iterator[Client]:
        """Open a client for the duration of a command; warnings are printed as notes."""
        connection = self.connection
        files = {name: path for name in ("ca", "cert", "key") if (path := getattr(connection, name))}
        with (
            self._noting_warnings(),
            Client(
                connection.server,
                tls=TlsConfig(**files) if files else connection.tls,
                timeout=timeout or self.options.timeout,
                # An empty token keeps the client from reading the variable.
                token=_reader(connection.token_file) if connection.token_file else connection.token,
                interceptors=[self._recorder] if self.as_json else [],
                retries=retries,
            ) as client,
        ):
            yield client

    @contextmanager
    def _noting_warnings(self) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("always", ExampleWarning)
            warnings.showwarning = lambda message, *_, **__: self.note(f"warning: {message}")
            yield

    def response(self, method: str, limit: int | None = None) -> dict[str, Any]:
        """Return the response of a method as the HTTP port prints it; empty if the format is not JSON.

        A `limit` truncates its list: a page has as many entries as the server sends at once.
        """
        if not self.as_json:
            return {}
        with reading(self.connection.server):
            return self._recorder.response(method, limit)

    def show(self, value: object, rendered: RenderableType, listed: Listing | None = None) -> None:
        """Print a result in the output format: its JSON, its table, or its names and rows."""
        match self.options.format:
            case Format.JSON:
                self.print_json(value, indent=2)
            case Format.NAME if listed is not None:
                # A name with a line break would be two arguments of the next command.
                names = (without_controls(name).replace("\n", "") for name in listed.names)
                sys.stdout.write("".join(f"{name}\n" for name in names))
            case Format.CSV if listed is not None:
                SafeOutput().write(listed.csv())
            case _:
                self.out.print(rendered)

    def print_json(self, value: object, indent: int | None = None) -> None:
        """Print a JSON document on stdout, in one line unless indented."""
        print_json(value, indent)

    def note(self, line: str) -> None:
        """Print a line for people on stderr."""
        self.err.print(line, soft_wrap=True)

    def command(self, arguments: str) -> str:
        """Return a command line for the same server, quoted for the shell."""
        options = self.options
        flags: list[str] = []
        if options.server is None and options.context_name:
            flags = ["--context", options.context_name]
        elif options.server not in (None, DEFAULT_SERVER, os.environ.get("HEADSTART_SERVER")):
            flags = ["--server", str(options.server)]
        files = {"--ca": options.ca, "--cert": options.cert, "--key": options.key}
        tls_flags = [each for flag, path in files.items() if path for each in (flag, str(path))]
        flags += tls_flags or (["--tls"] if options.tls else [])
        return " ".join(["headstart", *flags, arguments])


def session_of(context: typer.Context) -> Session:
    """Return the session of a command's context."""
    return cast(Session, context.obj)


def _reader(path: str) -> Callable[[], str]:
    """Return a function that reads a token, so that a renewed token is used."""
    return lambda: expanded_path(path).read_text(encoding="utf-8").strip()


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    options: dict[str, Any] = {} if stream.isatty() or "COLUMNS" in os.environ else {"width": _PIPE_WIDTH}
    return SafeConsole(stderr=stderr, markup=False, highlight=False, emoji=False, **options)
