"""Checks of folders: missing, foreign, unusable, in use."""

import fcntl
import os
from pathlib import Path

import pytest

from headstart_server.doctor import disk
from headstart_server.doctor.disk import check_disk, file_system
from headstart_server.doctor.finding import Finding, Status
from headstart_server.settings.settings import Settings


def checked(config: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_disk(config)}


def of_data(path: Path) -> Finding:
    return checked(Settings.of(data_dir=path, backbone_cache=path.parent))["data folder"]


def test_a_missing_folder_is_not_made(tmp_path: Path):
    found = of_data(tmp_path / "a" / "b")
    assert found.status is not Status.FAILED
    assert "will be created" in found.summary
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_in_a_folder(tmp_path: Path):
    assert of_data(tmp_path).status is not Status.FAILED
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "loop", "dangling", "beneath a file", "fifo"])
def test_what_is_no_folder_fails(tmp_path: Path, kind: str):
    path = tmp_path / "data"
    if kind == "file":
        path.write_text("")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "missing")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("")
        path = path / "inside"
    found = checked(Settings.of(data_dir=path, backbone_cache=tmp_path))["data folder"]
    assert found.status is Status.FAILED
    assert "--data-dir" in found.remedy


def test_a_path_that_is_not_utf8_can_be_reported(tmp_path: Path):
    path = tmp_path / os.fsdecode(b"data\xff")
    path.mkdir()
    assert of_data(path).status is not Status.FAILED


def test_a_used_folder_names_the_process(tmp_path: Path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = checked(Settings.of(data_dir=tmp_path, backbone_cache=tmp_path))["data lock"]
        assert found.status is Status.WARNING
        assert found.details == {"running": True, "pid": os.getpid()}
    assert checked(Settings.of(data_dir=tmp_path, backbone_cache=tmp_path))["data lock"].status is Status.OK


def test_a_fifo_as_lock_does_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "lock")
    assert checked(Settings.of(data_dir=tmp_path, backbone_cache=tmp_path))["data lock"].status is Status.OK


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs4", Status.WARNING),
        ("cifs", Status.WARNING),
        ("fuse.sshfs", Status.WARNING),
        ("tmpfs", Status.WARNING),
        ("overlay", Status.WARNING),
        ("ext4", Status.OK),
        ("xfs", Status.OK),
        ("fuse.fuse-overlayfs", Status.OK),
    ],
)
def test_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, expected: Status):
    monkeypatch.setattr(disk, "file_system", lambda path: kind)
    settings = Settings.of(
        data_dir=tmp_path,
        backbone_cache=tmp_path,
        example_storage=None,
        max_dataset_size=1 << 20,
        feature_cache_disk=None,
    )
    found = checked(settings)
    assert found["data folder"].status is expected
    assert found["backbone cache"].status is Status.OK


def test_the_last_mount_above_a_path_counts(tmp_path: Path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:5 / /data rw shared:1 - nfs4 host:/x rw\n"
        "3 1 0:6 / /with\\040space rw - xfs /dev/b rw\n"
        "4 1 0:7 / /data rw - tmpfs none rw\n"
    )
    assert file_system(Path("/data/x"), mounts) == "tmpfs"
    assert file_system(Path("/database"), mounts) == "ext4"
    assert file_system(Path("/with space"), mounts) == "xfs"
    assert file_system(Path("/"), tmp_path / "missing") == "unknown"


def test_limits_beyond_the_free_space_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Files of a tmpfs would be the first concern.
    monkeypatch.setattr("headstart_server.doctor.disk.file_system", lambda *_: "ext4")
    config = Settings.of(data_dir=tmp_path, backbone_cache=tmp_path, example_storage=1 << 50)
    found = checked(config)["data folder"]
    assert found.status is Status.WARNING
    assert "--example-storage" in found.remedy


def test_exports_count_against_the_free_space(tmp_path: Path):
    config = Settings.of(data_dir=tmp_path / "data", backbone_cache=tmp_path)

    def needed() -> int:
        return int(str(checked(config)["data folder"].details["needed_mib"]))

    before = needed()
    export = tmp_path / "data/exports/one/variables"
    export.mkdir(parents=True)
    with (export / "variables.index").open("wb") as file:
        file.truncate(100 << 20)
    assert needed() == before - 100


def test_the_need_of_space_is_the_sum_of_the_limits(tmp_path: Path):
    gib = 1 << 30
    config = Settings.of(
        data_dir=tmp_path / "data",
        backbone_cache=tmp_path,
        feature_cache_disk=2 * gib,
        thumbnail_storage=3 * gib,
        example_storage=5 * gib,
        max_dataset_size=8 * gib,
        job_workers=3,
    )
    activations, exports = 3 * 4, 1
    assert (
        checked(config)["data folder"].details["needed_mib"] == (2 + 3 + 5 + 8 + activations + exports) * 1024
    )


def test_every_folder_of_the_settings_is_checked(tmp_path: Path):
    config = Settings.of(
        data_dir=tmp_path / "data",
        backbone_cache=tmp_path / "cache",
        artifacts=str(tmp_path / "artifacts"),
        audit_log=tmp_path / "audit" / "log",
        database=f"sqlite:///{tmp_path}/database/x.sqlite3",
    )
    assert set(checked(config)) == {
        "data folder",
        "artifacts folder",
        "backbone cache",
        "audit log",
        "database folder",
        "data lock",
    }
