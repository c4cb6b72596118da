"""A reference to a version of a model."""

import re
from dataclasses import dataclass
from operator import index

from headstart.v1 import version_selector_pb2

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version of a model: the default, or one by its number or by an alias.

    The default is the newest version that no promotion gate rejected.

    Attributes:
        model: the model.
        version: number of the version. None: by the alias, or the default.
        alias: alias of the version. None: by the number, or the default.

    Raises:
        ValueError: both a version and an alias are given.
        TypeError: the model is not a name, or the version not an integer.
    """

    model: str
    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.model)
        if self.version is not None and not hasattr(self.version, "__index__"):
            raise TypeError(f"A version must be an integer. Received: {self.version!r}")
        if self.alias is not None and not isinstance(self.alias, str):
            raise TypeError(f"An alias must be a name, such as 'stable'. Received: {self.alias!r}")
        if self.version is not None and self.alias is not None:
            raise ValueError(
                "Give a version or an alias, not both. "
                f"Received: version={self.version}, alias={self.alias!r}"
            )

    def __str__(self) -> str:
        which = self.alias if self.version is None else self.version
        return self.model if which is None else f"{self.model}@{which}"


def parse_version(version: VersionRef | str) -> VersionRef:
    """Return the reference of ``pets`` (the default version), ``pets@3`` or ``pets@stable``."""
    if isinstance(version, VersionRef):
        return version
    _check_name(version)
    model, separator, which = version.partition("@")
    if not separator:
        return VersionRef(model)
    if not which:
        raise ValueError(f"Expected a number or an alias after '@'. Received: {version!r}")
    if _NUMBER.fullmatch(which):
        return VersionRef(model, version=int(which))
    return VersionRef(model, alias=which)


def version_ref(model: str, version: int | None = None, alias: str | None = None) -> VersionRef:
    """Return the reference of a model's name, which may contain the version, and a version or an alias."""
    if version is None and alias is None:
        return parse_version(model)
    _check_name(model)
    if "@" in model:
        second = f"version={version}" if alias is None else f"alias={alias!r}"
        raise ValueError(f"The version is named twice. Remove one. Received: {model!r} and {second}")
    return VersionRef(model, version=version, alias=alias)


def plain_model(model: str) -> str:
    """Return the name of a model; raise ValueError if it contains a version."""
    _check_name(model)
    name, separator, which = model.partition("@")
    if separator:
        key = which if _NUMBER.fullmatch(which) else repr(which)
        raise ValueError(f"Expected a model without a version: model({name!r})[{key}]. Received: {model!r}")
    return name


def other_version(ref: VersionRef, version: VersionRef | str | int) -> VersionRef:
    """Return another version; a number or an alias is of the same model."""
    if isinstance(version, VersionRef):
        return version
    if isinstance(version, str):
        return parse_version(version) if "@" in version else VersionRef(ref.model, alias=version)
    if not hasattr(version, "__index__"):
        raise TypeError(f"A version must be an integer or an alias. Received: {version!r}")
    number = index(version)
    if isinstance(version, bool) or number < 1:
        raise ValueError(f"The number of a version is 1 or more. Received: {version}")
    return VersionRef(ref.model, version=number)


def _check_name(model: object) -> None:
    if not isinstance(model, str):
        raise TypeError(f"A model must be a name, such as 'pets' or 'pets@stable'. Received: {model!r}")


def numbered(ref: VersionRef) -> int:
    """Return the number of a version; raise ValueError if the reference has none."""
    if ref.version is None:
        raise ValueError(f"Name the version by its number, such as '{ref.model}@3'. Received: {str(ref)!r}")
    return ref.version


def selector(version: VersionRef) -> version_selector_pb2.VersionSelector:
    """Return the message of a reference."""
    return version_selector_pb2.VersionSelector(
        model=version.model, version=version.version, alias=version.alias
    )
