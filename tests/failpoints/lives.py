"""A process whose children live: it imports the server, and compiles the statements, once for all of them."""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil

from forked import start_importing

#: Seconds that a function gets; never waited for when the code is right.
PATIENCE = 120.0


class Lives:
    """Runs functions one after another in one process, which may fork."""

    def __init__(self) -> None:
        start_importing()
        context = multiprocessing.get_context("forkserver")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run_each, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a function to its end; fail if it raises, ends its process or takes too long."""
        self._connection.send((work, arguments))
        assert self._connection.poll(PATIENCE), "it takes too long"
        error = self._connection.recv()
        assert error == "", error

    def close(self) -> None:
        """End the process and its children."""
        for child in psutil.Process(self._process.pid).children():
            child.kill()
        self._process.kill()
        self._process.join()
        self._connection.close()


def _run_each(connection: Connection) -> None:
    while True:
        work, arguments = connection.recv()
        try:
            work(*arguments)
            connection.send("")
        except BaseException:  # noqa: BLE001 - the test reports it
            connection.send(traceback.format_exc())
