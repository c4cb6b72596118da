"""The headers of a POST, signed after the Standard Webhooks specification (`v1`, symmetric keys)."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart_server.settings.secret import Secret

_PREFIX = "whsec_"
#: Minimum and maximum bytes of a secret, by the specification.
_SECRET_BYTES = (24, 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSecrets:
    """The secrets that sign POSTs."""

    of_server: Sequence[Secret[bytes]]  # for the server's own URL, and for tenants without secrets
    of_tenants: Mapping[str, Sequence[Secret[bytes]]]

    def of(self, tenant: str) -> Sequence[Secret[bytes]]:
        """Return the secrets of a tenant, or of the server for ''; raise ValueError if the file has none."""
        secrets = self.of_tenants.get(tenant) or self.of_server
        if not secrets:
            raise ValueError(f"The webhook secret file has no secret for the tenant {tenant!r}.")
        return secrets

    def __len__(self) -> int:
        """Return the number of secrets."""
        return len(self.of_server) + sum(map(len, self.of_tenants.values()))


def read_secrets(path: Path, own: str | None = None) -> WebhookSecrets:
    """Return the secrets in a file: on each line the server's, or a tenant's name and its secret.

    During a rotation there may be several; each of them signs.

    Args:
        own: the server's own URL, which requires a secret of the server; None for none.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is invalid, or a secret is missing.
    """
    of_server: list[Secret[bytes]] = []
    of_tenants: dict[str, list[Secret[bytes]]] = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise ValueError(f"Expected a secret, or a tenant and a secret, on each line of {path}.")
        secrets = of_server if len(words) == 1 else of_tenants.setdefault(words[0], [])
        secrets.append(Secret(_secret(words[-1], path)))
    if not of_server and not of_tenants:
        raise ValueError(f"Expected a secret in {path}: whsec_ and base64. The file has no secret.")
    if own is not None and not of_server:
        raise ValueError(f"--webhook needs a secret in {path} without the name of a tenant. Add one.")
    return WebhookSecrets(of_server=of_server, of_tenants=of_tenants)


def _secret(line: str, path: Path) -> bytes:
    low, high = _SECRET_BYTES
    expected = f"Expected lines of whsec_ and {low} to {high} bytes in base64 in {path}."
    try:
        secret = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"{expected} A line is not base64.") from None
    if not low <= len(secret) <= high:
        raise ValueError(f"{expected} Received: {len(secret)} bytes.")
    return secret


def headers_of(
    message_id: str, seconds: int, body: bytes, secrets: Sequence[Secret[bytes]]
) -> dict[str, str]:
    """Return the headers of a POST that is signed and sent at `seconds` since 1970."""
    signed = f"{message_id}.{seconds}.".encode() + body
    signatures = [
        base64.b64encode(hmac.new(secret.reveal(), signed, hashlib.sha256).digest()).decode()
        for secret in secrets
    ]
    return {
        "content-type": "application/json",
        "user-agent": "headstart",
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
