"""Names of models of a tenant: within the server they are ``TENANT/NAME``, and to the tenant ``NAME``.

So two tenants may have models of one name, and whatever finds a model by its name finds only those of the
tenant who asks. A name that a caller sends never holds the separator.
"""

import re

SEPARATOR = "/"


def full_name(tenant: str, name: str) -> str:
    """The name that a model of a tenant has within the server."""
    return f"{tenant}{SEPARATOR}{name}" if tenant else name


def tenant_of(full: str) -> str:
    """The tenant that a model is of; empty for none."""
    return full.rpartition(SEPARATOR)[0]


def own_name(full: str) -> str:
    """The name that a model has to its tenant."""
    return full.rpartition(SEPARATOR)[2]


def without_tenant(tenant: str, text: str) -> str:
    """Return a text with the names of a tenant's models as the tenant knows them.

    Paths and URIs stay as they are, also those with the tenant as one of their steps.
    """
    if not tenant:
        return text
    return re.sub(rf"(?<![\w./-]){re.escape(tenant + SEPARATOR)}", "", text)
