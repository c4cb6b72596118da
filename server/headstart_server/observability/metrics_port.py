"""The HTTP port on which Prometheus reads the metrics."""

import socket
import threading
from contextlib import suppress

from prometheus_client import CollectorRegistry, start_http_server

from headstart_server.addresses import host_and_port


class MetricsPort:
    """Serve a registry over HTTP; listens when it is created.

    Args:
        port: 0 takes a free one.

    Raises:
        OSError: the port is in use, or the address belongs to another machine.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        try:
            self._server, _ = start_http_server(port, host, registry=registry)
        except OSError as error:
            raise OSError(
                f"Cannot listen on {host_and_port(host, port)} for metrics: {error.strerror}. "
                "Choose another --metrics-port or --host."
            ) from error
        self._host, self.port = host, self._server.server_port

    def close(self) -> None:
        """Release the port."""
        stopping = threading.Thread(target=self._server.shutdown, daemon=True)
        stopping.start()
        # A connection ends the wait of the server's loop, which otherwise takes half a second.
        with suppress(OSError):
            socket.create_connection((self._host, self.port), timeout=1.0).close()
        stopping.join()
        self._server.server_close()
