"""What a server keeps for itself is no data that it lets be read."""

from pathlib import Path

import pytest

from headstart_server.database import address
from headstart_server.datasets.uris.policy import dataset_uri_policy
from headstart_server.settings.kinds import File
from headstart_server.settings.settings import SETTINGS, Settings


def allowed(tmp_path: Path, prefix: str, **settings: object) -> None:
    config = Settings.of(data_dir=tmp_path / "data", allow_dataset_uri=[prefix], **settings)
    dataset_uri_policy(config, address.files(config.storage.database_target))


@pytest.mark.parametrize(
    "prefix", ["", "/data", "/data/versions", "/databases", "/link", "/keys", "/artifacts", "/link/{tenant}"]
)
def test_a_folder_of_the_servers_own_is_refused(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    settings = {
        "access_file": tmp_path / "keys" / "access.toml",
        "artifacts": str(tmp_path / "artifacts"),
        "database": f"sqlite:///{tmp_path}/databases/a.sqlite3",
    }
    with pytest.raises(ValueError, match="must not overlap"):
        allowed(tmp_path, f"{tmp_path}{prefix}", **settings)
    allowed(tmp_path, f"{tmp_path}/sets", **settings)


@pytest.mark.parametrize(
    ("artifacts", "prefix", "is_own"),
    [
        ("s3://bucket/artifacts", "s3://bucket", True),
        ("s3://bucket/artifacts", "s3://bucket/artifacts/datasets", True),
        ("s3://bucket", "s3://bucket/sets", True),
        ("gs://bucket/artifacts", "gs://bucket/{tenant}", True),
        ("s3://bucket/artifacts", "s3://bucket/sets", False),
        ("s3://bucket/artifacts", "gs://bucket/artifacts", False),
    ],
)
def test_the_bucket_of_artifacts_is_its_own_too(
    tmp_path: Path, artifacts: str, prefix: str, is_own: bool
) -> None:
    if is_own:
        with pytest.raises(ValueError, match="must not overlap"):
            allowed(tmp_path, prefix, artifacts=artifacts)
    else:
        allowed(tmp_path, prefix, artifacts=artifacts)


@pytest.mark.parametrize("name", sorted(one.name for one in SETTINGS.values() if isinstance(one.kind, File)))
def test_a_file_that_a_setting_names_is_the_servers_own(tmp_path: Path, name: str) -> None:
    # Settings that require each other.
    further = {"tls_cert", "tls_key"} if name.startswith("tls") else set()
    further |= {"allow_webhook"} if name == "webhook_secret_file" else set()
    values: dict[str, object] = {each: tmp_path / "further" / each for each in further}
    values |= {"allow_webhook": ["https://example.com"]} if "allow_webhook" in further else {}
    config = Settings.of(**values | {name: tmp_path / "own" / "file"}).replace(
        allow_dataset_uri=[str(tmp_path / "own")]
    )
    with pytest.raises(ValueError, match="must not overlap"):
        dataset_uri_policy(config, ())


def test_the_audit_log_on_stdout_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    allowed(tmp_path / "server", str(tmp_path / "-"), audit_log=Path("-"))


@pytest.mark.parametrize("name", ["passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl"])
def test_a_file_that_the_address_of_the_database_names_is_the_servers_own(tmp_path: Path, name: str) -> None:
    database = f"postgresql://user@host/name?sslmode=verify-full&{name}={tmp_path}/pg/file"
    with pytest.raises(ValueError, match="must not overlap"):
        allowed(tmp_path, f"{tmp_path}/pg", database=database)
    allowed(tmp_path, f"{tmp_path}/sets", database=database)
