"""TLS of the HTTP port: each new connection checks the files for changes, as on the gRPC port."""

import ssl
import time
from collections.abc import Callable
from typing import Any

import structlog

from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.reloading import ReloadedFiles

log = structlog.get_logger(__name__)


class ReloadingTlsContexts:
    """TLS contexts with the current certificate, key and client CAs for each new connection.

    After a client's hello, Python's `ssl` calls the port's context, which can replace the context of the
    connection. Files that cannot be read, or do not belong together, as in the middle of a renewal, are
    ignored. Used in one thread.

    Args:
        clock: seconds since 1970, as in the sessions of `ssl`.

    Raises:
        OSError: a file cannot be read or is invalid.
    """

    def __init__(self, files: TlsFiles, *, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._clock = clock
        self._changed = float("-inf")
        self._contexts = ReloadedFiles(files.paths, lambda: _context(files))
        #: The context with which the port is opened.
        self.shown = self._contexts.value
        self.shown.sni_callback = self._choose

    def is_out_of_date(self, connection: ssl.SSLObject) -> bool:
        """Return whether a connection resumes a session older than the current files, and must be closed.

        The port's first context keeps sessions of TLS 1.2, even after a change of the context. A resumed
        session sends no certificate.
        """
        session = connection.session
        return bool(connection.session_reused and session and session.time <= self._changed)

    def _choose(self, connection: Any, _: str | None, context: ssl.SSLContext) -> None:
        """Use the current files for a connection, even if its client names no server."""
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
    # With tickets the client would keep the session, and the server would not know its age.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.cert, files.key, password="")
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, ValueError) as error:
        raise OSError(
            f"The TLS files of the HTTP port are not a valid PEM certificate and key: {error}."
        ) from error
    return context
