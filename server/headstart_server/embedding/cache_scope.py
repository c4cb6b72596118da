"""Whose features are whose in the cache: everybody's are the same for all, or each tenant has its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

# Of the call or the job that is being worked for; threads that work for a call get a copy.
_TENANT: ContextVar[str] = ContextVar("cache_tenant")


def shared_key(backbone: str) -> str | None:
    """The key of a backbone's features where all tenants share them: its own."""
    return backbone


def tenant_key(backbone: str) -> str | None:
    """The key of the features that a backbone computed for the tenant that is being worked for.

    None where nobody said who that is: then nothing is looked up and nothing kept, for what is not known to
    be of one tenant must not be found by another.
    """
    tenant = _TENANT.get(None)
    return None if tenant is None else f"{backbone} for {tenant}"


def work_for(tenant: str) -> Token[str]:
    """Tell for which tenant this call works; empty for none."""
    return _TENANT.set(tenant)


@contextmanager
def working_for(tenant: str) -> Iterator[None]:
    """Tell for which tenant the block works; empty for none."""
    token = work_for(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)
