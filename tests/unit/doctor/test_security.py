"""Checks of access, webhooks, data and secrets."""

import os
from pathlib import Path

import pytest

from certificates import identity
from headstart_server.auth.tokens import lines_for, make_token
from headstart_server.doctor.finding import Finding, Status
from headstart_server.doctor.security import check_security
from headstart_server.settings.settings import Settings

SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo="


def checked(config: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_security(config)}


def test_a_valid_access_file(tmp_path: Path):
    path = tmp_path / "access.toml"
    path.write_text(lines_for("me", make_token()))
    assert checked(Settings.of(access_file=path))["access file"].status is Status.OK


@pytest.mark.parametrize("content", [b"[[principals", b"\xff\xfe", b"x = 1", None, "fifo", "huge"])
def test_an_invalid_access_file_fails(tmp_path: Path, content: bytes | str | None):
    path = tmp_path / "access.toml"
    if content == "fifo":
        os.mkfifo(path)
    elif content == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    found = checked(Settings.of(access_file=path))["access file"]
    assert found.status is Status.FAILED
    assert str(path) in found.summary


def test_without_an_access_file_others_may_do_everything():
    assert checked(Settings())["access file"].status is Status.SKIPPED
    assert checked(Settings.of(host="0.0.0.0", plaintext=True))["access file"].status is Status.WARNING


def test_secrets_of_webhooks_are_checked_and_not_printed(tmp_path: Path):
    path = tmp_path / "secrets"
    path.write_text(SECRET)
    path.chmod(0o600)
    config = Settings.of(webhook="https://example.com/hook", webhook_secret_file=path)
    found = checked(config)
    assert found["webhooks"].status is found["secret files"].status is Status.OK
    path.write_text(f"{SECRET}broken!")
    broken = checked(config)["webhooks"]
    assert broken.status is Status.FAILED
    assert SECRET not in str(broken)


@pytest.mark.parametrize(
    ("mode", "status"),
    [(0o600, Status.OK), (0o640, Status.OK), (0o644, Status.WARNING), (0o602, Status.WARNING)],
)
def test_secrets_that_every_user_may_read_or_change(tmp_path: Path, mode: int, status: Status):
    own = identity("server")
    (tmp_path / "cert").write_bytes(own.chain)
    (tmp_path / "key").write_bytes(own.private)
    (tmp_path / "key").chmod(mode)
    found = checked(Settings.of(tls_cert=tmp_path / "cert", tls_key=tmp_path / "key"))["secret files"]
    assert found.status is status


def test_places_of_data(tmp_path: Path):
    config = Settings.of(data_dir=tmp_path / "data", allow_dataset_uri=(str(tmp_path / "sets"),))
    assert checked(config)["dataset URIs"].status is Status.OK
    own = Settings.of(data_dir=tmp_path / "data", allow_dataset_uri=(str(tmp_path),))
    assert checked(own)["dataset URIs"].status is Status.FAILED
