"""A real PostgreSQL of the tests' own: Debian's programs, a temporary folder, a free port of the loopback."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from certificates import Identity
from programs import POSTGRESQL
from server_process import free_port

HOST = "127.0.0.1"
USER = "headstart"


#: Bytes of a table from which its files are made again, rather than its rows deleted.
_TRUNCATE_BYTES = 256 << 10
#: The role that has to give a password; `PostgresServer.guarded` creates it.
GUARDED = "guarded"
_ACCOUNTS = f"""
host all {GUARDED} {HOST}/32 scram-sha-256
host all all {HOST}/32 trust
local all all trust
"""


class PostgresServer:
    """One server with its data folder; `fsync` is on, as in production.

    Where PostgreSQL is not installed, it skips the test.

    Args:
        certificate: of the server, which then accepts TLS; None for a server without TLS.
    """

    def __init__(self, certificate: Identity | None = None) -> None:
        self._programs = POSTGRESQL.need().parent
        self._folder = Path(tempfile.mkdtemp(prefix="headstart-postgres-"))
        # PostgreSQL refuses to run as root; containers often run tests as root. `setpriv` changes the
        # user: subprocess would fork this process to do so, which can crash while gRPC's threads run.
        self._as: list[str] = []
        if os.geteuid() == 0:
            account = unprivileged()
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        self._shared: str | None = None
        self._run("initdb", "--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
        self._keep("pg_hba.conf", _ACCOUNTS.encode())
        self._settings: tuple[str, ...] = ()
        if certificate is not None:
            self._settings = ("-c", "ssl=on")
            self._keep("server.crt", certificate.chain)
            self._keep("server.key", certificate.private)
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
                self.execute("SELECT 1")
                return
            except psycopg.Error:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.05)

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [
            *self._as,
            str(self._programs / "postgres"),
            *("-D", str(self._data), "-p", str(self.port), "-h", HOST, "-k", str(self._folder)),
            *("-c", "shared_buffers=32MB", "-c", "max_connections=100"),
            *self._settings,
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
        """Stop its processes, as when its machine hangs: clients that wait get no error."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def database(self, **settings: str) -> str:
        """The address of a new, empty database, with its own settings."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        for setting, value in settings.items():
            self.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
        return f"postgresql://{USER}@{HOST}:{self.port}/{name}"

    def guarded(self, password: str) -> str:
        """The address of a new database, without the password, whose owner has to give one."""
        address = self.database()
        with suppress(psycopg.errors.DuplicateObject):
            self.execute(f"CREATE ROLE {GUARDED} LOGIN")
        self.execute(f"ALTER ROLE {GUARDED} PASSWORD '{password}'")
        self.execute(f"ALTER DATABASE {address.rpartition('/')[2]} OWNER TO {GUARDED}")
        return address.replace(f"{USER}@", f"{GUARDED}@")

    def end_sessions(self) -> None:
        """End every session, as a restart does."""
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )

    def empty_database(self) -> str:
        """The address of a database whose tables are empty: always the same, for that is quicker."""
        if self._shared is None:
            # The server outlives the tests that use it, so no commit has to wait for the disk.
            self._shared = self.database(synchronous_commit="off")
        with closing(self._connect(self._shared.rpartition("/")[2])) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT tablename, pg_relation_size(format('%I', tablename)::regclass) FROM pg_tables "
                "WHERE schemaname = 'public'"
            )
            # Rows that migrations leave behind stay. A table without a file page never had a row.
            tables = {
                str(name): nbytes
                for name, nbytes in cursor.fetchall()
                if nbytes and name not in ("schema_version", "counters", "identity")
            }
            # TRUNCATE makes new files, of each index too: a hundred times as slow for a few rows.
            large = [name for name, nbytes in tables.items() if nbytes > _TRUNCATE_BYTES]
            statements = ["SET session_replication_role = replica"]
            statements += [f"DELETE FROM {name}" for name in sorted(set(tables) - set(large))]
            if large:
                statements.append(f"TRUNCATE {', '.join(sorted(large))} CASCADE")
            # One transaction of all.
            cursor.execute("; ".join(statements).encode())
        return self._shared

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.resume()
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _keep(self, name: str, content: bytes) -> None:
        """Write a file that only the server's account may read."""
        path = self._data / name
        path.write_bytes(content)
        path.chmod(0o600)
        owner = self._folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    def remember(self) -> None:
        """Keep a copy of its data, for `fail_over`."""
        self.stop()
        shutil.rmtree(self._standby, ignore_errors=True)
        subprocess.run(["cp", "-a", self._data, self._standby], check=True)
        self.start()

    def fail_over(self) -> None:
        """Go on from the copy, as a standby does that lacks the last commits."""
        self.stop()
        shutil.rmtree(self._data)
        self._standby.rename(self._data)
        self.start()

    @property
    def _standby(self) -> Path:
        return self._folder / "standby"

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

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Execute a statement as the administrator."""
        with closing(self._connect(database)) as connection:
            connection.execute(statement.encode())

    def _connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            user=USER, host=HOST, port=self.port, dbname=database, connect_timeout=10, autocommit=True
        )


#: A mark of modules and tests that run on both databases; they use the fixture `address`.
on_both_databases = pytest.mark.parametrize("address", ["sqlite", "postgresql"], indirect=True)


#: The user without rights of a Linux system.
_OVERFLOW_UID = 65534


def unprivileged() -> pwd.struct_passwd:
    """The account that programs run as which root may not run, or should not."""
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    with suppress(KeyError):
        return pwd.getpwuid(_OVERFLOW_UID)
    raise LookupError(f"Expected a user postgres, or one with the ID {_OVERFLOW_UID}, to run it as.")
