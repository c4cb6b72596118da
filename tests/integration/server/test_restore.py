"""A lost database: no server starts without it, and it is put back, or restored as the page says."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from forked import run_headstart
from headstart.inputs import tensors
from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from integration.server.calls import TIMEOUT, Api
from programs import SQLITE
from server_process import ServerProcess, running, serve_arguments

pytestmark = pytest.mark.timeout(300)

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "backup-and-upgrade.md"
FLAGS = ("--default-backbone", "features:2")
#: The data folder as the page names it.
DATA = "DATA"


@contextmanager
def serving(data: Path) -> Iterator[tuple[ServerProcess, Api]]:
    with running(data, *FLAGS) as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            yield server, api


def row(*numbers: float) -> input_pb2.Input:
    return input_pb2.Input(tensor=tensors.encode(np.array(numbers, np.float32)))


def publish(api: Api, model: str) -> None:
    labels = [place % 2 for place in range(12)]
    examples = [
        input_pb2.Example(input=row(label, place / 10), label={"class_name": str(label)})
        for place, label in enumerate(labels)
    ]
    api.published(examples, model=model, alias="stable")


def predict(api: Api, model: str) -> str:
    """Return the class of an input."""
    target = version_selector_pb2.VersionSelector(model=model)
    request = predicting.PredictRequest(targets=[target], inputs=[row(1, 0.3)])
    [result] = api.prediction.Predict(request, timeout=TIMEOUT).results
    name: str = result.predictions[0].label.class_name
    return name


def models(api: Api) -> list[str]:
    found = api.models.ListModels(keeping.ListModelsRequest(), timeout=TIMEOUT)
    return [each.model for each in found.models]


def block_of(beginning: str) -> str:
    """Return the block of the page that begins with a command."""
    found: str
    [found] = re.findall(rf"^```sh\n({beginning} .*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return found


def run(block: str, folder: Path) -> None:
    subprocess.run(["bash", "-euc", block], cwd=folder, check=True, timeout=60)


def artifacts(data: Path) -> dict[Path, bytes]:
    paths = [path for kind in ("versions", "datasets") for path in (data / kind).rglob("*")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_a_backup_is_restored_after_a_crash_as_the_page_says(tmp_path: Path) -> None:
    SQLITE.need()
    data, file = tmp_path / DATA, tmp_path / DATA / "headstart.sqlite3"
    with serving(data) as (server, api):
        publish(api, "kept")
        run(block_of("mkdir"), tmp_path)
        for number in range(3):
            publish(api, f"later-{number}")
        server.kill()
    # SQLite would apply it to any file of this name.
    assert file.with_name(f"{file.name}-wal").stat().st_size

    run(block_of("rm"), tmp_path)

    with serving(data) as (server, api):
        assert models(api) == ["kept"]
        assert predict(api, "kept") == "1"
        publish(api, "after")
        assert server.terminate() == 0
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_server_starts_without_the_database_of_its_artifacts(tmp_path: Path) -> None:
    data, file = tmp_path / DATA, tmp_path / DATA / "headstart.sqlite3"
    with serving(data) as (server, api):
        publish(api, "kept")
        server.kill()
    before = artifacts(data)
    assert before
    new = tmp_path / "new.sqlite3"

    file.rename(tmp_path / "moved")
    for flags in ((), ("--database", f"sqlite:///{new}")):
        arguments = serve_arguments(data, *FLAGS, *flags)
        done = run_headstart(*arguments, environment=os.environ, timeout=200, module="headstart_server")
        assert done.returncode == 1
        assert "put it back or restore a backup" in done.stderr.splitlines()[-1]
        assert artifacts(data) == before
        assert not file.exists()
        assert not new.exists()

    (tmp_path / "moved").rename(file)
    with serving(data) as (_, api):
        assert predict(api, "kept") == "1"
