"""Addresses of artifact storage."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Scheme(Enum):
    """Kinds of buckets, by the extra that installs their library."""

    S3 = "s3"
    GCS = "gcs"


_SCHEMES = {"s3": Scheme.S3, "gs": Scheme.GCS, "gcs": Scheme.GCS}


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketAddress:
    """A bucket and an optional prefix of the names of its objects."""

    scheme: Scheme
    bucket: str
    prefix: str = ""

    @property
    def protocol(self) -> str:
        """Scheme of addresses."""
        return "s3" if self.scheme is Scheme.S3 else "gs"

    @property
    def root(self) -> str:
        """Bucket and prefix as one path."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")


def artifacts_address(text: str) -> Path | BucketAddress:
    """Parse the value of `--artifacts`. Raise ValueError if it is neither a folder nor a bucket."""
    protocol, separator, rest = text.partition("://")
    if not separator and text.partition(":")[0] not in _SCHEMES:
        return Path(text)
    bucket, _, prefix = rest.partition("/")
    scheme = _SCHEMES.get(protocol)
    if scheme is None or not bucket or "//" in prefix or "?" in rest or "@" in bucket:
        raise ValueError(
            f"Expected --artifacts as a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. Received: {text!r}."
        )
    return BucketAddress(scheme=scheme, bucket=bucket, prefix=prefix.strip("/"))
