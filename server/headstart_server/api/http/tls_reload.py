"""TLS of the HTTP port: its files are looked at whenever somebody connects, as on the port of gRPC."""

import ssl
import time
from collections.abc import Callable
from typing import Any

import structlog

from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.reloading import ReloadedFiles

log = structlog.get_logger(__name__)


class ReloadingTlsContexts:
    """Gives connections what the files say when they are made: certificate, key, and who signs clients'.

    Python's `ssl` asks the context of a port when a client has said hello, and takes another one for the
    connection then. Files that cannot be read, or do not fit together, as in the middle of a renewal, change
    nothing. Used in one thread.

    Args:
        clock: seconds since 1970, those that `ssl` notes with a session.

    Raises:
        OSError: a file cannot be read, or is not what it has to be.
    """

    def __init__(self, files: TlsFiles, *, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._clock = clock
        self._changed = float("-inf")
        self._contexts = ReloadedFiles(files.paths, lambda: _context(files))
        #: What the port is opened with.
        self.shown = self._contexts.value
        self.shown.sni_callback = self._choose

    def is_out_of_date(self, connection: ssl.SSLObject) -> bool:
        """Whether a connection goes on with a session that other files allowed: it may not go on.

        Sessions of TLS 1.2 are kept by the port's first context, whatever it was changed for; no certificate
        is shown when one is taken up again.
        """
        session = connection.session
        return bool(connection.session_reused and session and session.time <= self._changed)

    def _choose(self, connection: Any, _: str | None, context: ssl.SSLContext) -> None:
        """Have a connection go by the files as they are now, whether its client names a server or not."""
        self._renew()
        if self._contexts.value is not context:
            connection.context = self._contexts.value

    def _renew(self) -> None:
        try:
            if not self._contexts.reload():
                return
        except OSError as error:
            log.warning("tls_files_reload_failed", error=str(error))
            return
        self._changed = self._clock()
        log.info("tls_files_reloaded", cert=str(self._files.cert))


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # With a ticket the client keeps the session, and its age is unknown here.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.cert, files.key, password="")
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        raise OSError(f"The TLS files of the HTTP port are no PEM certificate and key: {error}.") from error
    return context
