"""Certificates of a port: renewed ones hold from the next connection on, and halves of them never."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from certificates import Identity, identity
from headstart_server.api.grpc.tls import Certificates, TlsFiles, server_credentials

OLD, NEW = identity("old"), identity("new")


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    files = TlsFiles(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    put(files, OLD, OLD)
    return files


def put(files: TlsFiles, cert: Identity, key: Identity) -> None:
    """As cert-manager and kubelet do: another file takes the place."""
    for path, content in ((files.cert, cert.chain), (files.key, key.private)):
        aside = path.with_suffix(".new")
        aside.write_bytes(content)
        os.replace(aside, path)


def test_files_that_stay_are_not_reloaded(files: TlsFiles) -> None:
    assert Certificates(files).renewed() is None


def test_a_renewed_pair_is_shown_once(files: TlsFiles) -> None:
    certificates = Certificates(files)
    before = certificates.shown
    put(files, NEW, NEW)

    assert certificates.renewed() is certificates.shown is not before
    assert certificates.renewed() is None


def test_a_certificate_whose_key_is_not_there_yet_is_not_shown(files: TlsFiles) -> None:
    certificates = Certificates(files)
    put(files, NEW, OLD)
    assert certificates.renewed() is None

    put(files, NEW, NEW)
    assert certificates.renewed() is not None


@pytest.mark.parametrize("content", [b"", b"no PEM"])
def test_a_damaged_or_missing_file_changes_nothing(files: TlsFiles, content: bytes) -> None:
    certificates = Certificates(files)
    files.cert.write_bytes(content)
    assert certificates.renewed() is None
    files.cert.unlink()
    assert certificates.renewed() is None

    put(files, NEW, NEW)
    assert certificates.renewed() is not None


def test_at_the_start_a_key_of_another_certificate_is_an_error(files: TlsFiles) -> None:
    put(files, NEW, OLD)
    with pytest.raises(OSError, match="does not belong to the certificate"):
        Certificates(files)


def test_at_the_start_the_error_names_the_file_that_is_wrong(files: TlsFiles) -> None:
    files.key.write_bytes(b"no PEM")
    with pytest.raises(OSError, match=f"{files.key} contains no PEM private key"):
        Certificates(files)
    files.cert.write_bytes(b"no PEM")
    with pytest.raises(OSError, match=rf"{files.cert} contains no PEM certificate\. Correct --tls-cert"):
        Certificates(files)


def test_at_the_start_client_certificates_that_are_none_are_an_error(files: TlsFiles, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"none")
    with pytest.raises(OSError, match=r"contains no PEM certificate\. Correct --tls-client-ca"):
        Certificates(TlsFiles(cert=files.cert, key=files.key, client_ca=tmp_path / "ca.pem"))


@asynccontextmanager
async def echo_port(files: TlsFiles) -> AsyncIterator[int]:
    async def echo(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(files))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def channel(port: int, trusted: Identity) -> grpc.aio.Channel:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(
        f"127.0.0.1:{port}", grpc.ssl_channel_credentials(trusted.chain), options=options
    )


async def test_a_call_that_runs_goes_on_while_new_connections_see_the_renewed_certificate(
    files: TlsFiles,
) -> None:
    async with echo_port(files) as port, channel(port, OLD) as before, channel(port, NEW) as after:
        call = before.stream_stream("/test.Echo/Echo")(wait_for_ready=True)
        await call.write(b"one")
        assert await call.read() == b"one"
        put(files, NEW, NEW)

        later = after.stream_stream("/test.Echo/Echo")(timeout=30)
        await later.write(b"new")
        assert await later.read() == b"new"
        await call.write(b"two")
        assert await call.read() == b"two"
        # The connection that is there takes further calls, too.
        again = before.stream_stream("/test.Echo/Echo")(timeout=30)
        await again.write(b"three")
        assert await again.read() == b"three"
        await asyncio.gather(*(each.done_writing() for each in (call, later, again)))

        async with channel(port, OLD) as stale:
            refused = stale.stream_stream("/test.Echo/Echo")(timeout=30)
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await refused.read()
