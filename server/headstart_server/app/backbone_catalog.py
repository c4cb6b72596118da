"""The backbones that settings declare, their catalog, and the default one."""

from collections.abc import Sequence

import structlog

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import RuntimeSettings, runtime_settings
from headstart_server.backbones.networks.declaration import Declaration, declared
from headstart_server.backbones.sources.allowed_sources import check_sources
from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.settings.job_groups import BackbonesGroup
from headstart_server.settings.settings import Settings

log = structlog.get_logger(__name__)


def declarations_of(backbones: BackbonesGroup) -> Sequence[Declaration]:
    """Return the declared backbones; raise a ValueError if one is invalid or not allowed."""
    found = declared(backbones.backbones_file, backbones.backbone)
    check_sources(found, backbones.allow_backbone)
    return found


def catalog_of(settings: Settings, runtimes: RuntimeSettings | None = None) -> Catalog:
    """Return the catalog of backbones; raise as `declarations_of` and `Catalog`."""
    return Catalog(
        declarations_of(settings.backbones),
        max_pixels=settings.limits.max_pixels,
        runtimes=runtimes or runtime_settings(settings.backbones),
    )


def default_backbone(source: BackboneSource, name: str) -> str:
    """Return the default backbone: the quantized form of the configured one if it is preferred."""
    if not isinstance(source, Catalog):
        return name
    choice = source.quantized.choice(name)
    if choice.reason:
        log.info("backbone_precision_chosen", backbone=name, int8=choice.is_quantized, reason=choice.reason)
    return source.quantized.preferred(name)
