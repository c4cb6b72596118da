"""The certificates of a TLS port, reloaded when their files change."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from headstart_server.reloading import ReloadedFiles
from headstart_server.settings.groups import TlsGroup

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """PEM files of a TLS port."""

    cert: Path  # the server's certificate chain
    key: Path
    client_ca: Path | None = None  # CAs of client certificates; None accepts clients without certificates

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all files."""
        return (self.cert, self.key, *([self.client_ca] if self.client_ca else ()))


def tls_files(tls: TlsGroup) -> TlsFiles | None:
    """Return the TLS files of a server's settings, for all of its ports; None for plain ports."""
    if tls.tls_cert is None or tls.tls_key is None:
        return None
    return TlsFiles(cert=tls.tls_cert, key=tls.tls_key, client_ca=tls.tls_client_ca)


class Certificates:
    """The certificates for clients that connect, from the last valid state of the files.

    Each new connection checks the files, so the next connection uses renewed ones; open connections
    continue. Files that cannot be read, or whose key does not belong to the certificate, as in the middle of
    a renewal, are ignored.

    Raises:
        OSError: a file cannot be read, or the key does not belong to the certificate.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._configuration = ReloadedFiles(files.paths, lambda: _read(files))

    @property
    def shown(self) -> grpc.ServerCertificateConfiguration:
        """The current configuration."""
        return self._configuration.value

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration if the files have changed; None otherwise."""
        try:
            if not self._configuration.reload():
                return None
        except OSError as error:
            log.warning("tls_files_reload_failed", error=str(error))
            return None
        log.info("tls_files_reloaded", cert=str(self._files.cert))
        return self._configuration.value


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return the credentials of a port.

    Raises:
        OSError: as `Certificates`.
    """
    certificates = Certificates(files)
    return grpc.dynamic_ssl_server_credentials(
        certificates.shown,
        certificates.renewed,  # type: ignore[arg-type]  # None means unchanged
        require_client_authentication=files.client_ca is not None,
    )


def _read(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    # gRPC does not report why a file is invalid.
    for path in files.paths:
        path.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.cert, files.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise OSError(_fault_of(files, error)) from None
    client_ca = None
    if files.client_ca is not None:
        client_ca = files.client_ca.read_bytes()
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError:
            raise OSError(
                f"{files.client_ca} contains no PEM certificate. Correct --tls-client-ca."
            ) from None
    return grpc.ssl_server_certificate_configuration(
        [(files.key.read_bytes(), files.cert.read_bytes())], root_certificates=client_ca
    )


def _fault_of(files: TlsFiles, error: Exception) -> str:
    """Return a message that names the invalid file: OpenSSL's messages name neither file."""
    try:
        ssl.create_default_context().load_verify_locations(files.cert)
    except ssl.SSLError:
        return f"{files.cert} contains no PEM certificate. Correct --tls-cert."
    if "KEY_VALUES_MISMATCH" in str(error):
        return (
            f"The private key {files.key} does not belong to the certificate {files.cert}. "
            "Correct --tls-cert or --tls-key."
        )
    return f"{files.key} contains no PEM private key without a password. Correct --tls-key."
