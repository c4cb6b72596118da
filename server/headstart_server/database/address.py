"""Parses the address of a database."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_DIALECT = "postgresql+psycopg"
_EXPECTED = "Expected a database of sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME."
#: Supported query parameters of PostgreSQL's address, all of libpq, with their allowed values, if limited.
#: Other parameters would override settings of the server, such as its timeouts.
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": (),
    "sslcert": (),
    "sslkey": (),
    "sslcrl": (),
    "channel_binding": ("disable", "prefer", "require"),
    # Standbys accept no writes.
    "target_session_attrs": ("any", "read-write", "primary"),
    "passfile": (),
    "host": (),
    "port": (),
}
#: Those that name files, some with passwords and keys.
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
#: Value of `sslrootcert` for the certificates of the system.
_SYSTEM = "system"

_VALUELESS = re.compile(r"[?&](\w+)=?(?=&|$)")


def address_of(target: Path | str) -> URL:
    """Return the address of an SQLite file, or of the database that a URL names.

    Args:
        target: a path, `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST:PORT/NAME` with parameters of
            libpq. Commas separate several hosts.

    Raises:
        ValueError: the target is invalid.
    """
    if isinstance(target, Path):
        return URL.create("sqlite", database=str(target))
    try:
        url = make_url(_one_host(target))
    except (ArgumentError, ValueError):
        raise ValueError(f"{_EXPECTED} Received: {_without_password(target)!r}.") from None
    if url.drivername in ("postgresql", "postgres", _DIALECT):
        # SQLAlchemy drops a parameter without a value, such as one from an unset variable.
        for name in _VALUELESS.findall(target):
            raise _not_one(name)
        return _postgres(url.set(drivername=_DIALECT))
    if url.drivername == "sqlite" and url.database and url.database != ":memory:" and not url.query:
        return url
    raise ValueError(f"{_EXPECTED} Received: {url.render_as_string()!r}.")


def sqlite_file(target: Path | str) -> Path | None:
    """Return the file of an SQLite database; None for other databases."""
    url = address_of(target)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def files(target: Path | str) -> tuple[Path, ...]:
    """Return the files that an address names: the SQLite database, or passwords, keys and certificates."""
    url = address_of(target)
    if url.get_backend_name() == "sqlite":
        return (Path(str(url.database)),)
    return tuple(Path(file) for name in _FILES for file in _values(url, name) if file != _SYSTEM)


def shown(url: URL) -> str:
    """Return an address for logs and operators, without its password."""
    return url.render_as_string(hide_password=True).replace(_DIALECT, "postgresql", 1)


def hosts(url: URL) -> tuple[str, ...]:
    """Return the hosts and socket folders in PostgreSQL's address."""
    named = ",".join((url.host or "", *_values(url, "host")))
    return tuple(host for host in named.split(",") if host)


def _postgres(url: URL) -> URL:
    if not url.database:
        raise ValueError("The database address names no database. Append /NAME to the host.")
    for name in url.query:
        _check(name, tuple(_values(url, name)))
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError as error:
        raise ValueError(f"The database address has invalid hosts or ports: {error}. Correct them.") from None
    return url


def _check(name: str, values: tuple[str, ...]) -> None:
    if name not in _PARAMETERS:
        raise ValueError(
            f"The database address has an unknown parameter: {name!r}. Remove or correct it. "
            f"Known parameters: {', '.join(_PARAMETERS)}."
        )
    if len(values) != 1 or not values[0]:
        raise _not_one(name)
    allowed = _PARAMETERS[name]
    if allowed and values[0] not in allowed:
        raise ValueError(
            f"The database address has an invalid {name}. Expected one of: {', '.join(allowed)}. "
            f"Received: {values[0]!r}."
        )


def _not_one(name: str) -> ValueError:
    return ValueError(f"The database address needs exactly one value of {name!r}. Correct --database.")


def _values(url: URL, name: str) -> Iterator[str]:
    value = url.query.get(name, ())
    yield from (value,) if isinstance(value, str) else value


def _one_host(target: str) -> str:
    """Move several hosts, as in `postgresql://USER@A:1,B:2/NAME`, to the parameters `host` and `port`."""
    scheme, separator, rest = target.partition("://")
    authority, slash, path = rest.partition("/")
    login, at, names = authority.rpartition("@")
    if not separator or "," not in names:
        return target
    pairs = [_host_and_port(name) for name in names.split(",")]
    path, _, query = path.partition("?")
    several = f"host={','.join(host for host, _ in pairs)}&port={','.join(port for _, port in pairs)}"
    return f"{scheme}://{login}{at}{slash}{path}?{several}{'&' if query else ''}{query}"


def _host_and_port(name: str) -> tuple[str, str]:
    head, _, port = name.rpartition(":")
    if not head or port.endswith("]"):
        head, port = name, "5432"
    if not port.isascii() or not port.isdigit():
        raise ValueError(name)
    return unquote(head).strip("[]"), port


def _without_password(target: str) -> str:
    return f"{target.split(':', maxsplit=1)[0]}:..." if ":" in target else target
