"""A setting's declaration: one field of a group, from which its flag, variable, TOML key and docs derive."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from headstart_server.settings.kinds import File, Kind, SecretText, Switch

_METADATA = "setting"


class Off(Enum):
    """The value of a setting that is off, where None means that the server chooses."""

    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting."""

    name: str  # unique among all groups; the flag has dashes instead of underscores
    section: str  # the group, and the section of the TOML file
    help: str  # description in one sentence or two
    kind: Kind  # its values
    default: Any  # the value if no source sets it
    words: Mapping[str, Any]  # special texts, such as ``off``, and their values
    is_basic: bool  # whether ``--help`` lists it; ``--help-all`` lists every setting
    default_text: str  # text for the help and the docs if the default is not a value

    @property
    def flag(self) -> str:
        """Return the flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return the environment variable."""
        return f"HEADSTART_{self.name.upper()}"

    @property
    def is_secret(self) -> bool:
        """Whether the value is never printed, and may be in a file."""
        return isinstance(self.kind, SecretText)

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return isinstance(self.kind, Switch)

    @property
    def file(self) -> "Setting":
        """Return the setting of the file that holds a secret."""
        help = f"File that contains the value of {self.flag}."
        return dataclasses.replace(
            self,
            name=f"{self.name}_file",
            help=help,
            kind=File(),
            default=None,
            words={},
            is_basic=False,
            default_text="",
        )

    def parse(self, text: str) -> Any:
        """Return the value of a flag or a variable; raise ValueError if it is not allowed."""
        if text.strip() in self.words:
            return self.words[text.strip()]
        try:
            return self.kind.parse(text)
        except ValueError as error:
            raise ValueError(self._with_words(str(error))) from None

    def of_toml(self, value: object) -> Any:
        """Return the value of a TOML value; raise ValueError if it is not allowed."""
        if isinstance(value, str) and value in self.words:
            return self.words[value]
        try:
            return self.kind.of_toml(value)
        except ValueError as error:
            raise ValueError(self._with_words(str(error))) from None

    def check(self, value: Any) -> Any:
        """Return a value from code if it is allowed, otherwise raise ValueError."""
        is_word = any(value is word or (word == () and value == ()) for word in self.words.values())
        if is_word or (value is None and self.default is None):
            return value
        try:
            return self.kind.check(value)
        except ValueError as error:
            raise ValueError(f"{self.flag}: {self._with_words(str(error))}") from None

    def format(self, value: Any) -> str:
        """Return the text that `parse` reads; an empty text for no value."""
        return self._written(value, self.kind.format)

    def toml(self, value: Any) -> str:
        """Return a value as TOML; an empty text for no value."""
        word = self._word(value)
        return f'"{word}"' if word is not None else self._written(value, self.kind.toml)

    def _written(self, value: Any, write: Any) -> str:
        word = self._word(value)
        if word is not None:
            return word
        return "" if value is None else str(write(value))

    def _word(self, value: Any) -> str | None:
        return next(
            (word for word, meant in self.words.items() if meant is value or (meant == value == ())), None
        )

    def _with_words(self, message: str) -> str:
        if not self.words:
            return message
        expected, received, rest = message.partition(" Received: ")
        return f"{expected.rstrip('.')}, or {' or '.join(self.words)}.{received}{rest}"


def setting(
    default: Any,
    help: str,
    kind: Kind,
    *,
    off: Any = ...,
    auto: bool = False,
    basic: bool = False,
    default_text: str = "",
) -> Any:
    """Declare a setting as a field of a `Group`.

    Args:
        default: its default, as text for measures with a unit.
        help: its description.
        kind: its values.
        off: the value that ``off`` stands for; without it ``off`` is not allowed.
        auto: whether ``auto`` is allowed, with the value None: the server chooses.
        basic: whether ``--help`` lists it.
        default_text: text for the help and the docs if the default is not a value.
    """
    words = {} if off is ... else {"off": off}
    if auto:
        words["auto"] = None
    parsed = isinstance(default, str) and not isinstance(kind, File)
    value = words[default] if parsed and default in words else kind.parse(default) if parsed else default
    metadata = {"help": help, "kind": kind, "words": words, "is_basic": basic, "default_text": default_text}
    return dataclasses.field(default=value, metadata={_METADATA: metadata})


@dataclass(frozen=True, kw_only=True)
class Group:
    """Settings of one section. Values out of bounds raise ValueError."""

    section: ClassVar[str]
    title: ClassVar[str]

    def __post_init__(self) -> None:
        for one in self.settings():
            object.__setattr__(self, one.name, one.check(getattr(self, one.name)))

    @classmethod
    def settings(cls) -> Iterator[Setting]:
        """Yield the settings of the section in their order."""
        for field in dataclasses.fields(cls):
            yield Setting(
                name=field.name, section=cls.section, default=field.default, **field.metadata[_METADATA]
            )
