"""The caller of the current call, for the services."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from headstart_server.auth.authenticator import Caller
from headstart_server.auth.permissions import UNRESTRICTED, Principal, Right, Scope
from headstart_server.embedding.cache import work_for

# Each call is a separate task, and its worker threads get a copy.
_CALLER: ContextVar[Caller] = ContextVar("caller")
_UNRESTRICTED = Caller(principal=UNRESTRICTED)


def set_caller(caller: Caller) -> None:
    """Set the caller of this task."""
    _CALLER.set(caller)
    work_for(caller.principal.tenant)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Make a principal the caller, for messages that are created outside of a call."""
    before = _CALLER.set(Caller(principal=principal))
    try:
        yield
    finally:
        _CALLER.reset(before)


def caller() -> Caller:
    """Return the caller of this task; without authentication, one with all permissions."""
    return _CALLER.get(_UNRESTRICTED)


def tenant() -> str:
    """Return the tenant of the caller; empty without one."""
    return caller().principal.tenant


def is_operator(principal: Principal | None = None) -> bool:
    """Return whether a principal, by default the caller, may see paths and URLs of the server."""
    principal = principal or caller().principal
    return principal is UNRESTRICTED or (not principal.tenant and principal.has(Right.ADMIN))


def scope(*rights: Right) -> Scope | None:
    """Return the models on which the caller has one of some rights; None for all models."""
    principal = caller().principal
    return None if principal is UNRESTRICTED else principal.scope(rights or tuple(Right))
