"""The command that waits for a server."""

import time

import typer
from rich.text import Text

from headstart.cli.exits import ExitCode
from headstart.cli.session import session_of

__all__ = ["wait"]

_SHORTEST, _LONGEST = 0.1, 1.0


def wait(context: typer.Context) -> None:
    """Wait until the server is ready, for --timeout seconds at most; then exit with 3.

    Example: `headstart wait --timeout 300`
    """
    session = session_of(context)
    begin = time.monotonic()
    delay = _SHORTEST
    with session.client(retries=0) as client:
        while (left := session.options.timeout - (time.monotonic() - begin)) > 0:
            if client.ready(timeout=min(left, 5.0)):
                seconds = time.monotonic() - begin
                ready = Text(f"{session.connection.server} is ready after {seconds:.1f} s.")
                session.show({"ready": True, "seconds": seconds}, ready)
                return
            time.sleep(max(0.0, min(delay, session.options.timeout - (time.monotonic() - begin))))
            delay = min(2 * delay, _LONGEST)
    session.note(f"error: {session.connection.server} is not ready after {session.options.timeout:g} s.")
    if session.as_json:
        session.print_json({"ready": False})
    raise typer.Exit(ExitCode.UNAVAILABLE)
