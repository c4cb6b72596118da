"""Other versions of a model whose predictions are compared with those of a version, but not returned."""

from headstart_server.errors import AliasNotFound
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Selector

#: The alias of each model's shadow.
SHADOW_ALIAS = "shadow"


def shadow_of(
    registry: Registry, version: ResidentVersion, alias: str = SHADOW_ALIAS
) -> ResidentVersion | None:
    """Return the shadow of a version if its head can be applied to the same features; otherwise None.

    Raises:
        VersionNotFound or ArtifactDamaged: the shadow was deleted meanwhile, or its files are damaged.
        ServiceUnavailable: its files cannot be read now.
    """
    try:
        number = registry.index.resolve(Selector(model=version.model, alias=alias))
    except AliasNotFound:
        return None
    return None if number == version.number else comparable(registry, version, number)


def comparable(registry: Registry, version: ResidentVersion, number: int) -> ResidentVersion | None:
    """Return another version of the same model if its head can be applied to the same features; else None.

    Raises:
        VersionNotFound or ArtifactDamaged: it was deleted meanwhile, or its files are damaged.
        ServiceUnavailable: its files cannot be read now.
    """
    shadow = registry.files.resident(version.model, number) or registry.files.load(version.model, number)
    same = shadow.backbone_digest == version.backbone_digest and shadow.tail is None
    return shadow if same and shadow.head.task is version.head.task else None
