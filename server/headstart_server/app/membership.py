"""The membership of a process in its server, as the only process or as one of several."""

import structlog

from headstart_server.api.server import Server
from headstart_server.app.build import Objects
from headstart_server.embedding.embedder import Embedder
from headstart_server.observability.telemetry import process_age

log = structlog.get_logger(__name__)


class Membership:
    """The membership of the only process of a server."""

    async def join(self, objects: Objects, server: Server | None) -> None:
        """Connect to the other processes, before calls are accepted."""

    def listening(self) -> None:
        """Report that the ports accept connections."""

    async def ready(self, objects: Objects, server: Server | None, embedder: Embedder) -> None:
        """Report that the default backbone is loaded, so calls are answered."""
        if server is not None:
            server.set_serving(True)
        seconds = round(process_age(), 2)
        objects.telemetry.serving_started(seconds)
        log.info(
            "serving",
            backbone=objects.pool.default,
            runtime=embedder.runtime,
            seconds_since_start=seconds,
        )

    def leave(self) -> None:
        """Disconnect, after the last call."""
