"""The HTTP port goes by its TLS files as they are when somebody connects. Handshakes are in memory."""

import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from certificates import Identity, identity
from fakes import ManualClock
from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.api.http.tls_reload import ReloadingTlsContexts

ONE, TWO = identity("authority"), identity("other authority")
CLIENTS = identity("clients"), identity("other clients")
PEOPLE = tuple(identity("somebody", authority) for authority in CLIENTS)


def put(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(content)
    os.replace(aside, path)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    files = TlsFiles(cert=tmp_path / "cert", key=tmp_path / "key", client_ca=tmp_path / "ca")
    show(files, identity("server", ONE), CLIENTS[0])
    return files


def show(files: TlsFiles, server: Identity, clients: Identity) -> None:
    assert files.client_ca is not None
    put(files.key, server.private)
    put(files.cert, server.chain)
    put(files.client_ca, clients.chain)


class Connection:
    """A handshake between a server's context and a client with a certificate."""

    def __init__(
        self,
        contexts: ReloadingTlsContexts,
        trusted: Identity,
        shown: Identity,
        folder: Path,
        *,
        name: str | None = "127.0.0.1",
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        session: Any = None,
        client: ssl.SSLContext | None = None,
    ) -> None:
        (folder / "client").write_bytes(shown.chain + shown.private)
        if client is None:
            client = ssl.create_default_context(cadata=trusted.chain.decode())
            client.load_cert_chain(folder / "client")
            client.check_hostname = name is not None
            client.maximum_version = version
        self.client = client
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server = contexts.shown.wrap_bio(to_server, to_client, server_side=True)
        self._caller = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
        waiting = [self._caller.do_handshake, self._server.do_handshake]
        for _ in range(6):
            waiting = [step for step in waiting if not done(step)]
        assert not waiting
        self._server.write(b"x")
        assert self._caller.read(1) == b"x"
        self.session = self._caller.session
        self.resumed = self._caller.session_reused
        self.is_out_of_date = contexts.is_out_of_date(self._server)

    @property
    def peer(self) -> str:
        """The authority that signed the client's certificate, as the server sees it."""
        issuer: Any = self._server.getpeercert()["issuer"]
        return str(dict(part[0] for part in issuer)["commonName"])


def done(step: Any) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("name", ["127.0.0.1", None])
def test_a_renewed_certificate_and_client_authority_hold_from_the_next_connection_on(
    files: TlsFiles, tmp_path: Path, name: str | None
) -> None:
    contexts = ReloadingTlsContexts(files)
    first = Connection(contexts, ONE, PEOPLE[0], tmp_path, name=name)
    assert first.peer == "clients"
    with pytest.raises(ssl.SSLError):
        Connection(contexts, ONE, PEOPLE[1], tmp_path, name=name)

    show(files, identity("server", TWO), CLIENTS[1])
    assert Connection(contexts, TWO, PEOPLE[1], tmp_path, name=name).peer == "other clients"
    with pytest.raises(ssl.SSLError):
        Connection(contexts, TWO, PEOPLE[0], tmp_path, name=name)
    with pytest.raises(ssl.SSLError):
        Connection(contexts, ONE, PEOPLE[1], tmp_path, name=name)


def test_no_session_goes_on_that_other_files_allowed(files: TlsFiles, tmp_path: Path) -> None:
    clock = ManualClock(time.time())
    contexts = ReloadingTlsContexts(files, clock=clock)
    server = identity("server", ONE)
    show(files, server, CLIENTS[0])
    clock.advance(-60.0)
    first = Connection(contexts, ONE, PEOPLE[0], tmp_path, version=ssl.TLSVersion.TLSv1_2)
    again = {"client": first.client, "session": first.session}
    # OpenSSL takes such a session up without asking for a certificate.
    second = Connection(contexts, ONE, PEOPLE[0], tmp_path, **again)
    assert (second.resumed, second.is_out_of_date) == (True, False)

    clock.advance(120.0)
    show(files, server, CLIENTS[1])
    third = Connection(contexts, ONE, PEOPLE[0], tmp_path, **again)
    assert (third.resumed, third.is_out_of_date) == (True, True)


def test_there_are_no_tickets_by_which_sessions_of_tls_1_3_go_on(files: TlsFiles, tmp_path: Path) -> None:
    contexts = ReloadingTlsContexts(files)
    first = Connection(contexts, ONE, PEOPLE[0], tmp_path)
    assert first.session is None or not first.session.has_ticket


@pytest.mark.parametrize("damaged", ["cert", "key", "ca"])
def test_halves_and_damaged_files_change_nothing_until_they_are_whole(
    files: TlsFiles, tmp_path: Path, damaged: str
) -> None:
    contexts = ReloadingTlsContexts(files)
    whole = (tmp_path / damaged).read_bytes()
    for content in (b"", b"no PEM", None):
        put(tmp_path / damaged, content or b"")
        if content is None:
            (tmp_path / damaged).unlink()
        assert Connection(contexts, ONE, PEOPLE[0], tmp_path).peer == "clients"
    put(tmp_path / damaged, whole)
    assert Connection(contexts, ONE, PEOPLE[0], tmp_path).peer == "clients"


def test_a_port_without_a_client_authority_takes_clients_without_certificates(
    files: TlsFiles, tmp_path: Path
) -> None:
    contexts = ReloadingTlsContexts(TlsFiles(cert=files.cert, key=files.key))
    plain = ssl.create_default_context(cadata=ONE.chain.decode())
    assert Connection(contexts, ONE, PEOPLE[0], tmp_path, client=plain).session is not None


def test_files_that_do_not_fit_together_are_an_error_at_the_start(files: TlsFiles) -> None:
    put(files.key, TWO.private)
    with pytest.raises(OSError, match="PEM certificate and key"):
        ReloadingTlsContexts(files)
