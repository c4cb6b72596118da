"""Erasure with rebuild at a real server: nothing in its data folder has the content or its digest."""

import base64
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import grpc
import pytest

from headstart.v1 import model_service_pb2 as keeping
from headstart_server.embedding.cache import content_digest
from integration.server.calls import Api, digit, digits, example, refused
from server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("erasure") / "data")
    server.wait_until_serving()
    yield server
    server.kill()


def contents_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """What the files in a folder contain, unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            yield path, content
            if path.suffix == ".gz":
                yield path, gzip.decompress(content)
            if path.suffix == ".zip":
                with ZipFile(path) as archive:
                    yield from ((path, archive.read(name)) for name in archive.namelist())


def test_nothing_in_the_data_folder_has_the_content_or_its_digest(server: ServerProcess) -> None:
    secret = digit(0, 90)
    digests = [hashlib.sha256(secret).digest(), bytes.fromhex(content_digest(secret))]
    named = [example(secret, "0", example_id="secret"), *digits((0, 1), 8)]
    with Api.connect(server.target) as api:
        first = api.published(named, model="pets", alias="stable")
        api.published(digits((0, 1), 2, start=20), model="pets", parent_version=first.version)
        request = keeping.EraseExampleRequest(
            model="pets", example_id="secret", rebuild=True, request_id="request"
        )
        response = api.models.EraseExample(request)
        again = api.models.EraseExample(request)
        certificate = response.certificate

        assert again.certificate == certificate
        assert [(each.version, each.new_version) for each in certificate.versions] == [(1, 3), (2, 4)]
        assert all(each.head_digest != each.new_head_digest for each in certificate.versions)
        assert [list(each.aliases) for each in certificate.versions] == [["stable"], []]
        assert certificate.versions[0].HasField("promotion")
        assert certificate.deleted_contents == 1
        assert certificate.start_time.ToNanoseconds() < certificate.end_time.ToNanoseconds()
        assert [version.version for version in api.versions("pets")] == [4, 3]
        assert api.predict("pets", secret, alias="stable").results[0].version == 3

        refusal = refused(
            lambda: api.models.EraseExample(
                keeping.EraseExampleRequest(model="pets", example_id="other", request_id="request")
            )
        )
        assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
        assert "requires rebuild" in refusal.message
    needles = [secret]
    for digest in digests:
        encoded = (base64.b64encode(digest), base64.urlsafe_b64encode(digest).rstrip(b"="))
        needles += [digest, digest.hex().encode(), *encoded]
    found = [
        path.name
        for path, content in contents_of(server.data)
        if any(needle in content for needle in needles)
    ]
    assert found == []
    assert not any(digest.hex() in server.log for digest in digests)
