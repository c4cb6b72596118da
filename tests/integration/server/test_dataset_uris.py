"""Datasets at URIs: a server that reads a folder, and readers of S3 and of https, on the loopback."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart_server.api.grpc.messages.dataset_manifest import read_dataset_list
from headstart_server.datasets.uris import web
from headstart_server.datasets.uris.policy import DatasetUriPolicy
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.errors import (
    DataUnavailable,
    DataUnreadable,
    HeadstartError,
    InputTooLarge,
    InvalidField,
)
from headstart_server.learning.examples.dataset import Example
from integration.server.calls import TIMEOUT, Api, digit, digits, refused, stream
from integration.server.test_tls import AUTHORITY, identity
from s3 import SECRET, Fault, S3Server

IMAGES = {f"images/{label} {place}.png": digit(label, place) for label in (0, 1) for place in range(6)}
LABELS = "path,label\n" + "".join(f"{name},digit {name[7]}\n" for name in IMAGES)
#: Bytes of one input.
MOST = 10_000


# A server


@pytest.fixture(scope="module")
def uri(sets: Path) -> str:
    """A list in the folder that the server may read."""
    folder = sets / "digits"
    (folder / "images").mkdir(parents=True)
    for name, content in IMAGES.items():
        (folder / name).write_bytes(content)
    (folder / "labels.csv").write_text(LABELS)
    return f"file://{folder}/labels.csv"


def test_a_fine_tune_of_a_uri_is_one_of_the_same_examples(api: Api, uri: str, model: str):
    at_uri = api.published((), model=model, dataset_uri=uri, seed=1)
    sent = api.published(digits((0, 1), 6), model=model, seed=1)

    assert at_uri.spec.dataset_uri == uri
    assert at_uri.example_count == sent.example_count == 12
    first, second = (api.version(model, number) for number in (1, 2))
    assert first.metrics == second.metrics
    assert api.predict(model, digit(1, 20), version=1).results[0].predictions[0].classes[0].name == "digit 1"
    # The contents are kept with the version, and stand in for the list from then on.
    more = api.published(digits((0, 1), 7)[-1:], model=model, parent_version=1)
    assert more.example_count == 13


def test_a_call_that_is_repeated_gets_its_job_whatever_has_become_of_the_list(
    api: Api, sets: Path, uri: str, model: str
):
    (sets / "passing.csv").write_text(LABELS.replace("images/", "digits/images/"))
    spec = {"model": model, "request_id": f"{model}-once", "dataset_uri": f"file://{sets}/passing.csv"}
    job = api.fine_tune((), **spec)
    (sets / "passing.csv").unlink()

    assert api.fine_tune((), **spec).job_id == job.job_id
    assert refused(lambda: api.fine_tune((), **{**spec, "dataset_uri": uri})).reason == "REQUEST_ID_REUSED"
    api.ended(job.job_id)


def test_a_list_can_be_checked_without_a_job(api: Api, uri: str, model: str):
    found = api.validate((), model=model, dataset_uri=uri)
    assert (found.valid, found.example_count) == (True, 12)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("digits/none.csv", "DATA_UNREADABLE"),
        ("digits/images", "DATA_UNREADABLE"),
        ("../server0/data/headstart.sqlite3", "INVALID_FIELD"),
        ("link/passwd", "DATA_UNREADABLE"),
    ],
)
def test_what_may_not_be_read_leaves_nothing(
    api: Api, sets: Path, uri: str, model: str, path: str, reason: str
):
    with suppress(FileExistsError):
        (sets / "link").symlink_to("/etc")
    error = refused(lambda: api.fine_tune((), model=model, dataset_uri=f"file://{sets}/{path}"))
    assert error.reason == reason
    assert not api.fine_tuning.ListJobs(tuning.ListJobsRequest(model=model), timeout=TIMEOUT).jobs


def test_examples_come_from_one_place(api: Api, uri: str, model: str):
    requests = list(stream(digits((0, 1), 2), model=model, dataset_uri=uri))
    error = refused(lambda: api.fine_tuning.FineTune(iter(requests), timeout=TIMEOUT))
    assert error.reason == "INVALID_STREAM"


# Buckets


def read(reader: DatasetReader, uri: str) -> list[Example]:
    return list(reader.examples(uri, lambda: None))


def reader_of(*prefixes: str, private: bool = True) -> DatasetReader:
    policy = DatasetUriPolicy(prefixes, allow_private=private)
    return DatasetReader(policy, read_dataset_list, max_input_bytes=MOST)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    bucket = s3.bucket()
    for name, content in IMAGES.items():
        s3.put(bucket, f"sets/{name}", content)
    s3.put(bucket, "sets/labels.csv", LABELS.encode())
    s3.put(bucket, "secret.csv", b"secret")
    return bucket


def test_a_bucket_is_read_as_a_folder_is(s3: S3Server, bucket: str):
    reader = reader_of(f"s3://{bucket}/sets")
    found = read(reader, f"s3://{bucket}/sets/labels.csv")
    assert [example.content for example in found] == list(IMAGES.values())

    s3.put(bucket, "sets/more.csv", b"path,label\nimages/none.png,a\n")
    with pytest.raises(DataUnreadable, match=r"line 2: .*none.png cannot be read: it is not there"):
        read(reader, f"s3://{bucket}/sets/more.csv")
    s3.put(bucket, "sets/large.png", b"x" * (MOST + 1))
    s3.put(bucket, "sets/more.csv", b"path,label\nlarge.png,a\n")
    with pytest.raises(InputTooLarge, match=f"{MOST + 1} bytes"):
        read(reader, f"s3://{bucket}/sets/more.csv")
    for other in (f"s3://{bucket}/secret.csv", f"s3://{bucket}/sets/images"):
        with pytest.raises(HeadstartError) as caught:
            read(reader, other)
        assert SECRET not in caught.value.message
    with pytest.raises(DataUnreadable):
        read(reader_of("s3://no-such-bucket"), "s3://no-such-bucket/labels.csv")


def test_an_unavailable_bucket_is_reported_without_the_text_of_its_library(s3: S3Server, bucket: str):
    reader = reader_of(f"s3://{bucket}")
    with s3.proxy.failing(Fault.ERRORS), pytest.raises(DataUnavailable) as caught:
        read(reader, f"s3://{bucket}/sets/labels.csv")
    assert caught.value.message == f"s3://{bucket} does not answer. Try again in 2 seconds."


# The web


class Site:
    """A site in TLS, which answers each path with the response set for it."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[str] = []
        shown = identity("site", AUTHORITY)
        (folder / "site.pem").write_bytes(shown.private + shown.chain)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "site.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def holds(self, path: str, content: bytes, status: str = "200 OK", more: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\n{more}\r\n"
        self.answers[path] = head.encode() + content

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), self._context.wrap_socket(connection, server_side=True) as tls:
            request = tls.recv(65536).decode()
            self.requests.append(request)
            tls.sendall(self.answers.get(request.split()[1], b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "known.pem").write_bytes(AUTHORITY.chain)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "known.pem"))
    # No other host is called in the site's place.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    site = Site(tmp_path)
    yield site
    site.close()


def test_a_site_is_read_as_a_folder_is_and_gets_no_credentials(site: Site):
    site.holds("/sets/labels.csv", LABELS.encode())
    for name, content in IMAGES.items():
        site.holds(f"/sets/{name.replace(' ', '%20')}", content)
    found = read(reader_of(f"{site.uri}/sets"), f"{site.uri}/sets/labels.csv")
    assert [example.content for example in found] == list(IMAGES.values())
    assert not any(
        "authorization" in request.lower() or "cookie" in request.lower() for request in site.requests
    )


@pytest.mark.parametrize(
    ("status", "more", "content", "kind", "message"),
    [
        ("302 Found", "location: http://169.254.169.254/\r\n", b"", DataUnreadable, "302, a redirect"),
        ("404 No", "", b"", DataUnreadable, "404"),
        ("403 No", "x: secret\r\n", b"secret", DataUnreadable, "403"),
        ("200 OK", "content-encoding: gzip\r\n", b"", DataUnreadable, "compressed"),
        ("200 OK", "", b"x" * (MOST + 1), InputTooLarge, f"more than {MOST} bytes"),
        ("503 No", "", b"", DataUnavailable, "does not answer"),
        ("nonsense", "", b"secret", DataUnavailable, "does not answer"),
    ],
)
def test_other_answers_are_refused(
    site: Site, status: str, more: str, content: bytes, kind: type[HeadstartError], message: str
):
    site.holds("/labels.csv", b"path,label\na.png,b\n")
    site.holds("/a.png", content, status, more)
    with pytest.raises(kind, match=message) as caught:
        read(reader_of(site.uri), f"{site.uri}/labels.csv")
    assert "secret" not in caught.value.message


def test_a_site_that_drips_or_breaks_off_does_not_hold_it_up(site: Site, monkeypatch: pytest.MonkeyPatch):
    site.answers["/labels.csv"] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npath,label\n"
    with pytest.raises(DataUnavailable):
        read(reader_of(site.uri), f"{site.uri}/labels.csv")
    # Chunks without an end, each long before the socket's own patience ends.
    monkeypatch.setattr(web, "_WHOLE_SECONDS", 0.5)
    chunks = b"1\r\nx\r\n" * 5_000_000
    site.answers["/labels.csv"] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
    with pytest.raises(HeadstartError):
        read(reader_of(site.uri), f"{site.uri}/labels.csv")


def test_a_private_site_is_not_called_unless_that_is_allowed(site: Site):
    with pytest.raises(DataUnreadable, match="that is not public"):
        read(reader_of(site.uri, private=False), f"{site.uri}/labels.csv")
    with pytest.raises(InvalidField, match="--allow-dataset-uri"):
        read(reader_of("https://data.example.com"), f"{site.uri}/labels.csv")
    assert not site.requests
