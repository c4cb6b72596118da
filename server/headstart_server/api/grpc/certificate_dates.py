"""The validity of the server's own certificate: a warning before it expires, and when it is invalid."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog

from headstart_server.api.grpc.tls import TlsFiles

log = structlog.get_logger(__name__)

#: Seconds before its expiry at which a certificate causes a warning, and the part of its lifetime that is
#: enough for one that is renewed more often.
EXPIRING_SECONDS = 14 * 86400.0
_EXPIRING_PART = 0.25
#: OpenSSL's flag X509_V_FLAG_NO_CHECK_TIME, so that expired certificates can be read, too.
_NO_TIME_CHECK = 0x200000


class CertificateDates:
    """Log once if the certificate expires soon, and once if clients reject it because of its dates.

    Args:
        files: the TLS files of the ports.
        clock: seconds since 1970.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.time) -> None:
        self._files = files
        self._clock = clock
        self._logged: tuple[bool, float] | None = None

    def check(self) -> None:
        """Read the certificate, and log a change of its state."""
        try:
            facts = own_certificate(self._files)
        except OSError:
            # Logged by the port, which continues with the last valid files.
            return
        starts, ends = (ssl.cert_time_to_seconds(facts[field]) for field in ("notBefore", "notAfter"))
        now = self._clock()
        is_valid = starts <= now <= ends
        if is_valid and ends - now > min(EXPIRING_SECONDS, _EXPIRING_PART * (ends - starts)):
            self._logged = None
        elif (is_valid, ends) != self._logged:
            self._logged = (is_valid, ends)
            log.warning(
                "tls_certificate_expiring" if is_valid else "tls_certificate_invalid",
                cert=str(self._files.cert),
                not_before=_date(starts),
                not_after=_date(ends),
            )


def own_certificate(files: TlsFiles) -> dict[str, Any]:
    """Return the server's certificate as a client decodes it; raise OSError if the handshake fails."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.cert, files.key, password="")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate itself is trusted, so its issuer does not matter.
    client.load_verify_locations(files.cert)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_TIME_CHECK)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    # Each end reads what the other has written; three rounds complete a handshake.
    for end in ends * 3:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return dict(ends[0].getpeercert() or {})


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
