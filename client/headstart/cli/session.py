"""What all commands share: the client, where output goes and in which form."""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console, RenderableType

from headstart.channel import TlsConfig
from headstart.cli.documents import document
from headstart.client import Client
from headstart.examples import ExampleWarning
from headstart.settings import DEFAULT_SERVER

__all__ = ["Session", "session_of"]

_PIPE_WIDTH = 240  # a table in a pipe shall not be cut to the 80 columns of a terminal that is not there


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of the command.

    Attributes:
        server: the server's address.
        tls: how the connection is secured; None for plain text.
        token: sent with each call, if any.
        timeout: the seconds a call may take.
        as_json: True prints JSON on stdout and nothing else there.
    """

    server: str
    tls: bool | TlsConfig | None
    token: str | None = field(repr=False)
    timeout: float
    as_json: bool
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for the length of a command; its warnings are notes."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", ExampleWarning)
            warnings.showwarning = lambda message, *_, **__: self.note(f"warning: {message}")
            with self._connected() as client:
                yield client

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        with Client(self.server, tls=self.tls, timeout=self.timeout, token=self.token) as client:
            yield client

    def show(self, value: object, rendered: RenderableType) -> None:
        """Prints a result: as one JSON document, or as it is rendered for people."""
        if self.as_json:
            self.print_json(value, indent=2)
        else:
            self.out.print(rendered)

    def print_json(self, value: object, indent: int | None = None) -> None:
        """Prints a JSON document on stdout, in one line unless indented."""
        print(json.dumps(document(value), indent=indent, ensure_ascii=False), flush=True)

    def note(self, line: str) -> None:
        """Tells people something beside the result, on stderr."""
        self.err.print(line, soft_wrap=True)

    def command(self, arguments: str) -> str:
        """A command line to try next on the same server."""
        server = "" if self.server == DEFAULT_SERVER else f"--server {self.server} "
        tls = "--tls " if self.tls else ""
        if isinstance(self.tls, TlsConfig):
            files = {"--ca": self.tls.ca, "--cert": self.tls.cert, "--key": self.tls.key}
            tls = "".join(f"{flag} {path} " for flag, path in files.items() if isinstance(path, Path))
        return f"headstart {server}{tls}{arguments}"


def session_of(context: typer.Context) -> Session:
    """The session of a command's context."""
    return cast(Session, context.obj)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    options: dict[str, Any] = {} if stream.isatty() or "COLUMNS" in os.environ else {"width": _PIPE_WIDTH}
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, **options)
