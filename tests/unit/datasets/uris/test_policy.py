"""Which URIs may be read, and which only look as if they might."""

from collections.abc import Sequence

import pytest

from headstart_server.datasets.uris.location import DatasetLocation, Kind, parse_location, parse_prefix
from headstart_server.datasets.uris.policy import DatasetUriPolicy
from headstart_server.errors import InvalidField
from headstart_server.outbound.target import TargetRefusedError

PUBLIC = "93.184.216.34"
PREFIXES = ("/data/sets", "s3://bucket/sets", "gs://other", "https://data.example.com/sets/")


def policy(*prefixes: str, at: Sequence[str] = (PUBLIC,), private: bool = False) -> DatasetUriPolicy:
    return DatasetUriPolicy(prefixes or PREFIXES, allow_private=private, resolve=lambda host, port: at)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///data/sets/a/labels.csv",
        "s3://bucket/sets/labels.csv",
        "s3://bucket/sets/a b/ü=1.csv",
        "gs://other/labels.csv",
        "https://data.example.com/sets/a%20b.csv",
        "https://DATA.example.com:443/sets/labels.csv",
    ],
)
def test_what_lies_within_an_allowed_place_may_be_read(uri: str) -> None:
    assert policy().place(uri).name.endswith("csv")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "labels.csv",
        "/data/sets/labels.csv",
        # Steps out, and what looks like the folder.
        "file:///data/sets/../secret.csv",
        "file:///data/sets/./labels.csv",
        "file:///data/sets//labels.csv",
        "file:///data/sets/%2e%2e/secret.csv",
        "file:///data/sets%2f..%2fsecret.csv",
        "file:///data/setsecret/labels.csv",
        "file:///data",
        "file:///data/sets/",
        "file:///data/sets\\..\\secret.csv",
        "file:///data/sets/a\0.csv",
        "file:///data/sets/a\nb.csv",
        "file:///data/sets/\ud800.csv",
        f"file:///data/sets/{'a' * 256}.csv",
        f"file:///data/sets/{'a/' * 1200}a.csv",
        "file:///etc/passwd",
        "file:////data/sets/labels.csv",
        # Another machine.
        "file://data/sets/labels.csv",
        "file://localhost/data/sets/labels.csv",
        "file://169.254.169.254/data/sets/labels.csv",
        # Buckets that are none, or others.
        "s3://bucket2/sets/labels.csv",
        "s3://bucket/other/labels.csv",
        "s3://bucket/sets?versionId=1",
        "s3://bucket/sets/labels.csv?versionId=1",
        "s3://bucket/sets/labels.csv#1",
        "s3://bucket/sets/../other/labels.csv",
        "s3://user:password@bucket/sets/labels.csv",
        "s3://bucket@169.254.169.254/sets/labels.csv",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/sets/labels.csv",
        "s3://bucket:80/sets/labels.csv",
        "S3://bucket/sets/labels.csv",
        "s3:///bucket/sets/labels.csv",
        "s3://bucket::file:///etc/passwd",
        "s3://../sets/labels.csv",
        # Hosts.
        "http://data.example.com/sets/labels.csv",
        "https://data.example.com/other/labels.csv",
        "https://data.example.com:444/sets/labels.csv",
        "https://data.example.com.evil.example/sets/labels.csv",
        "https://data.example.com@evil.example/sets/labels.csv",
        "https://user:password@data.example.com/sets/labels.csv",
        "https://evil.example#https://data.example.com/sets/labels.csv",
        "https://evil.example\\@data.example.com/sets/labels.csv",
        "https://data.example.com/sets/..%2fother.csv",
        "https://data.example.com/sets/%2E%2e/other.csv",
        "https://data.example.com/sets//labels.csv",
        "https://data.example.com/sets/labels.csv?X-Amz-Signature=secret",
        "https://169.254.169.254/sets/labels.csv",
        "https://[::1]/sets/labels.csv",
        "https://[::1/sets/labels.csv",
        "https://0x7f000001/sets/labels.csv",
        # Schemes that libraries know.
        "ftp://data.example.com/sets/labels.csv",
        "gopher://data.example.com/sets/labels.csv",
        "data:text/csv;base64,AAAA",
        "simplecache::s3://bucket/sets/labels.csv",
        "zip://labels.csv::s3://bucket/sets/a.zip",
        "github://org:repo@/sets/labels.csv",
        "password-of-somebody://x",
    ],
)
def test_all_else_may_not_be_read(uri: str) -> None:
    with pytest.raises(InvalidField, match="Expected") as caught:
        policy().place(uri)
    assert caught.value.field == "spec.dataset_uri"
    for secret in ("password@", "Signature", "of-somebody"):
        assert secret not in caught.value.message


@pytest.mark.parametrize(
    ("uri", "path", "found"),
    [
        ("file:///data/sets/labels.csv", "a/1.jpg", "file:///data/sets/a/1.jpg"),
        ("file:///data/sets/labels.csv", "100%25 #1?.jpg", "file:///data/sets/100%25 #1?.jpg"),
        ("s3://bucket/sets/labels.csv", "100%25.jpg", "s3://bucket/sets/100%25.jpg"),
        (
            "https://data.example.com/sets/labels.csv",
            "a b/%2e%2e?.jpg",
            "https://data.example.com/sets/a%20b/%252e%252e%3F.jpg",
        ),
    ],
)
def test_paths_are_taken_as_they_are_from_the_lists_folder(uri: str, path: str, found: str) -> None:
    assert str(parse_location(uri).sibling(path)) == found


@pytest.mark.parametrize("path", ["../a.jpg", "/etc/passwd", "a/../../b", "a//b", "a\\b", "a\0", "", "a/"])
@pytest.mark.parametrize(
    "uri", ["file:///data/sets/a.csv", "s3://bucket/a.csv", "https://data.example.com/a"]
)
def test_paths_lead_nowhere_else(uri: str, path: str) -> None:
    with pytest.raises(ValueError, match="which has"):
        parse_location(uri).sibling(path)


@pytest.mark.parametrize("path", ["a.jpg?versionId=1", "a.jpg#1"])
def test_no_path_in_a_bucket_names_a_version(path: str) -> None:
    with pytest.raises(ValueError, match="characters"):
        parse_location("s3://bucket/a.csv").sibling(path)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
def test_hosts_that_lead_within_are_refused_at_each_reading(address: str) -> None:
    place = parse_location("https://data.example.com/sets/labels.csv")
    with pytest.raises(TargetRefusedError, match="that is not public"):
        policy(at=[PUBLIC, address]).target(place)
    assert policy(at=[address], private=True).target(place).address == address
    assert policy().target(place).address == PUBLIC


@pytest.mark.parametrize(
    "prefix", ["", "/", "//", "sets", "./sets", "file:///", "ftp://a/b", "s3://", "https://", "s3://a"]
)
def test_an_operator_allows_places_only(prefix: str) -> None:
    with pytest.raises(ValueError, match="--allow-dataset-uri"):
        parse_prefix(prefix)


@pytest.mark.parametrize("prefix", ["/data", "/data/sets/a", "file:///data/sets", "/data/sets/"])
def test_what_the_server_keeps_may_not_be_allowed(prefix: str) -> None:
    own = DatasetLocation(kind=Kind.FILE, root="", parts=("data", "sets"))
    with pytest.raises(ValueError, match="must not overlap"):
        policy(prefix).check_disjoint([own])
    policy("/data/other", "s3://data/sets").check_disjoint([own])


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://bucket/{tenant}/sets", "s3://bucket/red/sets/a.csv"),
        ("/data/{tenant}", "file:///data/red/a.csv"),
        ("https://data.example.com/{tenant}/", "https://data.example.com/red/a.csv"),
    ],
)
def test_each_tenant_may_read_what_is_its_own(prefix: str, uri: str) -> None:
    mine = policy(prefix)
    assert mine.place(uri, "red").name == "a.csv"
    for other in ("blue", "re", "", "{tenant}"):
        with pytest.raises(InvalidField, match="--allow-dataset-uri"):
            mine.place(uri, other)


@pytest.mark.parametrize("prefix", ["s3://{tenant}/sets", "s3://bucket/sets-{tenant}", "/data/{tenant}.d"])
def test_a_tenant_is_a_whole_name_in_a_path(prefix: str) -> None:
    with pytest.raises(ValueError, match="part of a name"):
        policy(prefix)


def test_what_the_server_keeps_is_no_tenants_either() -> None:
    own = DatasetLocation(kind=Kind.FILE, root="", parts=("data", "red"))
    with pytest.raises(ValueError, match="must not overlap"):
        policy("/data/{tenant}").check_disjoint([own])
