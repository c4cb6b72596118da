"""Checks of certificates, with real ones."""

import os
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, PrivateFormat

from certificates import PEM, Identity, identity
from headstart_server.doctor.finding import Finding, Status
from headstart_server.doctor.security import check_tls
from headstart_server.settings.settings import Settings

AUTHORITY = identity("authority", left=timedelta(days=400))
YEAR = timedelta(days=365)


def files(folder: Path, own: Identity, ca: Identity | None = None) -> Settings:
    (folder / "cert").write_bytes(own.chain)
    (folder / "key").write_bytes(own.private)
    if ca is not None:
        (folder / "ca").write_bytes(ca.chain)
    return Settings.of(
        tls_cert=folder / "cert", tls_key=folder / "key", tls_client_ca=folder / "ca" if ca else None
    )


def checked(config: Settings, now: float | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_tls(config, lambda: now or time.time())}


def test_a_good_certificate_names_its_hosts_and_days(tmp_path: Path):
    own = identity("server", AUTHORITY, x509.DNSName("headstart.example"), left=YEAR)
    found = checked(files(tmp_path, own, AUTHORITY))
    assert {name: one.status for name, one in found.items()} == {
        "TLS certificate": Status.OK,
        "client CA": Status.OK,
    }
    certificate = found["TLS certificate"]
    assert certificate.details["names"] == ["127.0.0.1", "headstart.example"]
    assert 364 < certificate.details["days_left"] < 366
    assert "headstart.example" in certificate.summary


@pytest.mark.parametrize(
    ("age", "left", "status", "word"),
    [
        (timedelta(days=9), timedelta(days=-1), Status.FAILED, "expired"),
        (timedelta(days=-1), timedelta(days=9), Status.FAILED, "not valid before"),
        (timedelta(days=9), timedelta(days=20), Status.WARNING, "20 days"),
        (timedelta(days=9), timedelta(hours=5), Status.WARNING, "5.0 hours"),
        (timedelta(days=9), timedelta(days=31), Status.OK, "31 days"),
    ],
)
def test_the_validity_of_a_certificate(
    tmp_path: Path, age: timedelta, left: timedelta, status: Status, word: str
):
    found = checked(files(tmp_path, identity("server", AUTHORITY, age=age, left=left)))["TLS certificate"]
    assert found.status is status
    assert word in found.summary


def test_a_key_of_another_certificate_fails(tmp_path: Path):
    config = files(tmp_path, identity("server"))
    (tmp_path / "key").write_bytes(identity("other").private)
    assert "does not belong to the certificate" in checked(config)["TLS"].summary


def test_a_key_with_a_password_fails_without_a_prompt(tmp_path: Path):
    own = identity("server")
    config = files(tmp_path, own)
    (tmp_path / "key").write_bytes(
        own.key.private_bytes(PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    assert checked(config)["TLS"].status is Status.FAILED


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
@pytest.mark.parametrize("kind", ["missing", "fifo", "folder", "huge", "binary", "empty", "loop"])
def test_files_that_are_none(tmp_path: Path, name: str, kind: str):
    config = files(tmp_path, identity("server", AUTHORITY, left=YEAR), AUTHORITY)
    path = tmp_path / name
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    elif kind == "binary":
        path.write_bytes(bytes(range(256)) * 10)
    elif kind == "empty":
        path.touch()
    elif kind == "loop":
        path.symlink_to(path)
    found = [one for one in checked(config).values() if one.status is Status.FAILED]
    assert len(found) == 1
    assert found[0].remedy


def test_a_ca_file_with_the_certificate_of_a_client_fails(tmp_path: Path):
    own = identity("server", AUTHORITY, left=YEAR)
    found = checked(files(tmp_path, own, identity("client", AUTHORITY)))["client CA"]
    assert found.status is Status.FAILED
    assert "no certificate of an authority" in found.summary


def test_the_authority_that_expires_first_counts(tmp_path: Path):
    own = identity("server", AUTHORITY, left=YEAR)
    config = files(tmp_path, own, AUTHORITY)
    soon = identity("soon", left=timedelta(days=3))
    (tmp_path / "ca").write_bytes(AUTHORITY.chain + soon.chain)
    found = checked(config)["client CA"]
    assert found.status is Status.WARNING
    assert found.details["subject"] == "soon"


def test_a_chain_is_read_like_a_single_certificate(tmp_path: Path):
    middle = identity("middle", None, left=YEAR)
    own = identity("server", middle, left=YEAR)
    config = files(tmp_path, own)
    (tmp_path / "cert").write_bytes(own.chain + middle.chain)
    assert checked(config)["TLS certificate"].details["subject"] == "server"


def test_without_tls():
    assert checked(Settings())["TLS"].status is Status.SKIPPED
    assert checked(Settings.of(host="0.0.0.0", plaintext=True))["TLS"].status is Status.WARNING


def test_dates_are_those_of_the_certificate(tmp_path: Path):
    own = identity("server", left=YEAR)
    found = checked(files(tmp_path, own))["TLS certificate"]
    ends = ssl.cert_time_to_seconds(str(found.details["not_after"]))
    assert ends == own.certificate.not_valid_after_utc.timestamp()
