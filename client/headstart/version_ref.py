"""A reference to a version of a model."""

import re
from dataclasses import dataclass

from headstart.v1 import prediction_service_pb2 as pb

__all__ = ["VersionRef", "parse_version", "selector", "version_ref"]

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A version of a model: the default, or one by its number or by an alias.

    The default is the newest version that no promotion gate rejected.

    Attributes:
        model: the model.
        version: the version's number. None: by the alias, or the default.
        alias: an alias of the version. None: by the number, or the default.

    Raises:
        ValueError: both a version and an alias are given.
    """

    model: str
    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.alias is not None:
            raise ValueError(
                "Give a version or an alias, not both. "
                f"Received: version={self.version}, alias={self.alias!r}"
            )

    def __str__(self) -> str:
        which = self.alias if self.version is None else self.version
        return self.model if which is None else f"{self.model}@{which}"


def parse_version(version: VersionRef | str) -> VersionRef:
    """Return the reference that a text spells.

    Args:
        version: ``pets`` (the default version), ``pets@3`` (a number), ``pets@stable`` (an alias), or a
            reference already.

    Raises:
        ValueError: the text ends with "@".
    """
    if isinstance(version, VersionRef):
        return version
    model, separator, which = version.partition("@")
    if not separator:
        return VersionRef(model)
    if not which:
        raise ValueError(f"Expected a number or an alias after '@'. Received: {version!r}")
    if _NUMBER.fullmatch(which):
        return VersionRef(model, version=int(which))
    return VersionRef(model, alias=which)


def version_ref(model: str, version: int | None = None, alias: str | None = None) -> VersionRef:
    """Return the reference of a model's name, which may contain the version, and a version or an alias.

    Raises:
        ValueError: the version is named twice.
    """
    if version is None and alias is None:
        return parse_version(model)
    if "@" in model:
        second = f"version={version}" if alias is None else f"alias={alias!r}"
        raise ValueError(f"The version is named twice. Remove one. Received: {model!r} and {second}")
    return VersionRef(model, version=version, alias=alias)


def selector(version: VersionRef) -> pb.VersionSelector:
    """Return the message of a reference."""
    return pb.VersionSelector(model=version.model, version=version.version, alias=version.alias)
