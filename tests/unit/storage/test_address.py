"""How a place for artifacts may be named."""

from pathlib import Path

import pytest

from headstart_server.storage.address import BucketAddress, Scheme, artifacts_address


@pytest.mark.parametrize("text", ["artifacts", "/var/lib/artifacts", "./s3", "a:b"])
def test_what_has_no_scheme_is_a_directory(text: str) -> None:
    assert artifacts_address(text) == Path(text)


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "prefix", "root"),
    [
        ("s3://bucket", Scheme.S3, "bucket", "", "bucket"),
        ("s3://bucket/", Scheme.S3, "bucket", "", "bucket"),
        ("s3://bucket/a/b/", Scheme.S3, "bucket", "a/b", "bucket/a/b"),
        ("gs://bucket/a", Scheme.GCS, "bucket", "a", "bucket/a"),
        ("gcs://bucket/a", Scheme.GCS, "bucket", "a", "bucket/a"),
    ],
)
def test_a_bucket_has_a_name_and_a_prefix(
    text: str, scheme: Scheme, bucket: str, prefix: str, root: str
) -> None:
    address = artifacts_address(text)
    assert address == BucketAddress(scheme=scheme, bucket=bucket, prefix=prefix)
    assert address.root == root


@pytest.mark.parametrize(
    "text",
    [
        "ftp://bucket",
        "s3://",
        "s3:///prefix",
        "file:///x",
        "s3://key:secret@bucket",
        "s3://b/a//b",
        "s3://b?x=1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected --artifacts as a folder") as caught:
        artifacts_address(text)
    assert repr(text) in str(caught.value)
