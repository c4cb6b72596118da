"""A real network quantized to 8 bits by the command, and used like every other backbone."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

from forked import run_headstart
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import Declaration, DeclarationError
from headstart_server.backbones.networks.quantization import QuantizationProof
from headstart_server.backbones.runtimes.keras_tail import taken
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.errors import BackboneUnavailable, InvalidField
from prepared import copy_prepared

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

NAME = "efficientnet-lite0"
QUANTIZED = f"{NAME}:int8"


def write_samples(folder: Path, each: int = 20) -> Path:
    """Write crops of two photographs, which no network confuses."""
    rng = np.random.default_rng(0)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir()
        height, width, _ = photograph.shape
        for number in range(each):
            side = int(rng.integers(height // 2, height))
            top, left = int(rng.integers(height - side)), int(rng.integers(width - side))
            crop = photograph[top : top + side, left : left + side]
            Image.fromarray(crop).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("samples"))


def prepare(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    arguments = ("prepare", "--backbone-cache", str(cache), *arguments)
    return run_headstart(*arguments, environment=os.environ, module="headstart_server", timeout=300)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A cache with the backbone in both forms."""
    folder = tmp_path_factory.mktemp("cache")
    copy_prepared(NAME, folder)
    ended = prepare(folder, "--int8", "--samples", str(samples), NAME)
    assert ended.returncode == 0, ended.stderr
    assert f"{QUANTIZED}: " in ended.stdout
    assert f"accuracy on {samples.name}: 100.00%" in ended.stdout
    return folder


def catalog(cache: Path, precision: Precision | None = None) -> Catalog:
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=precision, streams=2, cache=cache)
    return Catalog(runtimes=settings)


@pytest.fixture(scope="module")
def floating(cache: Path) -> Backbone:
    return catalog(cache, Precision.FLOAT32).load(NAME)


@pytest.fixture(scope="module")
def quantized(cache: Path) -> Backbone:
    return catalog(cache, Precision.FLOAT32).load(QUANTIZED)


@pytest.fixture(scope="module")
def rows(floating: Backbone, samples: Path) -> NDArray[np.generic]:
    paths = sorted(samples.rglob("*.png"))[::6]
    return np.stack([floating.decode(path.read_bytes()) for path in paths])


def test_it_is_a_backbone_with_a_name_and_a_digest(floating: Backbone, quantized: Backbone) -> None:
    assert quantized.info.name == QUANTIZED
    assert quantized.digest != floating.digest
    assert quantized.runtime == "openvino int8"
    assert quantized.info.views == floating.info.views


def test_its_features_point_the_same_way(
    floating: Backbone, quantized: Backbone, rows: NDArray[np.generic]
) -> None:
    for view in floating.info.views:
        one, other = floating.run(rows)[view], quantized.run(rows)[view]
        cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        assert cosines.min() > 0.95
        assert not np.array_equal(one, other)


def test_a_row_has_the_same_features_in_every_batch(quantized: Backbone, rows: NDArray[np.generic]) -> None:
    alone = [quantized.run(row[None])["last"][0] for row in rows]

    for size in range(1, len(rows) + 1):
        np.testing.assert_array_equal(quantized.run(rows[:size])["last"], alone[:size])
    np.testing.assert_array_equal(quantized.run(rows[::-1])["last"], alone[::-1])


def test_its_tails_run_in_floating_point_on_its_activations(
    cache: Path, floating: Backbone, quantized: Backbone, rows: NDArray[np.generic]
) -> None:
    plan = quantized.info.tails[1]
    weights = taken(catalog(cache).network(NAME), floating.info.tails[1])
    activations = quantized.run(rows, cuts={plan.cut.name})[plan.cut.name]

    features = quantized.tail(weights).run(activations)

    expected = floating.tail(weights).run(activations)
    np.testing.assert_array_equal(features, expected)


def test_it_is_the_default_where_the_settings_say_so(cache: Path) -> None:
    chosen = catalog(cache, Precision.INT8)
    assert chosen.quantized.preferred(NAME) == QUANTIZED
    assert chosen.info(NAME).precision_reason == chosen.info(QUANTIZED).precision_reason
    assert "times as many rows per second" in chosen.info(NAME).precision_reason
    assert {info.precision_reason for info in chosen.list() if info.name in {NAME, QUANTIZED}} == {
        chosen.info(NAME).precision_reason
    }
    assert catalog(cache, Precision.FLOAT32).quantized.preferred(NAME) == NAME
    assert catalog(cache, Precision.INT8).list()[0].name == QUANTIZED
    assert QUANTIZED in {info.name for info in catalog(cache, Precision.FLOAT32).list()}


@pytest.mark.parametrize("form", [ExportFormat.KERAS, ExportFormat.ONNX])
def test_other_forms_than_openvino_name_the_way_out(cache: Path, tmp_path: Path, form: ExportFormat) -> None:
    request = type("Request", (), {"form": form})()

    with pytest.raises(InvalidField, match=f"rebase the version onto the backbone '{NAME}'"):
        catalog(cache).export(QUANTIZED, request, tmp_path, lambda: None)


def test_a_second_preparation_does_nothing(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.glob("*-int8/network.*")}
    ended = prepare(cache, "--int8", NAME)

    assert ended.returncode == 0, ended.stderr
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*-int8/network.*")} == before


def test_one_without_a_proof_is_not_used(cache: Path) -> None:
    (folder,) = cache.glob("*-int8")
    proof = QuantizationProof.read(folder)
    assert proof is not None
    (folder / "proof.json").unlink()
    try:
        with pytest.raises(BackboneUnavailable, match=f"headstart-server prepare --int8 {NAME}"):
            catalog(cache).load(QUANTIZED)
        assert QUANTIZED not in {info.name for info in catalog(cache).list()}
    finally:
        proof.write(folder)


def test_samples_without_classes_are_refused(cache: Path, tmp_path: Path) -> None:
    ended = prepare(tmp_path / "cache", "--int8", "--samples", str(tmp_path), NAME)

    assert ended.returncode == 1
    assert f"{tmp_path} has no image files (.bmp, .gif, .jpeg, .jpg, .png, .webp)" in ended.stderr
    # Nothing is prepared that could not be proven.
    assert not (tmp_path / "cache").exists()


def test_a_declared_backbone_cannot_take_the_name() -> None:
    with pytest.raises(DeclarationError, match="does not end with :int8"):
        Catalog([Declaration(name="mine:int8", source="keras:MobileNetV2")])
