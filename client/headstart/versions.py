"""Lookup of aliases."""

import grpc

from headstart.errors import ErrorDetails, NotFound
from headstart.results import Alias, Model

__all__ = ["find_alias"]


def find_alias(model: Model, name: str) -> Alias:
    """Return an alias of a model; raise NotFound if it does not exist."""
    for alias in model.aliases:
        if alias.alias == name:
            return alias
    message = f"Model '{model.model}' has no alias '{name}'."
    details = ErrorDetails(code=grpc.StatusCode.NOT_FOUND, message=message, reason="ALIAS_NOT_FOUND")
    raise NotFound(details)
