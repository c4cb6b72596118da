"""What a client's certificate is told as, and which names requests may be for."""

import pytest

from headstart_server.rpc.http.opening import known_hosts
from headstart_server.rpc.http.port import auth_of


def test_names_in_a_certificate_are_told_as_grpc_tells_them() -> None:
    certificate = {
        "subject": ((("organizationName", "a"),), (("commonName", "client"),)),
        "subjectAltName": (("DNS", "client.example"), ("URI", "spiffe://example/client")),
    }
    assert auth_of(certificate) == {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [b"client"],
        "x509_subject_alternative_name": [b"client.example", b"spiffe://example/client"],
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_on_loopback_the_names_of_requests_are_known(host: str) -> None:
    assert known_hosts(host) == {"localhost", "127.0.0.1", "::1", host}


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "server.example"])
def test_elsewhere_they_are_not(host: str) -> None:
    assert known_hosts(host) is None
