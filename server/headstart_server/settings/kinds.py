"""The kinds of values of settings: reading them from text and TOML, checks, and writing."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, ClassVar

from headstart_server.settings.secret import Secret
from headstart_server.settings.units import written

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SWITCH = {"true": True, "1": True, "yes": True, "on": True}
_SWITCH |= {"false": False, "0": False, "no": False, "off": False}


class Kind(ABC):
    """The kind of a setting's values. Methods raise a ValueError that names the expected value."""

    #: The placeholder of the value in the help.
    metavar: ClassVar[str] = "TEXT"
    #: A value for examples, if there is no default value.
    example: ClassVar[str] = "TEXT"
    #: Whether the setting holds several values.
    is_repeatable: ClassVar[bool] = False

    @property
    def placeholder(self) -> str:
        """Return the placeholder of the value in the help."""
        return self.metavar

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Return the value of a text."""

    def of_toml(self, value: object) -> Any:
        """Return the value of a TOML value."""
        if not isinstance(value, str):
            raise ValueError(f"Expected a string. Received: {written(value)}.")
        return self.parse(value)

    def check(self, value: Any) -> Any:
        """Return a value if it is allowed."""
        return value

    def format(self, value: Any) -> str:
        """Return a value as the text that `parse` reads."""
        return str(value)

    def toml(self, value: Any) -> str:
        """Return a value as TOML."""
        return quoted(self.format(value))


@dataclass(frozen=True)
class Number(Kind):
    """A whole number within bounds."""

    min: int = 0
    max: int = 10**9
    metavar: ClassVar[str] = "NUMBER"
    example: ClassVar[str] = "100"

    def parse(self, text: str) -> int:
        try:
            return self.check(int(text))
        except ValueError:
            raise ValueError(f"{self._expected()} Received: {written(text)}.") from None

    def of_toml(self, value: object) -> int:
        if isinstance(value, str | bool):
            raise ValueError(f"{self._expected()} Received: {written(value)}.")
        return self.check(value)

    def check(self, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.min <= value <= self.max:
            raise ValueError(f"{self._expected()} Received: {written(value)}.")
        return value

    def toml(self, value: Any) -> str:
        return self.format(value)

    def _expected(self) -> str:
        bounds = f"from {self.min:,}" + (f" to {self.max:,}" if self.max < Number.max else "")
        return f"Expected a whole number {bounds}."


@dataclass(frozen=True)
class Fraction(Kind):
    """A number within bounds; as text also a percentage."""

    min: float = 0.0
    max: float = 1.0
    metavar: ClassVar[str] = "NUMBER"
    example: ClassVar[str] = "0.1"

    def parse(self, text: str) -> float:
        stripped = text.strip()
        try:
            percent = stripped.endswith("%")
            return self.check(float(stripped.removesuffix("%")) / (100 if percent else 1))
        except ValueError:
            raise ValueError(f"{self._expected()} Received: {written(text)}.") from None

    def of_toml(self, value: object) -> float:
        return self.check(value)

    def check(self, value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.min <= value <= self.max:
            raise ValueError(f"{self._expected()} Received: {written(value)}.")
        return float(value)

    def format(self, value: Any) -> str:
        return f"{value:.9g}"

    def toml(self, value: Any) -> str:
        text = self.format(value)
        return text if "." in text or "e" in text else f"{text}.0"

    def _expected(self) -> str:
        return f"Expected a number from {self.min:g} to {self.max:g}."


class Switch(Kind):
    """On or off."""

    def parse(self, text: str) -> bool:
        found = _SWITCH.get(text.strip().lower())
        if found is None:
            raise ValueError(f"Expected true or false. Received: {written(text)}.")
        return found

    def of_toml(self, value: object) -> bool:
        return self.check(value)

    def check(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"Expected true or false. Received: {written(value)}.")
        return value

    def format(self, value: Any) -> str:
        return "true" if value else "false"

    def toml(self, value: Any) -> str:
        return self.format(value)


@dataclass(frozen=True)
class Text(Kind):
    """One line of text."""

    placeholder_: str = "TEXT"

    @property
    def placeholder(self) -> str:
        return self.placeholder_

    def parse(self, text: str) -> Any:
        return self.check(text.strip())

    def check(self, value: Any) -> Any:
        if not isinstance(value, str) or not value or _CONTROL.search(value):
            raise ValueError(f"Expected one line of text. Received: {written(value)}.")
        return value


@dataclass(frozen=True)
class Host(Text):
    """A host name or an IP address. An IPv6 address may be in brackets, which are removed."""

    placeholder_: str = "ADDRESS"

    def check(self, value: Any) -> str:
        host = str(super().check(value))
        inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if ":" in inner or inner != host:
            try:
                IPv6Address(inner)
            except ValueError:
                raise ValueError(
                    f"Expected a host name or an IP address, without a port. Received: {written(host)}."
                ) from None
        return inner


@dataclass(frozen=True)
class Choice(Kind):
    """One of some words."""

    words: Sequence[str] = ()

    @property
    def placeholder(self) -> str:
        return "|".join(self.words)

    def parse(self, text: str) -> str:
        return self.check(text.strip())

    def check(self, value: Any) -> str:
        if value not in self.words:
            raise ValueError(f"Expected {either(self.words)}. Received: {written(value)}.")
        return str(value)


@dataclass(frozen=True)
class Choices(Kind):
    """Some of a few words; as text with commas between them."""

    words: Sequence[str] = ()

    @property
    def placeholder(self) -> str:
        return ",".join(self.words)

    def parse(self, text: str) -> tuple[str, ...]:
        return self.check(tuple(word.strip() for word in text.split(",")))

    def of_toml(self, value: object) -> tuple[str, ...]:
        return self.parse(value) if isinstance(value, str) else self.check(value)

    def check(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or any(word not in self.words for word in value):
            received = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            raise ValueError(
                f"Expected {' and '.join(self.words)}, or one of them. Received: {written(received)}."
            )
        return tuple(word for word in self.words if word in value)

    def format(self, value: Any) -> str:
        return ",".join(value)

    def toml(self, value: Any) -> str:
        return f"[{', '.join(map(quoted, value))}]"


@dataclass(frozen=True)
class File(Kind):
    """The path of a file or folder."""

    placeholder_: str = "FILE"
    example: ClassVar[str] = "PATH"

    @property
    def placeholder(self) -> str:
        return self.placeholder_

    def parse(self, text: str) -> Path:
        if not text.strip() or _CONTROL.search(text):
            raise ValueError("Expected a path without control characters.")
        return Path(text)

    def check(self, value: Any) -> Path:
        if not isinstance(value, Path):
            raise ValueError(f"Expected a path. Received: {written(value)}.")
        return value


@dataclass(frozen=True)
class SecretText(Kind):
    """A text that is never printed. A second flag can name a file that contains it."""

    placeholder_: str = "URL"

    @property
    def placeholder(self) -> str:
        return self.placeholder_

    def parse(self, text: str) -> Secret[str]:
        return self.check(Secret(text.strip()))

    def of_toml(self, value: object) -> Secret[str]:
        if not isinstance(value, str):
            raise ValueError("Expected a string.")
        return self.parse(value)

    def check(self, value: Any) -> Secret[str]:
        secret: Secret[str] = value if isinstance(value, Secret) else Secret(str(value))
        if not secret.reveal() or _CONTROL.search(secret.reveal()):
            raise ValueError("Expected one line of text.")
        return secret


@dataclass(frozen=True)
class Texts(Kind):
    """Several texts: a repeated flag, the lines of a variable, or a list in TOML."""

    placeholder_: str = "TEXT"
    is_repeatable: ClassVar[bool] = True

    @property
    def placeholder(self) -> str:
        return self.placeholder_

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    def of_toml(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(
                f"Expected a list of strings, such as [{written(value)}]. Received: {written(value)}."
            )
        return self.check(value)

    def check(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"Expected a list of strings. Received: {written(value)}.")
        for text in value:
            if not isinstance(text, str) or not text.strip() or _CONTROL.search(text):
                raise ValueError(f"Expected a list of strings, each one line. It contains {written(text)}.")
        return tuple(value)

    def format(self, value: Any) -> str:
        return "\n".join(value)

    def toml(self, value: Any) -> str:
        return f"[{', '.join(map(quoted, value))}]"


def quoted(text: str) -> str:
    """Return a text as a TOML string."""
    escapes: Mapping[str, str] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def either(words: Sequence[str]) -> str:
    """Return words with commas, and `or` before the last."""
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
