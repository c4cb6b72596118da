"""Rules for names of models, aliases and datasets."""

import re

from headstart_server.auth.tenants import SEPARATOR
from headstart_server.errors import InvalidField

#: Maximum characters of a model's name, including its tenant's prefix.
MAX_MODEL_NAME = 128

# \Z, not $: the latter would let a trailing newline pass.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}\Z")


def check_dataset_name(name: str) -> str:
    """Return the name if it is a valid dataset name."""
    return check_model_name(name, "dataset", "dataset")


def check_model_name(name: str, field: str = "model", kind: str = "model") -> str:
    """Return the name if it is a valid model name; `kind` is the noun for messages."""
    if not name:
        raise InvalidField(f"{field} is missing. Set it in the request.", field=field)
    if not _MODEL.match(name):
        raise InvalidField(
            f"Expected a {kind} name of 1 to 128 of the characters a-z A-Z 0-9 . _ - that begins with a "
            f"letter or a digit. Received: {_shown(name)}.",
            field=field,
        )
    return name


def check_full_name(name: str, field: str = "model", kind: str = "model") -> str:
    """Return the name if it is a valid model name, which a tenant's name may precede."""
    tenant, separator, own = name.rpartition(SEPARATOR)
    if separator and not _MODEL.match(tenant):
        own = name
    check_model_name(own, field, kind)
    return name


def check_alias_name(name: str, field: str = "alias") -> str:
    """Return the name if it is a valid alias."""
    if not _ALIAS.match(name):
        raise InvalidField(
            "Expected an alias of 1 to 128 of the characters a-z A-Z 0-9 . _ - that begins with a letter. "
            f"Received: {_shown(name)}.",
            field=field,
        )
    return name


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 140 else f"{name[:40]!r}... ({len(name)} characters)"
