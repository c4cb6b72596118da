"""A server in one process, whose default backbone is loaded while the other modules are imported."""

import asyncio
from collections.abc import Iterable

import structlog

from headstart_server.app.backbone_catalog import catalog_of
from headstart_server.app.memory import keep_freed_memory
from headstart_server.app.server_logs import configure_server_logs
from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.settings.settings import Settings

log = structlog.get_logger(__name__)


def serve(settings: Settings, source: BackboneSource | None = None, *, warnings: Iterable[str] = ()) -> None:
    """Run a server in this process until it is stopped.

    Args:
        settings: the settings of the server.
        source: provides the backbones; None uses the `Catalog`.
        warnings: warnings about the settings, which are logged.

    Raises:
        Exception: as `App` and `App.run`.
    """
    keep_freed_memory()
    configure_server_logs(settings)
    for warning in warnings:
        log.warning("unknown_setting", message=warning)
    if source is None:
        source = catalog = catalog_of(settings)
        catalog.load_early(catalog.quantized.preferred(settings.backbones.default_backbone))
    from headstart_server.app.lifecycle import App  # noqa: PLC0415 - takes a second, next to the loading

    asyncio.run(App(settings, source).run())
