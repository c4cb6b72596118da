"""A bucket with the files of 100,000 versions is listed in seconds, by its names and not file by file."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from fakes import ManualClock, Publisher
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.storage.storage_roots import open_storage_roots
from s3 import SECRET, S3Server

VERSIONS = 100_000
PAGE = 1000
#: Seconds that a real bucket takes for a page, about.
PAGE_SECONDS = 0.05
FILES = ("evaluation.json.gz", "examples.json.gz", "head.safetensors", "manifest.json")


class LargeBucket(BaseHTTPRequestHandler):
    """Answers lists of a bucket of versions as S3 does, a page of a thousand names at a time."""

    lists: list[str]

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        type(self).lists.append(query["prefix"])
        time.sleep(PAGE_SECONDS)
        begin = int(query.get("continuation-token", 0))
        per_name = 1 if query.get("delimiter") else len(FILES)
        end = min(begin + PAGE, VERSIONS * per_name)
        entries = [self._entry(query["prefix"], place, per_name) for place in range(begin, end)]
        more = end < VERSIONS * per_name
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        self._send(
            200,
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(entries)}</KeyCount>{token}"
            f"{''.join(entries)}</ListBucketResult>",
        )

    def do_HEAD(self) -> None:
        self._send(404, "")

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _entry(self, prefix: str, place: int, per_name: int) -> str:
        name = f"{prefix}{place // per_name:032x}.1/"
        if per_name == 1:
            return f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
        return (
            f"<Contents><Key>{name}{FILES[place % per_name]}</Key><Size>1000</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        )

    def _send(self, code: int, text: str) -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def endpoint() -> Iterator[str]:
    LargeBucket.lists = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), LargeBucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_bucket_of_100_000_versions_is_listed_within_60_seconds(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    store = VersionStore(open_storage_roots("s3://large/prefix", tmp_path / "data", copies_bytes=0).versions)
    began = time.process_time()
    assert len(store.artifacts()) == VERSIONS
    # Of this process only, with the bucket in it: what a loaded machine does meanwhile does not count.
    assert time.process_time() - began + VERSIONS / PAGE * PAGE_SECONDS < 60
    assert LargeBucket.lists.count("prefix/versions/") == VERSIONS // PAGE


def test_only_names_without_a_version_are_looked_at_more_closely(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    folder = open_storage_roots(f"s3://{s3.bucket()}", tmp_path / "data", copies_bytes=0).versions
    publisher = Publisher(tmp_path, ManualClock())
    publisher.store = VersionStore(folder)
    registry = publisher.registry = Registry(publisher.database, publisher.store, ResidentVersions(1 << 20))
    publisher.publish()
    folder.write("gone.1", {"a": b"1"})
    looked_at: list[str] = []
    monkeypatch.setattr(
        store := publisher.store, "older_artifacts", lambda names, age: looked_at.extend(names) or list(names)
    )
    assert registry.remove_leftovers(set, older_than=0.0) == 1
    assert looked_at == ["gone.1"]
    assert list(store.artifacts()) == ["job-1.1"]
    publisher.close()
