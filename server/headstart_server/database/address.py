"""Where the database is."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

#: The driver of PostgreSQL; the extra `[postgres]` installs it.
POSTGRES_DRIVER = "postgresql+pg8000"


def address_of(target: Path | str) -> URL:
    """The address of an SQLite file, or of the database that a URL names.

    Args:
        target: a path, or `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(target, Path):
        return URL.create("sqlite", database=str(target))
    expected = "Expected a database of sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME."
    try:
        url = make_url(target)
    except (ArgumentError, ValueError):
        raise ValueError(f"{expected} Received: {_without_password(target)!r}.") from None
    if url.drivername in ("postgresql", "postgres", POSTGRES_DRIVER):
        if not url.database:
            raise ValueError(f"{expected} Received: no name of a database.")
        return url.set(drivername=POSTGRES_DRIVER)
    if url.drivername == "sqlite" and url.database and url.database != ":memory:" and not url.query:
        return url
    raise ValueError(f"{expected} Received: {url.render_as_string()!r}.")


def sqlite_file(target: Path | str) -> Path | None:
    """The file of an SQLite database; None for another one."""
    url = address_of(target)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _without_password(target: str) -> str:
    return f"{target.split(':', maxsplit=1)[0]}:..." if ":" in target else target
