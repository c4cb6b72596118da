"""What a server keeps for itself is no data that it lets be read."""

from pathlib import Path

import pytest

from headstart_server.datasets.uris.policy import dataset_uri_policy
from headstart_server.settings.settings import Settings


def allowed(tmp_path: Path, prefix: str, **settings: object) -> None:
    config = Settings.of(data_dir=tmp_path / "data", allow_dataset_uri=[prefix], **settings)
    dataset_uri_policy(config, tmp_path / "databases" / "a.sqlite3")


@pytest.mark.parametrize(
    "prefix", ["", "/data", "/data/versions", "/databases", "/link", "/keys", "/artifacts", "/link/{tenant}"]
)
def test_a_folder_of_the_servers_own_is_refused(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    settings = {"access_file": tmp_path / "keys" / "access.toml", "artifacts": str(tmp_path / "artifacts")}
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
