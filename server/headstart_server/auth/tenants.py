"""Names of a tenant's models: ``TENANT/NAME`` within the server, and ``NAME`` for the tenant's callers.

So two tenants may use the same name, and a lookup by name finds only models of the caller's tenant. A name
that a caller sends never holds the separator.
"""

import re

SEPARATOR = "/"


def full_name(tenant: str, name: str) -> str:
    """Return the name of a tenant's model within the server."""
    return f"{tenant}{SEPARATOR}{name}" if tenant else name


def tenant_of(full: str) -> str:
    """Return the tenant of a model; empty for none."""
    return full.rpartition(SEPARATOR)[0]


def own_name(full: str) -> str:
    """Return the name of a model for the callers of its tenant."""
    return full.rpartition(SEPARATOR)[2]


def without_tenant(tenant: str, text: str) -> str:
    """Return a text without the tenant's prefix of model names.

    Paths and URIs stay unchanged, even if one of their parts is the tenant's name.
    """
    if not tenant:
        return text
    return re.sub(rf"(?<![\w./-]){re.escape(tenant + SEPARATOR)}", "", text)
