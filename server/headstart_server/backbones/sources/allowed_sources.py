"""Check of declared backbones' sources against the operator's allowed sources."""

import os
from collections.abc import Iterable, Sequence

from headstart_server.backbones.networks.declaration import Declaration, DeclarationError

#: Separators of the parts of a location.
_ENDS = (":", "/", "@")


def check_sources(declarations: Iterable[Declaration], allowed: Sequence[str]) -> None:
    """Check that backbones come from allowed sources.

    Args:
        allowed: prefixes of sources that end with a whole part: ``keras:``, ``hf:ORG``, or a folder with or
            without a scheme, which must contain the files after links are resolved. Empty allows all.

    Raises:
        DeclarationError: a source, or a file of weights, is not allowed.
    """
    if not allowed:
        return
    for one in declarations:
        if not any(_allows(prefix, one.source) for prefix in allowed):
            _refuse(one, "source", one.source)
        if one.weights is not None and not any(_allows(_location(prefix), one.weights) for prefix in allowed):
            _refuse(one, "weights", one.weights)


def _refuse(one: Declaration, what: str, received: str) -> None:
    raise DeclarationError(
        f"Backbone {one.name!r}, {what}: Expected one that --allow-backbone allows. Received: {received}."
    )


def _location(place: str) -> str:
    return place if place.startswith("/") else place.partition(":")[2]


def _allows(prefix: str, place: str) -> bool:
    location, wanted = _location(prefix), _location(place)
    if location.startswith("/") != wanted.startswith("/"):
        # A scheme alone also allows its files.
        return prefix.endswith(":") and place.startswith(prefix)
    if wanted.startswith("/"):
        scheme = prefix.removesuffix(location)
        return (not scheme or place.startswith(scheme)) and _is_beneath(wanted, location)
    return bool(prefix) and (
        place == prefix
        or (place.startswith(prefix) and (prefix.endswith(_ENDS) or place[len(prefix)] in _ENDS))
    )


def _is_beneath(path: str, folder: str) -> bool:
    real, base = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([real, base]) == base
