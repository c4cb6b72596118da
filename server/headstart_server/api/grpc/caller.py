"""Who makes the call that is being answered, for the services that answer it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from headstart_server.auth.authenticator import Caller
from headstart_server.auth.permissions import UNRESTRICTED, Principal, Right, Scope
from headstart_server.embedding.cache_scope import work_for

# Each call is a task of its own, and threads that work for it get a copy.
_CALLER: ContextVar[Caller] = ContextVar("caller")
_EVERYBODY = Caller(principal=UNRESTRICTED)


def set_caller(caller: Caller) -> None:
    """Tell who makes the call of this task."""
    _CALLER.set(caller)
    work_for(caller.principal.tenant)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Let a principal be the caller, for messages that are made outside of a call."""
    before = _CALLER.set(Caller(principal=principal))
    try:
        yield
    finally:
        _CALLER.reset(before)


def caller() -> Caller:
    """Who makes the call; whoever it is where nobody was told apart."""
    return _CALLER.get(_EVERYBODY)


def tenant() -> str:
    """The tenant on whose behalf it is made; empty for none."""
    return caller().principal.tenant


def is_operator(principal: Principal | None = None) -> bool:
    """Return whether a principal, by default the caller, may see paths and URLs of the server."""
    principal = principal or caller().principal
    return principal is UNRESTRICTED or (not principal.tenant and principal.has(Right.ADMIN))


def scope(*rights: Right) -> Scope | None:
    """The models on which the caller has one of some rights; None for all that there are."""
    principal = caller().principal
    return None if principal is UNRESTRICTED else principal.scope(rights or tuple(Right))
