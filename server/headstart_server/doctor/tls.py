"""Checks the certificates of the TLS ports with the standard library alone."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from headstart_server.api.grpc.tls import Certificates, TlsFiles, tls_files
from headstart_server.doctor.finding import Finding, failed, ok, skipped, warning
from headstart_server.doctor.security import remedy_of, unreadable
from headstart_server.settings.settings import Settings, is_loopback

#: Seconds before its expiry from which on a certificate needs attention.
RENEWAL_SECONDS = 30 * 86400.0
#: OpenSSL's flag X509_V_FLAG_NO_CHECK_TIME, so that expired certificates can be read, too.
_NO_TIME_CHECK = 0x200000


def check_tls(config: Settings, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Check certificate, key and client CA at a time, in seconds since 1970."""
    files = tls_files(config.tls)
    if files is None:
        yield _plain(config)
        return
    unusable = [(path, reason) for path in files.paths if (reason := unreadable(path))]
    for path, reason in unusable:
        yield failed("TLS", reason, remedy_of(path), file=str(path))
    if unusable:
        return
    try:
        Certificates(files)
        facts = _own_certificate(files)
    except OSError as error:
        yield failed("TLS", str(error), "Provide a certificate chain and the key that belongs to it, in PEM.")
        return
    yield certificate_finding("TLS certificate", facts, clock())
    if files.client_ca is not None:
        yield _client_ca(files.client_ca.read_text(errors="replace"), clock())


def _plain(config: Settings) -> Finding:
    if is_loopback(config.server.host):
        return skipped("TLS", "off: only this machine can connect")
    return warning(
        "TLS",
        f"off (--plaintext) on {config.server.host}: anyone on the way can read and change calls.",
        "Set --tls-cert and --tls-key, unless a mesh or proxy encrypts the connections.",
    )


def _own_certificate(files: TlsFiles) -> dict[str, Any]:
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


def certificate_finding(name: str, facts: dict[str, Any], now: float) -> Finding:
    """Return whether a certificate is valid now and for some time.

    Args:
        facts: the certificate as `ssl.SSLSocket.getpeercert` returns it.
        now: seconds since 1970.
    """
    starts, ends = (ssl.cert_time_to_seconds(facts[field]) for field in ("notBefore", "notAfter"))
    names = [value for _, value in facts.get("subjectAltName", ())]
    subject = ", ".join(value for part in facts.get("subject", ()) for _, value in part)
    days = (ends - now) / 86400
    details = {
        "subject": subject,
        "names": names,
        "not_before": facts["notBefore"],
        "not_after": facts["notAfter"],
        "days_left": round(days, 2),
    }
    title = f"for {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else subject
    renew = "Renew it. A running server reloads renewed files by itself."
    if now < starts:
        return failed(
            name,
            f"{title}: not valid before {facts['notBefore']}.",
            "Correct the machine's clock, or provide a certificate that is valid now.",
            **details,
        )
    if now > ends:
        return failed(name, f"{title}: expired on {facts['notAfter']}.", renew, **details)
    if ends - now < RENEWAL_SECONDS:
        left = f"{days:.0f} days" if days >= 2 else f"{days * 24:.1f} hours"
        return warning(name, f"{title}: expires in {left}, on {facts['notAfter']}.", renew, **details)
    return ok(name, f"{title}: valid until {facts['notAfter']}, {days:.0f} days", **details)


def _client_ca(pem: str, now: float) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        return failed("client CA", str(error), "Provide the certificates of the clients' authority, in PEM.")
    found = context.get_ca_certs()
    if not found:
        return failed(
            "client CA",
            "The file holds no certificate of an authority, so no client can connect.",
            "Provide the certificates of the authority that signs the clients', in PEM.",
        )
    # The first to expire locks its clients out first.
    first = min(found, key=lambda facts: ssl.cert_time_to_seconds(str(facts["notAfter"])))
    return certificate_finding("client CA", dict(first), now)
