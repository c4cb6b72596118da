"""nginx and HAProxy as the documentation shows them, with TLS to callers and to servers."""

from collections.abc import Iterator
from functools import partial

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from certificates import Identity, identity
from chaos.replica import Replica
from headstart import Client, TlsConfig, Unavailable
from rehearsal.balancers import Balancer, Tls
from rehearsal.run import BALANCERS
from server_process import START_SECONDS, eventually

AUTHORITY = identity("authority")
PATIENCE = 2 * START_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def certificate(authority: Identity = AUTHORITY) -> Identity:
    return identity("headstart", authority, x509.DNSName("headstart"))


def credentials() -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(AUTHORITY.chain)


def serves(target: str) -> bool:
    """Whether the health service answers so."""
    name = [("grpc.ssl_target_name_override", "headstart")]
    with grpc.secure_channel(target, credentials(), name) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    folder, shown = tmp_path_factory.mktemp("tls"), certificate()
    (folder / "cert.pem").write_bytes(shown.chain)
    (folder / "key.pem").write_bytes(shown.private)
    files = {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    started = [Replica(folder / f"replica-{place}", **files) for place in range(2)]
    try:
        for each in started:
            each.start()
        for each in started:
            eventually(partial(serves, each.target), PATIENCE, f"a server: {each.log}")
        yield started
    finally:
        for each in started:
            each.kill()


@pytest.mark.parametrize("name", BALANCERS)
def test_calls_pass_over_tls_and_go_on_when_a_server_dies(servers: list[Replica], name: str) -> None:
    tls = Tls(shown=certificate(), trusted=AUTHORITY)
    with (
        Balancer(name, [each.port for each in servers], tls) as balancer,
        Client(balancer.target, tls=TlsConfig(ca=AUTHORITY.chain)) as client,
    ):
        # HAProxy answers 503 where its check, over TLS, marks every server as down.
        assert eventually(lambda: backbones(client), PATIENCE, f"a call: {balancer.log}")
        for _ in range(10):
            assert list(client.models()) == []
        servers[0].kill()
        try:
            for _ in range(20):
                assert list(client.models()) == []
        finally:
            servers[0].start()
            eventually(partial(serves, servers[0].target), PATIENCE, "the server again")


def backbones(client: Client) -> list[object] | None:
    try:
        return list(client.backbones())
    except Unavailable:
        return None


@pytest.mark.parametrize("name", BALANCERS)
def test_servers_with_the_certificate_of_another_authority_get_no_calls(
    servers: list[Replica], name: str
) -> None:
    tls = Tls(shown=certificate(), trusted=identity("stranger"))
    with (
        Balancer(name, [each.port for each in servers], tls) as balancer,
        Client(balancer.target, tls=TlsConfig(ca=AUTHORITY.chain), retries=0) as client,
        pytest.raises(Unavailable),
    ):
        list(client.models())
