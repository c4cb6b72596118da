"""Connections to PostgreSQL are as secure as their address demands, and go to the host that it names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509 import DNSName
from sqlalchemy import text

from certificates import Identity, identity
from headstart_server.database.database import Database, SchemaError
from headstart_server.doctor.database import check_database
from headstart_server.settings.settings import Settings
from postgres import GUARDED, PostgresServer


@pytest.fixture(scope="module")
def authority() -> Identity:
    return identity("authority")


@pytest.fixture(scope="module")
def secure(authority: Identity) -> Iterator[PostgresServer]:
    """A server whose certificate names 127.0.0.1 and database.internal."""
    server = PostgresServer(identity("database", authority, DNSName("database.internal")))
    yield server
    server.close()


@pytest.fixture
def trusted(authority: Identity, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    path.write_bytes(authority.chain)
    return path


def is_encrypted(address: str) -> bool:
    database = Database(address)
    try:
        with database.read() as connection:
            query = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            return bool(connection.execute(query).scalar_one())
    finally:
        database.close()


def refusal(address: str) -> str:
    with pytest.raises(SchemaError) as caught:
        Database(address)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_verify_full_accepts_the_authority_and_the_host_of_the_address(
    secure: PostgresServer, trusted: Path
) -> None:
    assert is_encrypted(f"{secure.database()}?sslmode=verify-full&sslrootcert={trusted}")


def test_an_unknown_authority_or_another_host_is_refused_in_one_line(
    secure: PostgresServer, trusted: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(identity("stranger").chain)
    address = secure.database()
    assert "certificate verify failed" in refusal(f"{address}?sslmode=verify-full&sslrootcert={stranger}")
    elsewhere = address.replace("127.0.0.1", "localhost")
    said = refusal(f"{elsewhere}?sslmode=verify-full&sslrootcert={trusted}")
    assert 'does not match host name "localhost"' in said
    missing = refusal(f"{address}?sslmode=verify-full&sslrootcert={tmp_path}/missing.pem")
    assert "missing.pem" in missing


def test_the_doctor_names_the_remedy_of_a_refused_certificate(secure: PostgresServer, trusted: Path) -> None:
    address = secure.database().replace("127.0.0.1", "localhost")
    target = f"{address}?sslmode=verify-full&sslrootcert={trusted}"
    found = next(iter(check_database(Settings.of(database=target))))
    assert "sslrootcert" in found.remedy


def test_a_server_without_tls_is_refused_where_tls_is_required(
    postgres: PostgresServer, trusted: Path
) -> None:
    address = postgres.database()
    for mode in ("require", f"verify-ca&sslrootcert={trusted}", f"verify-full&sslrootcert={trusted}"):
        assert "does not support SSL" in refusal(f"{address}?sslmode={mode}")
    assert not is_encrypted(f"{address}?sslmode=prefer")


def test_a_client_certificate_is_presented(
    secure: PostgresServer, authority: Identity, trusted: Path, tmp_path: Path
) -> None:
    client = identity("headstart", authority)
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(client.chain)
    key.write_bytes(client.private)
    address = (
        f"{secure.database()}?sslmode=verify-full&sslrootcert={trusted}&sslcert={certificate}&sslkey={key}"
    )
    key.chmod(0o644)
    assert "client.key" in refusal(address)
    key.chmod(0o600)
    assert is_encrypted(address)


def test_of_several_hosts_the_one_that_takes_writes_is_used(postgres: PostgresServer) -> None:
    address = postgres.database()
    here = f"127.0.0.1:{postgres.port}"
    several = address.replace(here, f"127.0.0.1:1,{here}")
    database = Database(f"{several}?target_session_attrs=read-write")
    database.close()


def test_a_password_file_is_read_for_each_connection(postgres: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "passwords"

    def keep(password: str) -> None:
        file.write_text(f"*:*:*:*:{password}\n")
        file.chmod(0o600)

    keep("old")
    database = Database(f"{postgres.guarded('old')}?passfile={file}")
    touch(database)
    keep("new")
    postgres.execute(f"ALTER ROLE {GUARDED} PASSWORD 'new'")
    postgres.end_sessions()
    touch(database)
    database.close()


def touch(database: Database) -> None:
    with database.read() as connection:
        connection.execute(text("SELECT 1")).scalar_one()
