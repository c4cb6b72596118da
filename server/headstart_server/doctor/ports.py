"""Checks that the ports of a server are free, and finds the processes that use them."""

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart_server.addresses import host_and_port
from headstart_server.doctor.disk import Holder, holder_of
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.settings.settings import Settings

#: The state of a listening socket in Linux's tables.
_LISTENING = "0A"
#: Hosts that stand for all addresses of the machine.
_ALL_ADDRESSES = {"0.0.0.0", "::"}  # noqa: S104 - compared only


@dataclass(frozen=True, kw_only=True, slots=True)
class _Port:
    name: str
    setting: str
    host: str
    number: int

    @property
    def address(self) -> str:
        return host_and_port(self.host, self.number)

    def excludes(self, other: "_Port") -> bool:
        """Whether a server cannot listen on both."""
        hosts = {self.host, other.host}
        return self.number == other.number != 0 and (len(hosts) == 1 or bool(hosts & _ALL_ADDRESSES))


def check_ports(config: Settings) -> Iterator[Finding]:
    """Check each configured port."""
    try:
        server = holder_of(config.storage.data_dir / "lock")
    except OSError:
        server = None
    seen: list[_Port] = []
    for name, setting, host, number in (
        ("gRPC port", "--port", config.server.host, config.server.port),
        ("HTTP port", "--http-port", config.server.host, config.server.http_port),
        ("metrics port", "--metrics-port", config.server.host, config.metrics_port),
    ):
        if number is None:
            reason = f" because other machines reach {host}" if _is_off_by_default(config, setting) else ""
            yield skipped(name, f"off{reason} ({setting} PORT enables it)")
            continue
        port = _Port(name=name, setting=setting, host=host, number=number)
        other = next(filter(port.excludes, seen), None)
        seen.append(port)
        if other is not None:
            yield failed(
                name,
                f"{setting} and {other.setting} are both {number}.",
                f"Choose another port with {setting}.",
                port=number,
            )
        else:
            yield _finding(port, server)


def _is_off_by_default(config: Settings, setting: str) -> bool:
    """Return whether the metrics port is off only because the host is not a loopback address."""
    return setting == "--metrics-port" and config.observability.metrics_port is None


def _finding(port: _Port, server: Holder | None) -> Finding:
    details = {"address": port.address}
    try:
        _bind(port)
    except socket.gaierror as error:
        return failed(
            port.name,
            f"The host {port.host!r} cannot be resolved: {error.strerror}.",
            "Name an address of this machine, or 0.0.0.0 for all.",
            **details,
        )
    except PermissionError:
        return failed(
            port.name,
            f"{port.address} needs more rights: ports below 1024 are reserved.",
            f"Choose a port of 1024 or more with {port.setting}.",
            **details,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _in_use(port, server)
        return failed(
            port.name,
            f"{port.address} cannot be used: {(error.strerror or str(error)).lower()}.",
            "Name an address of this machine, or 0.0.0.0 for all.",
            **details,
        )
    free = "any free port" if port.number == 0 else "free"
    return ok(port.name, f"{port.address}: {free}", **details)


def _bind(port: _Port) -> None:
    """Bind to all addresses of a port for a moment; raise OSError if one is in use or none is usable."""
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM, flags=flags)
    errors: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise
            errors.append(error)
    if len(errors) == len(found):
        raise errors[0]


def _in_use(port: _Port, server: Holder | None) -> Finding:
    pid = _listener(port.number)
    details = {"address": port.address, "pid": pid, "process": _command(pid)}
    if server is not None and pid is not None and pid == server.pid:
        return ok(port.name, f"{port.address}: in use by the server of this data folder", **details)
    if server is not None and pid is None:
        return warning(
            port.name,
            f"{port.address}: in use, probably by the server of this data folder.",
            f"Do nothing if you are checking that server. Otherwise choose another with {port.setting}.",
            **details,
        )
    user = f"by {details['process']} (process {pid})" if pid else "by a process of another user or container"
    return failed(
        port.name,
        f"{port.address}: already in use {user}, maybe a running headstart-server.",
        f"Stop it, or choose another port with {port.setting}.",
        **details,
    )


def _listener(number: int) -> int | None:
    """Return the process that listens on a port; None if it is not visible to this user."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == number:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(file) in inodes for file in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    return None


def _command(pid: int | None) -> str | None:
    """Return the name of a process without its arguments, which may hold passwords."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip() if pid else None
    except OSError:
        return None
