"""Contexts: named servers with their credentials, in a file with mode 0600."""

import contextlib
import fcntl
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """A server and its credentials: paths of PEM files, and a token or the path of a file with it."""

    server: str
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""
    token: str = field(default="", repr=False)
    token_file: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """The contexts, and the name of the current one; empty if no context is current."""

    contexts: Mapping[str, Context] = field(default_factory=dict)
    current: str = ""

    def get(self, name: str) -> Context:
        """Return a context."""
        if name not in self.contexts:
            names = ", ".join(self.contexts) or "none; add one with headstart login"
            raise ValueError(f"Unknown context {name!r}. Contexts: {names}")
        return self.contexts[name]


class ContextsFile:
    """The file of contexts; by default ``headstart/contexts.toml`` in the user's configuration folder."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or _default_path()

    def read(self) -> Contexts:
        """Return the contexts; empty if the file is missing."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Contexts()
        try:
            return _contexts(tomllib.loads(content.decode()))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self.path} is malformed: {error}. Correct it, or delete it and log in again"
            ) from None

    def is_exposed(self) -> bool:
        """Return whether other users of this machine can read the file."""
        try:
            return bool(self.path.stat().st_mode & 0o077)
        except OSError:
            return False

    def add(self, name: str, context: Context) -> None:
        """Add or replace a context and make it the current one."""
        if not _NAME.fullmatch(name):
            raise ValueError(
                "The name of a context consists of up to 64 letters, digits, dots, hyphens and underscores. "
                f"Received: {name!r}"
            )
        with self._changing() as contexts:
            self._write(Contexts({**contexts.contexts, name: context}, name))

    def use(self, name: str) -> None:
        """Make a context the current one."""
        with self._changing() as contexts:
            contexts.get(name)
            self._write(Contexts(contexts.contexts, name))

    def delete(self, name: str) -> None:
        """Delete a context."""
        with self._changing() as contexts:
            contexts.get(name)
            others = {key: each for key, each in contexts.contexts.items() if key != name}
            self._write(Contexts(others, "" if contexts.current == name else contexts.current))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Contexts]:
        """Lock the file against changes by other commands."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()
        finally:
            os.close(lock)

    def _write(self, contexts: Contexts) -> None:
        """Replace the file atomically, with mode 0600."""
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".contexts-")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(_toml(contexts))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _default_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else expanded_path("~/.config")
    if not folder.is_absolute():
        raise ValueError(
            "Your home folder, which has the contexts, is unknown. Set HOME, or name the server with "
            "--server or HEADSTART_SERVER"
        )
    return folder / "headstart" / "contexts.toml"


def expanded_path(path: str) -> Path:
    """Return a path with a home folder in place of ~ or ~user; unchanged if the folder is unknown."""
    return Path(os.path.expanduser(path))


def _contexts(document: dict[str, Any]) -> Contexts:
    unknown = document.keys() - {"current", "contexts"}
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    tables, current = document.get("contexts", {}), document.get("current", "")
    if not isinstance(tables, dict) or not isinstance(current, str):
        raise TypeError("current must be a string and contexts a table")
    return Contexts({name: _context(name, table) for name, table in tables.items()}, current)


def _context(name: str, table: Any) -> Context:
    types = {each.name: bool if each.name == "tls" else str for each in fields(Context)}
    if not isinstance(table, dict) or "server" not in table:
        raise TypeError(f"contexts.{name} must be a table with the key server")
    for key, value in table.items():
        if key not in types:
            raise ValueError(f"contexts.{name} has the unknown key {key!r}")
        if not isinstance(value, types[key]):
            expected = "true or false" if types[key] is bool else "a string"
            raise TypeError(f"contexts.{name}.{key} must be {expected}")
    return Context(**table)


def _toml(contexts: Contexts) -> str:
    lines = [f"current = {_value(contexts.current)}"] if contexts.current else []
    for name, context in contexts.contexts.items():
        lines += ["", f"[contexts.{_value(name)}]"]
        lines += [f"{key} = {_value(value)}" for key, value in asdict(context).items() if value]
    return "\n".join(lines).lstrip("\n") + "\n"


def _value(value: str | bool) -> str:
    # A JSON string is a basic string of TOML, except for the one control character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def complete_contexts(incomplete: str) -> list[str]:
    """Return the names of the stored contexts."""
    try:
        return [name for name in ContextsFile().read().contexts if name.startswith(incomplete)]
    except (OSError, ValueError):
        return []
