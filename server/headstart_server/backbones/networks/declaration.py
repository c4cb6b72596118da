"""Declarations of backbones: the origin of a network, and its preprocessing."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart_server.toml_text import read_toml

#: Valid names of backbones.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,62}")
#: Reserved name with which callers request backbone selection.
_CHOICE = "auto"
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Characters of a source that become dashes in its default name.
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class DeclarationError(ValueError):
    """An invalid declaration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Declaration:
    """A declared backbone. None or empty means the value of the source, or the default."""

    name: str  # the name that callers use
    source: str  # ``SCHEME:LOCATION``; the documentation lists the schemes
    digest: str | None = None  # required SHA-256 of the weights in hexadecimal; None accepts any
    size: int | None = None  # height and width in pixels to which images are scaled
    crop: float | None = None  # fraction of the shorter side that the center crop keeps, in (0, 1]
    scale: float | None = None  # factor of pixels, 0 to 255; applied first
    mean: tuple[float, ...] = ()  # subtracted from each channel next
    std: tuple[float, ...] = ()  # divisor of each channel last
    channels: str | None = None  # ``rgb`` or ``bgr``
    modality: str | None = None  # ``image``, ``text`` or ``tensor``, if the source does not know it
    # how a feature map becomes one vector: ``avg``, ``max``, ``first`` (a class token) or ``none``
    pooling: str | None = None
    layer: str | None = None  # layer or output whose values are the features
    architecture: str | None = None  # network that a file of weights belongs to
    # file of weights for a network that the source names, instead of its default weights
    weights: str | None = None
    max_tokens: int | None = None  # tokens after which a text is truncated
    license: str | None = None  # SPDX identifier of the weights' license
    description: str | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is None or value == ():
                continue
            expected, holds = check
            try:
                good = holds(value)
            except TypeError:
                good = False
            if not good:
                raise DeclarationError(
                    f"Backbone {self.name!r}, {name}: Expected {expected}. Received: {value!r}."
                )

    @property
    def scheme(self) -> str:
        """Scheme of the source."""
        return self.source.partition(":")[0]

    @property
    def location(self) -> str:
        """Location within the source."""
        return self.source.partition(":")[2]

    def given(self) -> dict[str, Any]:
        """Return all set values except name, source and digest."""
        values = dataclasses.asdict(self)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name not in {"name", "source", "digest"} and value != defaults[name]
        }

    def as_json(self) -> str:
        """Return a JSON object for another process."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> "Declaration":
        """Create from `as_json`."""
        return _of_values(json.loads(text), Path.cwd())

    @classmethod
    def of_flag(cls, text: str) -> "Declaration":
        """Parse ``[NAME=]SCHEME:LOCATION[,SETTING=VALUE...]``; the default name derives from the source.

        Values are TOML; texts may lack quotes. Raise DeclarationError if the syntax or a value is invalid.
        """
        place, *settings = _SETTING.split(text)
        before, equals, after = place.partition("=")
        if not equals or ":" in before:
            before, after = _NO_NAME.sub("-", place).strip("-.")[-63:].lstrip("-."), place
        values = dict(zip(settings[::2], map(_value, settings[1::2]), strict=True))
        return _of_values({"name": before, "source": after, **values}, Path.cwd())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 1000 and value.isprintable()


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _are_channels(values: Any, least: float) -> bool:
    return len(values) in (1, 3) and all(_is_number(value, least, 1e6) for value in values)


#: Settings with a path, relative to the declaring file.
_PLACES = {"source", "weights"}
#: Settings of one number for all channels, or one for each.
_CHANNELS = {"mean", "std"}
_MODALITIES = ("image", "text", "tensor")
_POOLINGS = ("avg", "max", "first", "none")

#: Requirement of each setting, as a description and as a check.
_CHECKS: Mapping[str, tuple[str, Any]] = {
    "name": (
        f"letters, digits, dots, colons, dashes and underscores, 63 at most, and not {_CHOICE}",
        lambda value: _NAME.fullmatch(value) is not None and value != _CHOICE,
    ),
    "source": (
        "SCHEME:LOCATION, such as keras:MobileNetV3Small",
        lambda value: _is_text(value) and all(value.partition(":")),
    ),
    "digest": ("SHA-256 in 64 hexadecimal digits", lambda value: _DIGEST.fullmatch(value) is not None),
    "size": ("pixels, 8 to 2,048", lambda value: _is_count(value, 2048) and value >= 8),
    "crop": ("a number above 0 and at most 1", lambda value: _is_number(value, 1e-3, 1.0)),
    "scale": ("a number above 0", lambda value: _is_number(value, 1e-9, 1e6)),
    "mean": ("one number or three, for each channel", lambda value: _are_channels(value, -1e6)),
    "std": ("one number above 0 or three, for each channel", lambda value: _are_channels(value, 1e-9)),
    "channels": ("rgb or bgr", lambda value: value in {"rgb", "bgr"}),
    "modality": (" or ".join(_MODALITIES), lambda value: value in _MODALITIES),
    "pooling": (" or ".join(_POOLINGS), lambda value: value in _POOLINGS),
    "layer": ("the name of a layer or an output", _is_text),
    "architecture": ("the name of an architecture", _is_text),
    "weights": ("a file", _is_text),
    "max_tokens": ("tokens, 1 to 8,192", lambda value: _is_count(value, 8192)),
    "license": ("an SPDX identifier", _is_text),
    "description": ("a sentence", _is_text),
}


#: A setting in a flag.
_SETTING = re.compile(f",({'|'.join(name for name in _CHECKS if name not in {'name', 'source'})})=")


def declared(path: Path | None, flags: Iterable[str]) -> list[Declaration]:
    """Return the backbones declared at `path` and by `flags`; raise DeclarationError if one is invalid."""
    read = read_declarations(path) if path else []
    return distinct([*read, *map(Declaration.of_flag, flags)])


def read_declarations(path: Path) -> list[Declaration]:
    """Read the tables ``[backbones.NAME]`` of a TOML file, or of every ``.toml`` file of a folder.

    A source or weights whose location begins with ``./`` or ``../`` is relative to the file. Raise
    DeclarationError if the file cannot be read, or a declaration is invalid.
    """
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise DeclarationError(f"{path} has no .toml file. Add one, or name another folder.")
    return distinct(declaration for file in files for declaration in _read(file))


def distinct(declarations: Iterable[Declaration]) -> list[Declaration]:
    """Return the distinct declarations in order; raise `DeclarationError` if a name has two."""
    by_name: dict[str, Declaration] = {}
    for declaration in declarations:
        if by_name.setdefault(declaration.name, declaration) != declaration:
            raise DeclarationError(
                f"Two backbones are named {declaration.name!r}: {by_name[declaration.name].source} and "
                f"{declaration.source}. Rename one."
            )
    return list(by_name.values())


def _read(file: Path) -> Sequence[Declaration]:
    try:
        content = read_toml(file)
    except OSError as error:
        raise DeclarationError(
            f"Cannot read {file}: {error.strerror}. Correct --backbones-file, or the permissions of the file."
        ) from None
    except ValueError as error:
        raise DeclarationError(f"{file} cannot be read as TOML: {error}") from None
    tables = content.pop("backbones", None)
    if content:
        raise DeclarationError(
            f"{file}: Expected tables [backbones.NAME] only. Received: {next(iter(content))}."
        )
    if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()):
        raise DeclarationError(f"{file} must have a table [backbones.NAME] for each backbone.")
    declared = []
    for name, table in tables.items():
        try:
            declared.append(_of_values({"name": name, **table}, file.parent))
        except DeclarationError as error:
            raise DeclarationError(f"{file}: {error}") from None
    return declared


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _of_values(values: Mapping[str, Any], folder: Path) -> Declaration:
    """Create a declaration from its settings, with paths relative to a folder."""
    known = [field.name for field in dataclasses.fields(Declaration)]
    for name in values:
        if name not in known:
            raise DeclarationError(
                f"Backbone {values.get('name')!r}: Expected settings from {', '.join(known[1:])}. "
                f"Received: {name!r}."
            )
    if "source" not in values:
        raise DeclarationError(
            f"Backbone {values.get('name')!r}: The source is missing. Add one, such as source = "
            '"keras:MobileNetV3Small".'
        )
    return Declaration(**{name: _placed(name, value, folder) for name, value in values.items()})


def _placed(name: str, value: Any, folder: Path) -> Any:
    if name in _PLACES and _is_text(value):
        return _absolute(value, folder)
    if name in _CHANNELS and isinstance(value, int | float):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _absolute(place: str, folder: Path) -> str:
    """Make a path, or a source with one, independent of the working directory."""
    scheme, colon, location = place.partition(":") if ":" in place else ("", "", place)
    if not location.startswith(("./", "../", "~/")):
        return place
    return f"{scheme}{colon}{(folder / Path(location).expanduser()).resolve()}"
