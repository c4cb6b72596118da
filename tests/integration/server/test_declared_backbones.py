"""Backbones that an operator declared, from their file to the answer of a version."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from forked import run_headstart
from headstart.v1 import model_pb2, model_service_pb2
from integration.server.calls import TIMEOUT, Api, digit, digits, refused
from server_process import FIRST_START_SECONDS, ServerProcess, eventually, running

# Preparations, which yield to all other work, take minutes next to other tests. The limit ends what hangs.
pytestmark = pytest.mark.timeout(2 * FIRST_START_SECONDS)

#: Makes small networks with random weights in a separate process, as the person who trained them would have:
#: two of the same layers, and one of the zoo.
SAVE = """
from headstart_server.backbones.runtimes.keras_import import load_keras
keras = load_keras()
for name in ("own", "other"):
    keras.utils.set_random_seed(len(name))
    images = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, 2, activation="relu")(x)
    keras.Model(images, keras.layers.Flatten()(x)).save(f"{name}.keras")
zoo = keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(64, 64, 3))
zoo.save_weights("zoo.weights.h5")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("declared")
    subprocess.run([sys.executable, "-c", SAVE], cwd=folder, check=True, capture_output=True)
    return folder


def declared(folder: Path) -> list[str]:
    """Declare the networks of a folder; return the flags of a server."""
    digest = hashlib.sha256((folder / "own.keras").read_bytes()).hexdigest()
    (folder / "backbones.toml").write_text(
        f"""
[backbones.own]
source = "keras-file:./own.keras"
license = "MIT"
description = "A small network of our own."

[backbones.pinned]
source = "keras-file:./own.keras"
digest = "{digest}"

[backbones.zoo]
source = "keras:MobileNetV3Small"
weights = "./zoo.weights.h5"
size = 64

[backbones.lost]
source = "keras-file:./lost.keras"
"""
    )
    flags = ["--backbones-file", str(folder / "backbones.toml"), "--default-backbone", "own"]
    return [*flags, "--backbone-cache", str(folder / "cache")]


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with running(folder / "data", *declared(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api.connect(server.target) as api:
        yield api


def backbones(api: Api) -> dict[str, model_pb2.Backbone]:
    listed = api.models.ListBackbones(model_service_pb2.ListBackbonesRequest(), timeout=TIMEOUT).backbones
    return {backbone.backbone: backbone for backbone in listed}


def statuses(api: Api) -> dict[str, model_pb2.BackboneStatus]:
    listed = api.models.ListBackbones(model_service_pb2.ListBackbonesRequest(), timeout=TIMEOUT).statuses
    return {status.backbone: status for status in listed}


def settled(api: Api) -> dict[str, model_pb2.Backbone]:
    """The backbones, once of each it is known what it is, or why not."""

    def all_known() -> dict[str, model_pb2.Backbone] | None:
        found, failed = backbones(api), statuses(api)
        return found if all(one.views or failed[name].problem for name, one in found.items()) else None

    return eventually(all_known, FIRST_START_SECONDS, "the facts of every backbone")


def test_declared_backbones_are_prepared_and_listed_and_their_faults_reported(api: Api) -> None:
    found = settled(api)
    own = found["own"]
    assert (own.modality, dict(own.views), list(own.input_size), own.license, own.description) == (
        model_pb2.MODALITY_IMAGE,
        {"last": 1568},
        [32, 32],
        "MIT",
        "A small network of our own.",
    )
    assert own.parameter_count == 5088
    found_statuses = statuses(api)
    assert found_statuses["own"].problem == ""
    assert "lost.keras is not a file" in found_statuses["lost"].problem


@pytest.mark.parametrize("name", ["own", "zoo"])
def test_a_declared_backbone_is_fine_tuned_on_and_answers(api: Api, name: str) -> None:
    settled(api)
    job = api.published(digits((0, 1, 7), 8), model=name, backbone=name)
    version = api.version(name, job.version)
    assert version.lineage.backbone == name
    assert version.lineage.backbone_digest == statuses(api)[name].digest
    if name == "own":  # untrained batch normalizations leave little of an image
        assert api.names(name, *(digit(label, 20) for label in (0, 1, 7))) == ["0", "1", "7"]
    else:
        assert set(api.names(name, digit(0, 20), digit(1, 20))) <= {"0", "1", "7"}


def test_one_that_cannot_be_had_is_refused_with_the_reason_and_hinders_no_other(api: Api) -> None:
    settled(api)
    refusal = refused(lambda: api.fine_tune(digits((0, 1), 4), model="lost", backbone="lost"))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "BACKBONE_UNAVAILABLE",
    )
    assert "lost.keras is not a file" in refusal.message


def test_other_weights_under_the_name_are_refused_where_pinned_and_reported_by_old_versions_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    for file in ("own.keras", "other.keras", "zoo.weights.h5"):
        shutil.copy(folder / file, tmp_path)
    flags = declared(tmp_path)
    with running(tmp_path / "data", *flags) as server, Api.connect(server.target) as api:
        settled(api)
        api.published(digits((0, 1, 7), 8), model="changed", backbone="own")
        server.terminate()
    (tmp_path / "other.keras").replace(tmp_path / "own.keras")
    with running(tmp_path / "data", *flags) as again, Api.connect(again.target) as api:
        again.wait_until_serving(FIRST_START_SECONDS)
        settled(api)
        assert "Expected weights of keras-file:" in statuses(api)["pinned"].problem
        eventually(lambda: backbones(api)["own"].views, FIRST_START_SECONDS, "the backbone")
        api.published(digits((0, 1), 4), model="pets", backbone="own")
        refusal = refused(lambda: api.predict("changed", digit(0, 0)))
        assert refusal.reason == "BACKBONE_MISMATCH"
        assert api.names("pets", digit(0, 20), digit(1, 20)) == ["0", "1"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("own=coffee:beans", "Expected a source of one of the schemes"),
        ("efficientnet-lite0=keras:Xception", "Two backbones are named"),
        ("beans", "Expected SCHEME:LOCATION"),
        ("zoo=keras:MobileNetV9", "Expected a network of Keras Applications"),
    ],
)
def test_a_declaration_that_cannot_be_stops_the_server_before_it_starts(
    tmp_path: Path, flag: str, message: str
) -> None:
    arguments = ["serve", "--data-dir", str(tmp_path / "data"), "--backbone", flag]
    done = run_headstart(*arguments, environment={**os.environ}, module="headstart_server")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
