"""The command that trains a model on a private server, which it starts, and opens the web console."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Annotated
from urllib.parse import quote

import typer

from headstart.cli.global_options import GlobalOptions
from headstart.cli.options import ExampleColumns
from headstart.cli.output.progress import progress_view
from headstart.cli.session import Session, session_of
from headstart.cli.training.fine_tune import show_job

_HOST = "127.0.0.1"
_START_POLL_SECONDS = 0.05
_STOP_SECONDS = 15.0
_PR_SET_PDEATHSIG = 1
#: Modules of the extra `http`.
_HTTP_MODULES = ("uvicorn", "h11", "python_multipart")


class PrivateServer:
    """A server that runs during its `with` block.

    It ignores the user's settings, except for the backbone cache, which it shares. `folder` is an empty
    folder for its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        if find_spec("headstart_server") is None:
            raise ValueError("This command requires the server: pip install 'headstart[server]'")
        self._log = folder / "server.log"
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_http = all(find_spec(name) for name in _HTTP_MODULES)

    def __enter__(self) -> "PrivateServer":
        arguments = ["serve", "--host", _HOST, "--port", "0", "--metrics-port", "off"]
        arguments += ["--data-dir", str(self._data), "--log-format", "json"]
        arguments += ["--http-port", "0"] if self._has_http else []
        shared = ("HEADSTART_BACKBONE_CACHE", "HEADSTART_PREPARED_BACKBONES")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HEADSTART_") or name in shared
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-m", "headstart_server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches only the command, which then stops the server
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def address(self) -> str:
        """Wait until the server accepts connections; return its address."""
        return self._address_of("listening")

    def console(self) -> str | None:
        """Wait for the web console; return its URL, or None if the extra `http` is not installed."""
        return f"http://{self._address_of('http_listening')}" if self._has_http else None

    def _address_of(self, event: str) -> str:
        while True:
            address = self._logged(event)
            if address:
                return address
            self.check()
            time.sleep(_START_POLL_SECONDS)

    def check(self) -> None:
        """Raise the last line of the server's log if the server has ended."""
        if self._running().poll() is not None:
            lines = self._log.read_text(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "")
            raise ValueError(f"The server ended with {self._running().returncode}: {last}")

    def _logged(self, event: str) -> str:
        for line in self._log.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):
                entry = json.loads(line)
                if entry.get("event") == event:
                    return str(entry["address"])
        return ""

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("The server is not started.")
        return self._process


def _end_with_parent() -> None:
    """Let the kernel stop the server when this command is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
    that it stored is deleted. The first start downloads and converts a backbone. Without the extra `http`,
    the report opens instead.

    Example: `headstart try photos/`
    """
    caller = session_of(context)
    if not Path(source).exists():  # before the server starts, which may take long
        raise FileNotFoundError(f"No such folder or file: {source}")
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
            caller.note("Stopping the server and deleting its data.")


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
    """Let SIGTERM and a closed terminal end the block as Ctrl-C does, so that nothing outlives it.

    Only the first signal interrupts: a terminal sends several when it closes, and the data must be deleted.
    """

    def interrupt(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    numbers = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows lacks one
    found = {each: signal.getsignal(each) for each in numbers if each is not None}
    before = {each: handler for each, handler in found.items() if handler is not signal.SIG_IGN}  # by nohup
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
