"""The converted networks in OpenVINO, against Keras and against themselves."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract import runtimes
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.runtimes.openvino_runtime import NETWORK_FILE
from headstart_server.errors import BackboneUnavailable

# TensorFlow warns about its own parts at import; nothing here depends on them.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAME = "efficientnet-lite0"
#: Without quantized weights, INT8 is the precision of the other two that suits the machine.
PRECISIONS = [
    Precision.FLOAT32,
    Precision.BFLOAT16,
    pytest.param(Precision.INT8, marks=pytest.mark.thorough),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "networks"


@pytest.fixture(scope="module")
def rows() -> NDArray[np.uint8]:
    """The golden image, and 16 more of smooth colors: as natural as can be made."""
    base = golden_image()[38:262, 88:312]
    return np.stack([np.roll(base, (7 * place, 11 * place), axis=(0, 1)) for place in range(17)])


def load(cache: Path, precision: Precision, *, streams: int = 2) -> Backbone:
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=precision, streams=streams, cache=cache)
    return Catalog(runtimes=settings).load(NAME)


def test_float32_features_equal_those_of_keras(cache: Path, rows: NDArray[np.uint8]) -> None:
    in_keras = Catalog().network(NAME)(rows)
    backbone = load(cache, Precision.FLOAT32)
    received = backbone.run(rows)
    assert received.keys() == backbone.info.views.keys()
    for view, features in received.items():
        expected = np.asarray(in_keras[view])
        assert features.dtype == np.float32
        assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()


def test_bfloat16_features_point_the_same_way(cache: Path, rows: NDArray[np.uint8]) -> None:
    exact = load(cache, Precision.FLOAT32).run(rows)
    rounded = load(cache, Precision.BFLOAT16).run(rows)
    for view, features in rounded.items():
        products = (features * exact[view]).sum(axis=1)
        cosines = products / np.linalg.norm(features, axis=1) / np.linalg.norm(exact[view], axis=1)
        assert cosines.min() >= 0.98


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_rows_features_do_not_depend_on_its_batch_or_stream(
    cache: Path, rows: NDArray[np.uint8], precision: Precision, streams: int
) -> None:
    backbone = load(cache, precision, streams=streams)
    together = backbone.run(rows)
    with ThreadPoolExecutor(4) as threads:
        for size in (1, 2, 3, 5, 8):
            starts = range(0, len(rows), size)
            parts = list(threads.map(backbone.run, [rows[start : start + size] for start in starts]))
            for view, features in together.items():
                assert np.array_equal(np.concatenate([part[view] for part in parts]), features)


def test_a_runtime_says_what_it_is(cache: Path) -> None:
    backbone = load(cache, Precision.FLOAT32, streams=1)
    assert (backbone.runtime, backbone.streams) == ("openvino float32", 1)


def test_a_converted_network_is_loaded_without_keras_and_tensorflow(cache: Path) -> None:
    load(cache, Precision.FLOAT32)
    code = """
import sys
from pathlib import Path
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import RuntimeKind, RuntimeSettings
import headstart_server.backbones.worker.prepared_cache as prepared
prepared._prepare = None  # what is in the cache must not be converted again
Catalog(runtimes=RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=Path(sys.argv[1]))).load()
assert not {"keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, str(cache)], check=True)


def test_a_prepared_backbone_may_be_loaded_before_it_is_requested(
    cache: Path, rows: NDArray[np.uint8], tmp_path: Path
) -> None:
    expected = load(cache, Precision.FLOAT32)
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=Precision.FLOAT32, streams=2, cache=cache)
    catalog = Catalog(runtimes=settings)
    catalog.load_early(NAME)
    early = [thread for thread in threading.enumerate() if thread.name.startswith("load-early")]
    assert len(early) == 1
    backbone = catalog.load(NAME)
    np.testing.assert_array_equal(backbone.run(rows)["last"], expected.run(rows)["last"])
    assert catalog.load(NAME) is not backbone


def test_a_backbone_that_must_be_prepared_is_not_loaded_early(tmp_path: Path) -> None:
    catalog = Catalog(runtimes=RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=tmp_path))
    catalog.load_early(NAME)
    assert not any(thread.name.startswith("load-early") for thread in threading.enumerate())
    assert not [*tmp_path.iterdir()]


def test_a_failed_early_load_is_reported_by_the_load(cache: Path, tmp_path: Path) -> None:
    load(cache, Precision.FLOAT32)
    copy = shutil.copytree(cache, tmp_path / "cache")
    for network in copy.rglob("network.xml"):
        network.write_text("x" * network.stat().st_size)
    catalog = Catalog(runtimes=RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=copy))
    catalog.load_early(NAME)
    with pytest.raises(BackboneUnavailable, match=f"Backbone '{NAME}' is unavailable"):
        catalog.load(NAME)


def test_openvino_reports_no_telemetry(tmp_path: Path) -> None:
    code = """
from headstart_server.backbones.runtimes.openvino_import import load_openvino
load_openvino().Core()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_every_backbone_passes_its_golden_check_in_bfloat16() -> None:
    # Where the servers of other tests look, too: each is converted once.
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=Precision.BFLOAT16, cache=default_cache())
    catalog = Catalog(runtimes=settings)
    for info in catalog.list():
        assert catalog.load(info.name).runtime == "openvino bfloat16"


def test_the_file_of_a_network_is_never_there_half_written(cache: Path) -> None:
    load(cache, Precision.FLOAT32)
    folders = list(cache.iterdir())
    assert [folder.suffix for folder in folders if folder.suffix == ".part"] == []
    assert all((folder / NETWORK_FILE).with_suffix(".bin").exists() for folder in folders)


def test_the_machine_chooses_where_nothing_is_said() -> None:
    settled = RuntimeSettings().settled()
    assert settled.kind is not None
    assert settled.precision is not None
    assert settled.streams >= 1


@pytest.mark.parametrize(
    ("kind", "gpu", "bfloat16", "expected"),
    [
        (RuntimeKind.KERAS, False, True, (Precision.FLOAT32, 1)),
        (RuntimeKind.KERAS, True, False, (Precision.BFLOAT16, 3)),
        (RuntimeKind.OPENVINO, False, True, (Precision.BFLOAT16, 5)),
        (RuntimeKind.OPENVINO, False, False, (Precision.FLOAT32, 5)),
    ],
)
def test_precision_and_streams_are_those_that_suit_the_device(
    monkeypatch: pytest.MonkeyPatch,
    kind: RuntimeKind,
    gpu: bool,
    bfloat16: bool,
    expected: tuple[Precision, int],
) -> None:
    monkeypatch.setattr(runtimes, "has_gpu", lambda: gpu)
    monkeypatch.setattr(runtimes, "has_bfloat16", lambda: bfloat16)
    monkeypatch.setattr(runtimes, "available_cores", lambda: 5)
    settled = RuntimeSettings(kind=kind).settled()
    assert (settled.precision, settled.streams) == expected
    settled = RuntimeSettings(kind=kind, precision=Precision.FLOAT32, streams=2).settled()
    assert (settled.precision, settled.streams) == (Precision.FLOAT32, 2)
