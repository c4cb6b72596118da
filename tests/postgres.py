"""A real PostgreSQL of the tests' own: Debian's programs, a temporary folder, a free port of the loopback."""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import pg8000.dbapi
import psutil
import pytest

from programs import POSTGRESQL

HOST = "127.0.0.1"
USER = "headstart"


class PostgresServer:
    """One server with its data folder; `fsync` is on, as in production.

    Where PostgreSQL is not installed, it skips the test.
    """

    def __init__(self) -> None:
        self._programs = POSTGRESQL.need().parent
        self._folder = Path(tempfile.mkdtemp(prefix="headstart-postgres-"))
        # PostgreSQL refuses to run as root; containers often run tests as root. `setpriv` changes the
        # user: subprocess would fork this process to do so, which can crash while gRPC's threads run.
        self._as: list[str] = []
        if os.geteuid() == 0:
            account = unprivileged()
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._shared: str | None = None
        self._run("initdb", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
        self.start()

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        deadline = time.monotonic() + 60
        while True:
            # After a crash it does not start while a session of its predecessor is still going.
            if self._process is None or self._process.poll() is not None:
                self._process = self._started()
            try:
                self._execute("SELECT 1")
                return
            except pg8000.dbapi.Error:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [
            *self._as,
            str(self._programs / "postgres"),
            *("-D", str(self._data), "-p", str(self.port), "-h", HOST, "-k", str(self._folder)),
            *("-c", "shared_buffers=32MB", "-c", "max_connections=100"),
        ]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT throws everybody out and keeps what was committed, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def pause(self) -> None:
        """Let it answer nobody, as when its machine hangs: whoever waits is not even told."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def database(self, **settings: str) -> str:
        """The address of a new, empty database, with settings of its own."""
        name = f"test_{next(self._names)}"
        self._execute(f"CREATE DATABASE {name}")
        for setting, value in settings.items():
            self._execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
        return f"postgresql://{USER}@{HOST}:{self.port}/{name}"

    def empty_database(self) -> str:
        """The address of a database whose tables are empty: always the same, for that is quicker."""
        if self._shared is None:
            self._shared = self.database()
        with closing(self._connect(self._shared.rpartition("/")[2])) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            # Rows that migrations leave behind stay.
            tables = {row[0] for row in cursor.fetchall()} - {"schema_version", "counters", "identity"}
            if tables:
                cursor.execute(f"TRUNCATE {', '.join(sorted(tables))}")
        return self._shared

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.resume()
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        process = psutil.Process(self._process.pid)
        for each in (process, *process.children(recursive=True)):
            # A session may just have ended.
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), "-D", str(self._data), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, cwd=self._folder, text=True)
        assert done.returncode == 0, done.stderr

    def _execute(self, statement: str) -> None:
        with closing(self._connect("postgres")) as connection:
            connection.cursor().execute(statement)

    def _connect(self, database: str) -> pg8000.dbapi.Connection:
        connection = pg8000.dbapi.connect(user=USER, host=HOST, port=self.port, database=database, timeout=10)
        connection.autocommit = True
        return connection


#: A mark of modules and tests that run on both databases; they use the fixture `address`.
on_both_databases = pytest.mark.parametrize("address", ["sqlite", "postgresql"], indirect=True)


def unprivileged() -> pwd.struct_passwd:
    """The account that programs run as which root may not run, or should not."""
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise LookupError("Expected a user postgres or nobody to run it as.")


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])
