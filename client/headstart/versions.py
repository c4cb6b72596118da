"""Finds one version among the pages of its model's versions, and joins the pages."""

from dataclasses import replace

import grpc

from headstart.calls import Page
from headstart.errors import ErrorDetails, NotFound
from headstart.results import Alias, Model, Version

__all__ = ["found_alias", "found_version", "joined_model"]


def found_version(page: Page[Model], number: int) -> tuple[Version | None, str]:
    """Looks for a version in a page.

    Returns:
        The version, or None and the token of the next page to look in.

    Raises:
        NotFound: it is in no page.
    """
    (model,) = page.items
    for version in model.versions:
        if version.number == number:
            return version, ""
    if page.next_token and model.versions and model.versions[-1].number > number:
        return None, page.next_token
    message = f"Version {number} of model {model.name} is deleted."
    details = ErrorDetails(code=grpc.StatusCode.NOT_FOUND, message=message, reason="VERSION_NOT_FOUND")
    raise NotFound(details)


def found_alias(model: Model, name: str) -> Alias:
    """Return an alias of a model.

    Raises:
        NotFound: the model has no such alias.
    """
    for alias in model.aliases:
        if alias.name == name:
            return alias
    message = f"Model '{model.name}' has no alias '{name}'."
    details = ErrorDetails(code=grpc.StatusCode.NOT_FOUND, message=message, reason="ALIAS_NOT_FOUND")
    raise NotFound(details)


def joined_model(pages: list[Model], limit: int | None) -> Model:
    """The model with the versions of all pages, the first `limit` of them."""
    versions = tuple(version for page in pages for version in page.versions)
    return replace(pages[0], versions=versions[:limit])
