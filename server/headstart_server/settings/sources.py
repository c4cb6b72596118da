"""Settings from flags, environment variables and a TOML file, with the origin of each value."""

import dataclasses
import difflib
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart_server.settings.groups import revealed
from headstart_server.settings.kinds import quoted
from headstart_server.settings.setting import Setting
from headstart_server.settings.settings import GROUPS, SETTINGS, Settings, SettingsError
from headstart_server.toml_text import parse_toml

#: The origin of a value that no source sets.
DEFAULT = "default"
#: Maximum bytes of a file that contains a secret.
SECRET_BYTES = 1 << 16
#: Maximum bytes of a file of settings.
FILE_BYTES = 1 << 20

_PREFIX = "HEADSTART_"
#: Variables that are not settings, but belong to clients, tests and this command.
_OTHER_VARIABLES = frozenset(
    f"{_PREFIX}{name}"
    for name in ("CONFIG", "SERVER", "TOKEN", "CA", "CERT", "KEY", "TIMEOUT", "TLS_NAME", "FAILPOINTS")
)

#: The argument of a flag: the values of an option, or whether a switch is on.
Flag = Sequence[str] | bool | None


@dataclass(frozen=True)
class Value:
    """The value of a setting."""

    value: Any
    origin: str  # its origin: a flag, a variable, a position in a file, or `DEFAULT`


@dataclass(frozen=True)
class Loaded:
    """Settings from all sources."""

    # the value and the origin of each setting, without invalid ones
    values: Mapping[str, Value]
    problems: Sequence[str]  # problems, each with a remedy
    warnings: Sequence[str]  # probable mistakes
    files: Sequence[Path]  # the files that were read; they may contain secrets

    def settings(self) -> Settings:
        """Return the settings; raise SettingsError for invalid values and contradictions."""
        try:
            changed = {name: one.value for name, one in self.values.items() if one.origin != DEFAULT}
            settings = dataclasses.replace(Settings.of(**changed), files=tuple(self.files))
        except SettingsError as error:
            raise SettingsError([*self.problems, *error.problems]) from None
        if self.problems:
            raise SettingsError(self.problems)
        return settings


def load(flags: Mapping[str, Flag], environment: Mapping[str, str], file: Path | None = None) -> Loaded:
    """Read all settings: flags by the name of their setting, then variables, then a TOML file."""
    reader = _Reader()
    layers = [
        reader.of_flags(flags),
        reader.of_environment(environment),
        reader.of_file(file) if file is not None else {},
    ]
    values = {}
    for name, one in SETTINGS.items():
        found = next((layer[name] for layer in layers if name in layer), None)
        values[name] = Value(one.default, DEFAULT) if found is None else found
    return Loaded(values, reader.problems, unknown_variables(environment), reader.files)


class _Reader:
    """Reads sources. An invalid value becomes a problem, and the other settings are still read."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.files: list[Path] = []

    def of_flags(self, flags: Mapping[str, Flag]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for one in with_files():
            given = flags.get(one.name)
            if not given and given is not False:
                continue
            if isinstance(given, bool):
                found[one.name] = Value(given, one.flag)
            elif one.kind.is_repeatable:
                self._add(found, one, one.flag, lambda one=one, given=given: one.kind.check(list(given)))
            else:
                # The last one counts, so that arguments of a container override those of its image.
                self._add(found, one, one.flag, lambda one=one, text=given[-1]: one.parse(text))
        return self._revealed(found)

    def of_environment(self, environment: Mapping[str, str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for one in with_files():
            # An empty variable counts as not set, because containers cannot remove variables.
            if text := environment.get(one.variable, "").strip():
                self._add(found, one, one.variable, lambda one=one, text=text: one.parse(text))
        return self._revealed(found)

    def of_file(self, file: Path) -> dict[str, Value]:
        document = self._document(file)
        found: dict[str, Value] = {}
        known = {one.name: one for one in with_files()}
        for section, content in document.items():
            if section not in GROUPS:
                self.problems.append(_unknown_section(file, section, content, known))
                continue
            if not isinstance(content, dict):
                self.problems.append(f"{file}: Expected the section [{section}]. Received: a value.")
                continue
            for name, value in content.items():
                one = known.get(name)
                if one is None or one.section != section:
                    self.problems.append(f"{file}: [{section}] {_unknown_key(section, name, known)}")
                    continue
                origin = f"{file}: [{section}] {name}"
                self._add(found, one, origin, lambda one=one, value=value: one.of_toml(value))
        return self._revealed(found)

    def _document(self, file: Path) -> Mapping[str, Any]:
        try:
            with file.open("rb") as opened:
                content = opened.read(FILE_BYTES + 1)
            if len(content) > FILE_BYTES:
                self.problems.append(f"{file} is larger than 1 MiB. Name a file of settings with --config.")
                return {}
            self.files.append(file)
            return parse_toml(content)
        except OSError as error:
            self.problems.append(
                f"Cannot read {file}: {error.strerror}. Correct --config, or the permissions of the file."
            )
        except ValueError as error:
            self.problems.append(f"{file} is not valid TOML: {error}. Correct the file.")
        return {}

    def _add(self, found: dict[str, Value], one: Setting, origin: str, read: Any) -> None:
        try:
            found[one.name] = Value(read(), origin)
        except ValueError as error:
            self.problems.append(f"{origin}: {error}")

    def _revealed(self, found: dict[str, Value]) -> dict[str, Value]:
        """Replace the files of secrets by their contents."""
        for one in SETTINGS.values():
            named = found.pop(one.file.name, None) if one.is_secret else None
            if named is None:
                continue
            if one.name in found:
                self.problems.append(
                    f"{found[one.name].origin} and {named.origin} exclude each other. Remove one of them."
                )
                continue
            self._add(
                found, one, named.origin, lambda one=one, path=named.value: one.parse(self._secret(path))
            )
        return found

    def _secret(self, path: Path) -> str:
        """Return the content of a file, without the newline at its end."""
        try:
            with path.open("rb") as opened:
                content = opened.read(SECRET_BYTES + 1)
            text = content.decode("utf-8-sig").strip()
        except OSError as error:
            # The path is not shown, because it may be the secret itself.
            raise ValueError(
                f"Cannot read the file: {error.strerror}. Correct its path, which must not be the value "
                "itself, or its permissions."
            ) from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not text. Write the value alone into the file.") from None
        if len(content) > SECRET_BYTES:
            raise ValueError(f"{path} is larger than 64 KiB. Write the value alone into the file.")
        if not text:
            raise ValueError(f"{path} is empty. Write the value into the file.")
        self.files.append(path)
        return text


def with_files() -> Iterator[Setting]:
    """Yield all settings, including those of secret files."""
    for one in SETTINGS.values():
        yield one
        if one.is_secret:
            yield one.file


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a warning for each variable that is probably a misspelled setting."""
    known = {one.variable for one in with_files()}
    warnings = []
    for name in sorted(environment):
        if not name.startswith(_PREFIX) or name in known | _OTHER_VARIABLES:
            continue
        # Kubernetes sets HEADSTART_PORT_8765_TCP and others for a service of this name.
        if near := _nearest(name, known, cutoff=0.85):
            warnings.append(f"The variable {name} is not a setting. Did you mean {near}?")
    return warnings


def _unknown_section(file: Path, name: str, content: object, known: Mapping[str, Setting]) -> str:
    plain = name.replace("-", "_")
    if plain in known and not isinstance(content, dict):
        return f"{file}: {plain} belongs into the section [{known[plain].section}]."
    near = _nearest(name, GROUPS)
    remedy = f"Did you mean [{near}]?" if near else f"Sections are: {', '.join(GROUPS)}."
    what = f"section [{name}]" if isinstance(content, dict) else f"setting {quoted(name)}"
    if not isinstance(content, dict) and (key := _nearest(plain, known)):
        remedy = f"Did you mean {key} in the section [{known[key].section}]?"
    return f"{file}: The {what} is unknown. {remedy}"


def _unknown_key(section: str, name: str, known: Mapping[str, Setting]) -> str:
    plain = name.replace("-", "_")
    if plain in known and known[plain].section != section:
        return f"{name} belongs into the section [{known[plain].section}]."
    near = plain if plain in known else _nearest(plain, known)
    if near is None:
        names = ", ".join(one.name for one in known.values() if one.section == section)
        return f"{name} is unknown. Settings of the section are: {names}."
    where = "" if known[near].section == section else f" in the section [{known[near].section}]"
    return f"{name} is unknown. Did you mean {near}{where}?"


def _nearest(name: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), None)


def shown(one: Setting, value: Any) -> str:
    """Return a value as TOML; secrets are masked, and no value is an empty text."""
    if one.is_secret:
        return quoted("***") if revealed(value) else ""
    return one.toml(value)


def plain(one: Setting, value: Any) -> object:
    """Return a value for JSON, as TOML has it; secrets are masked, and no value is None."""
    return tomllib.loads(f"value = {text}")["value"] if (text := shown(one, value)) else None
