"""An installation without Keras and TensorFlow, such as the slim image's, names the full one."""

import sys
from pathlib import Path
from typing import Any

import pytest

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import RuntimeKind, RuntimeSettings
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.backbones.worker.optional_packages import keras_missing, trains_networks
from headstart_server.errors import BackboneUnavailable, ExportUnavailable, InvalidField
from headstart_server.learning.heads.recipe import Mlp, Partial
from headstart_server.training.candidates import check_trainable_here


@pytest.fixture
def slim(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("keras", "tensorflow", "jax", "torch"):
        monkeypatch.setitem(sys.modules, package, None)


def test_with_both_packages_nothing_is_missing() -> None:
    assert trains_networks()
    assert keras_missing("An export") is None


def test_the_missing_package_and_the_remedy_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert keras_missing("An export as keras") == (
        "An export as keras needs tensorflow, which this installation lacks. Use the full image, or install "
        "'headstart[server]' where the server runs."
    )


@pytest.mark.usefixtures("slim")
@pytest.mark.parametrize("call", ["load", "prepare", "conversion"])
def test_a_backbone_that_was_never_converted_is_unavailable(tmp_path: Path, call: str) -> None:
    catalog = Catalog(runtimes=RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=tmp_path))
    with pytest.raises(BackboneUnavailable, match=r"full image.*--prepared-backbones"):
        getattr(catalog, call)("efficientnet-lite0")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("slim")
@pytest.mark.parametrize("form", [form for form in ExportFormat if form is not ExportFormat.OPENVINO])
def test_exports_of_keras_models_are_unavailable(tmp_path: Path, form: ExportFormat) -> None:
    class Request:
        def __init__(self) -> None:
            self.form = form

    request: Any = Request()
    with pytest.raises(ExportUnavailable, match="full image"):
        Catalog().export("efficientnet-lite0", request, tmp_path, lambda: None)


@pytest.mark.usefixtures("slim")
def test_only_the_recipe_that_trains_networks_is_refused() -> None:
    check_trainable_here(Mlp())
    with pytest.raises(InvalidField, match=r"'partial'.*full image") as caught:
        check_trainable_here(Partial())
    assert caught.value.field == "spec.recipe.partial"


@pytest.mark.usefixtures("slim")
def test_openvino_runs_networks_on_a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart_server.backbones.contract.runtimes.has_gpu", lambda: True)
    assert RuntimeSettings().settled().kind is RuntimeKind.OPENVINO
