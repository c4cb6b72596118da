"""Scope of cached features: shared by all tenants, or separate per tenant."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

# The tenant of the current call or job; threads that work for a call receive a copy.
_TENANT: ContextVar[str] = ContextVar("cache_tenant")


def shared_key(backbone: str) -> str | None:
    """Return the key of a backbone's features where all tenants share them."""
    return backbone


def tenant_key(backbone: str) -> str | None:
    """Return the key of the features that a backbone computed for the current tenant.

    None without a current tenant: such features are neither looked up nor stored, because another tenant must
    not find them.
    """
    tenant = _TENANT.get(None)
    return None if tenant is None else f"{backbone} for {tenant}"


def work_for(tenant: str) -> Token[str]:
    """Set the tenant of the current call; empty for none."""
    return _TENANT.set(tenant)


@contextmanager
def working_for(tenant: str) -> Iterator[None]:
    """Set the tenant within the block; empty for none."""
    token = work_for(tenant)
    try:
        yield
    finally:
        _TENANT.reset(token)
