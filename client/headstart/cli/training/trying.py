"""The command that trains a model on a private server and opens the web console."""

import re
import signal
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from headstart.cli.global_options import GlobalOptions
from headstart.cli.options import ExampleColumns
from headstart.cli.output.progress import progress_view
from headstart.cli.session import Session, session_of
from headstart.cli.training.fine_tune import show_job
from headstart.cli.training.private_server import PrivateServer

__all__ = ["try_examples"]

_POLL_SECONDS = 0.2


def try_examples(
    context: typer.Context,
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with one sub-folder for each class, a table, or an .npz file of features.",
            show_default=False,
        ),
    ],
    columns: ExampleColumns,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the console in the browser.")] = True,
) -> None:
    """Train on your examples with a private server, and open the web console.

    The server listens on a free port of this machine until Ctrl-C, so that you can predict. Then everything
    that it stored is deleted. The first start downloads and converts a backbone. Without
    the extra `http`, the report opens instead.

    Example: `headstart try photos/`
    """
    caller = session_of(context)
    model = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-._")[:64] or "try"
    with (
        _stoppable(),
        tempfile.TemporaryDirectory(prefix="headstart-try-") as folder,
        PrivateServer(Path(folder)) as server,
    ):
        try:
            caller.note("Starting a private server …")
            options = GlobalOptions(
                server=server.address(),
                timeout=caller.options.timeout,
                output_format=caller.options.output_format,
                as_json=caller.options.as_json,
            )
            session = Session(options)
            _train(session, source, model, columns)
            if console := server.console():
                _open_console(session, f"{console}/models/{quote(model)}/try", show=show)
            elif show:
                _open_report(session, model, Path(folder))
            session.note("The server runs until you press Ctrl-C.")
            while True:
                server.check()
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            caller.note("Stopping the server and deleting what it stored.")


def _train(session: Session, source: str, model: str, columns: ExampleColumns) -> None:
    with session.client() as client:
        with progress_view(session.err) as view:
            begin = time.monotonic()
            job = client.fine_tune(source, model=model, on_upload=view.upload, **columns.settings())
            upload = timedelta(seconds=time.monotonic() - begin)
            version = job.result(on_event=view.event)
        show_job(session, client, job, version, upload)


def _open_console(session: Session, url: str, *, show: bool) -> None:
    session.note(f"Console: {url}")
    if show:
        webbrowser.open(url)


def _open_report(session: Session, model: str, folder: Path) -> None:
    with session.client() as client:
        path = client.report(model).save(folder / f"{model}.html")
    webbrowser.open(path.absolute().as_uri())
    session.note(f"Report: {path}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that the server does not outlive it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
