"""Kinds of content that each modality accepts, and default backbones."""

from collections.abc import Iterable

import numpy as np

from headstart_server.backbones.contract.backbone import BackboneInfo, Content, Modality
from headstart_server.backbones.contract.vectors import FAMILY
from headstart_server.errors import WrongModality

# To an image backbone, an array is a decoded image.
_TAKES = {
    Modality.IMAGE: ("image", "tensor"),
    Modality.TEXT: ("text",),
    Modality.TENSOR: ("tensor",),
}


def kind_of(content: Content) -> str:
    """Return the kind of a content: image, text or tensor."""
    return "image" if isinstance(content, bytes) else "text" if isinstance(content, str) else "tensor"


def kinds_of(modality: Modality) -> tuple[str, ...]:
    """Return the kinds of content that backbones of a modality accept."""
    return _TAKES[modality]


def takes(info: BackboneInfo, kind: str) -> bool:
    """Return whether a backbone accepts a kind of content."""
    return kind in _TAKES[info.modality]


def check_modality(info: BackboneInfo, content: Content, field: str, name: str = "") -> None:
    """Raise `WrongModality` if a backbone does not accept a content."""
    check_kind(info, kind_of(content), field, name)


def check_kind(info: BackboneInfo, kind: str, field: str, name: str = "") -> None:
    """Raise `WrongModality` if a backbone does not accept a kind of content."""
    if not takes(info, kind):
        taken = " or ".join(_TAKES[info.modality])
        raise WrongModality(
            f"Backbone '{info.name}' takes {info.modality.value} inputs. Expected {taken} "
            f"in {field}{f' ({name!r})' if name else ''}. Received: {kind}.",
            field=field,
            metadata={"backbone": info.name},
        )


def default_for_kind(default: BackboneInfo, infos: Iterable[BackboneInfo], kind: str) -> BackboneInfo:
    """Return the first backbone that accepts a kind of content, the default first; else the default."""
    return next((info for info in (default, *infos) if takes(info, kind)), default)


def default_backbone_for(default: BackboneInfo, infos: Iterable[BackboneInfo], content: Content) -> str:
    """Return the name of the default backbone for a content.

    It is the server's default backbone if it accepts the content, else the first backbone that does. Arrays
    of one dimension are features, which need no network; other arrays are decoded images.
    """
    kind = kind_of(content)
    is_row = isinstance(content, np.ndarray) and content.ndim == 1
    if is_row and default.modality is not Modality.TENSOR:
        return f"{FAMILY}{len(content)}"
    return default_for_kind(default, infos, kind).name
