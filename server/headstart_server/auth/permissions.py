"""Rights, and which principals have them on which models."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from headstart_server.auth.tenants import own_name, tenant_of


class Right(StrEnum):
    """A right. No right includes another."""

    PREDICT = "predict"
    TRAIN = "train"
    ADMIN = "admin"
    FEEDBACK = "feedback"
    REVIEW = "review"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Rights on some models."""

    rights: frozenset[Right]
    models: tuple[str, ...]  # names of models, or prefixes of them followed by ``*``

    def covers(self, model: str) -> bool:
        """Return whether the grant covers the model of this name."""
        return any(matches(pattern, model) for pattern in self.models)


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """A caller with grants."""

    name: str  # for the audit log and for operators
    tenant: str = ""  # the tenant whose models and jobs they see; empty for none
    grants: tuple[Grant, ...] = ()

    def has(self, right: Right) -> bool:
        """Return whether the principal has a right on any model."""
        return any(right in grant.rights for grant in self.grants)

    def knows(self, model: str) -> bool:
        """Return whether the principal has any right on the model of this name."""
        return any(grant.covers(model) for grant in self.grants)

    def may(self, right: Right, model: str) -> bool:
        """Return whether the principal has this right on the model of this name."""
        return any(right in grant.rights and grant.covers(model) for grant in self.grants)

    def scope(self, rights: Collection[Right] = tuple(Right)) -> "Scope":
        """Return the models on which the principal has one of some rights."""
        found = [name for grant in self.grants if grant.rights & set(rights) for name in grant.models]
        return Scope(tenant=self.tenant, models=tuple(dict.fromkeys(found)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Some of the models of one tenant."""

    tenant: str = ""  # the tenant; empty for none
    models: tuple[str, ...] = ("*",)

    def covers(self, full: str) -> bool:
        """Return whether a model, by its name within the server, is in the scope."""
        return tenant_of(full) == self.tenant and any(matches(each, own_name(full)) for each in self.models)


#: The caller of a server without an access file.
UNRESTRICTED = Principal(name="", grants=(Grant(rights=frozenset(Right), models=("*",)),))


def matches(pattern: str, model: str) -> bool:
    """Return whether a name equals a pattern, or begins with the part before its ``*``."""
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern
