"""What a POST says, and its signature after the Standard Webhooks specification (`v1`, symmetric keys)."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart_server.access.tenants import own_name, tenant_of, without_tenant
from headstart_server.jobs.job import Job

_PREFIX = "whsec_"
#: Bytes of a secret, as the specification wants them.
_SECRET_BYTES = (24, 64)


def read_secrets(path: Path) -> list[bytes]:
    """The secrets in a file, one a line, the newest first: while it is changed there are two.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no secret.
    """
    lines = [line.strip() for line in path.read_text().splitlines()]
    secrets = [_secret(line, path) for line in lines if line and not line.startswith("#")]
    if not secrets:
        raise ValueError(f"Expected a secret in {path}, whsec_ and base64. Received: none.")
    return secrets


def _secret(line: str, path: Path) -> bytes:
    low, high = _SECRET_BYTES
    expected = f"Expected lines of whsec_ and {low} to {high} bytes in base64 in {path}."
    try:
        secret = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"{expected} Received: another line.") from None
    if not low <= len(secret) <= high:
        raise ValueError(f"{expected} Received: {len(secret)} bytes.")
    return secret


def body_of(job: Job) -> bytes:
    """What is told of an ended job, in JSON."""
    values: dict[str, Any] = {
        "type": f"job.{job.state.value}",
        "timestamp": datetime.fromtimestamp(job.finished or 0.0, UTC).isoformat(),
        "job": job.job_id,
        "model": own_name(job.spec.model),
        "version": job.version or None,
        "state": job.state.name,
        "alias": job.spec.alias,
        "display_name": job.spec.display_name,
        "labels": dict(job.spec.labels),
        "error": None,
    }
    if job.error is not None:
        message = without_tenant(tenant_of(job.spec.model), job.error.message)
        values["error"] = {"reason": job.error.reason, "message": message}
    if job.promotion is not None:
        values["promotion"] = job.promotion.decision.value
    return json.dumps(values, ensure_ascii=False).encode()


def headers_of(message_id: str, seconds: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of a signed POST.

    Args:
        message_id: the same for each try.
        seconds: when it is sent, since 1970.
        body: what is sent.
        secrets: it is signed with each.
    """
    signed = f"{message_id}.{seconds}.".encode() + body
    signatures = [
        base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets
    ]
    return {
        "content-type": "application/json",
        "user-agent": "headstart",
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
