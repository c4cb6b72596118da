"""Which kinds of content each modality takes."""

from headstart_server.backbones.backbone import BackboneInfo, Content, Modality
from headstart_server.errors import WrongModality

# An array is a decoded picture to an image backbone.
_TAKES = {
    Modality.IMAGE: ("image", "tensor"),
    Modality.TEXT: ("text",),
    Modality.TENSOR: ("tensor",),
}


def check_modality(info: BackboneInfo, content: Content, field: str, name: str = "") -> None:
    """Check that a backbone takes content of this kind.

    Raises:
        WrongModality: it does not.
    """
    kind = "image" if isinstance(content, bytes) else "text" if isinstance(content, str) else "tensor"
    takes = _TAKES[info.modality]
    if kind not in takes:
        raise WrongModality(
            f"Backbone '{info.name}' takes {info.modality.value} inputs. Expected {' or '.join(takes)} "
            f"in {field}{f' ({name!r})' if name else ''}. Received: {kind}.",
            field=field,
            metadata={"backbone": info.name},
        )
