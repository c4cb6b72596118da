"""Which version of which model shall answer."""

import re
from dataclasses import dataclass

from headstart.v1 import prediction_service_pb2 as pb

__all__ = ["Target", "parse_target", "selector"]

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Target:
    """A version of a model: the default, or one by its number or by an alias.

    The default is the newest version, without those that a promotion gate rejected and no alias names.

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


def parse_target(target: Target | str) -> Target:
    """Reads ``pets`` (the default version), ``pets@3`` (a number) and ``pets@stable`` (an alias)."""
    if isinstance(target, Target):
        return target
    model, _, which = target.partition("@")
    if not which:
        return Target(model)
    return Target(model, version=int(which)) if _NUMBER.fullmatch(which) else Target(model, alias=which)


def selector(target: Target) -> pb.VersionSelector:
    """The target's message."""
    return pb.VersionSelector(model=target.model, version=target.version, alias=target.alias)
