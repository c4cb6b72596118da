"""A start without the database of the artifacts changes nothing: cleaning would remove them all."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes import FakeBackbone, FakeSource
from headstart_server.app.data_folder import open_database, open_roots
from headstart_server.app.lifecycle import App
from headstart_server.app.maintenance import Maintenance
from headstart_server.database.database import Database
from headstart_server.settings.settings import Settings
from headstart_server.storage.ownership import ForeignArtifactsError
from headstart_server.storage.storage_roots import StorageRoots
from postgres import on_both_databases

FILES = ("versions/job.1/manifest.json", "datasets/job.zip", "captures/batch/features")
FILE = "headstart.sqlite3"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(data: Path) -> Callable[..., None]:
    """Start a server on the data folder as far as its cleaning, and stop it."""

    def start(**settings: object) -> None:
        app = App(
            Settings.of(data_dir=data, default_backbone="mine", **settings), FakeSource(FakeBackbone("mine"))
        )
        try:
            Maintenance(app.objects).take_over()
        finally:
            app.close()

    return start


@pytest.fixture
def used(data: Path, start: Callable[..., None]) -> None:
    """The data folder of a server with artifacts that was killed."""
    start()
    for name in FILES:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("content")
    (data / f"{FILE}-wal").write_text("commits")


def contents(data: Path) -> dict[str, bytes]:
    """The files of the database and of the artifacts."""
    paths = [*data.glob(f"{FILE}*"), *(data / name for name in FILES)]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize("left", [None, b""], ids=["missing", "empty"])
def test_a_start_without_the_file_of_the_database_is_refused(
    data: Path, tmp_path: Path, start: Callable[..., None], left: bytes | None
) -> None:
    (data / FILE).rename(tmp_path / "moved")
    if left is not None:
        (data / FILE).write_bytes(left)
    before = contents(data)
    with pytest.raises(ForeignArtifactsError, match="put it back or restore a backup") as raised:
        start()
    assert str(data / FILE) in str(raised.value)
    assert str(data / "owner") in str(raised.value)
    # SQLite would have removed the log, which the file needs when it is put back.
    assert contents(data) == before
    (data / f"{FILE}-wal").unlink()
    (tmp_path / "moved").rename(data / FILE)
    start()


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize("marker", [True, False])
def test_a_start_with_a_new_file_is_refused(
    data: Path, tmp_path: Path, start: Callable[..., None], marker: bool
) -> None:
    if not marker:
        (data / "owner").unlink()
    before = contents(data)
    with pytest.raises(ForeignArtifactsError):
        start(database=f"sqlite:///{tmp_path / 'new.sqlite3'}")
    assert not (tmp_path / "new.sqlite3").exists()
    assert contents(data) == before


@pytest.mark.usefixtures("used")
@on_both_databases
def test_a_start_with_another_database_is_refused(
    data: Path, tmp_path: Path, start: Callable[..., None], address: str | None
) -> None:
    url = address or f"sqlite:///{tmp_path / 'other.sqlite3'}"
    Database(url).close()
    before = contents(data)
    with pytest.raises(ForeignArtifactsError):
        start(database=url)
    assert contents(data) == before


@pytest.mark.usefixtures("used")
def test_a_start_with_artifacts_of_an_unknown_database_is_refused(
    data: Path, start: Callable[..., None]
) -> None:
    (data / "owner").unlink()
    (data / f"{FILE}-wal").unlink()
    before = contents(data)
    with pytest.raises(ForeignArtifactsError, match="artifacts without the file"):
        start()
    assert contents(data) == before


def test_a_server_that_was_killed_before_it_claimed_its_folder_starts(
    data: Path, start: Callable[..., None]
) -> None:
    start()
    (data / "owner").unlink()
    start()
    assert (data / "owner").exists()
    (data / "owner").unlink()
    (data / FILE).write_bytes(b"")
    start()


def test_processes_of_one_server_that_start_at_once_open_the_same_new_file(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Settings.of(data_dir=data).storage
    late, first = (open_roots(storage, data / name, 0) for name in ("late", "first"))

    def check_unowned(roots: StorageRoots, name: str) -> None:
        monkeypatch.undo()
        with ExitStack() as closing:
            open_database(storage, first, closing, is_shared=True)
        roots.check_unowned(name)

    monkeypatch.setattr(StorageRoots, "check_unowned", check_unowned)
    with ExitStack() as closing:
        database = open_database(storage, late, closing, is_shared=True)
        assert database.identity in (data / "owner").read_text()
