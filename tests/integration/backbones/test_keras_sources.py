"""Networks from Keras: its own zoo, and files of one's own; made here with random weights."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone, Modality
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_runtime import KerasRuntime
from headstart_server.backbones.sources import image_networks, keras_images
from headstart_server.backbones.sources.files import local_file
from headstart_server.backbones.sources.keras_applications import NETWORKS
from headstart_server.backbones.sources.keras_file import check_keras_file
from headstart_server.backbones.sources.keras_images import weights_digest
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.sources.registry import SOURCES
from headstart_server.backbones.sources.source import SourceError, check_pin
from headstart_server.errors import BackboneUnavailable

# TensorFlow warns about its own parts at import; nothing here depends on them.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

SIDE = 32
#: ImageNet's, as most networks are trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def body() -> Any:
    """A small network of images, as somebody may have trained it."""
    keras = load_keras()
    keras.utils.set_random_seed(7)
    images = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="relu")(images)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(12, 3, 2, activation="relu", name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(5, activation="softmax", name="classes")(x))


@pytest.fixture(scope="module")
def file(folder: Path, body: Any) -> Path:
    path = folder / "own.keras"
    body.save(path)
    return path


def catalog(cache: Path, *declared: Declaration, kind: RuntimeKind = RuntimeKind.KERAS) -> Catalog:
    settings = RuntimeSettings(kind=kind, precision=Precision.FLOAT32, streams=1, cache=cache / "cache")
    return Catalog(declared, runtimes=settings)


def load(cache: Path, source: str, **said: Any) -> Backbone:
    # In this process, where Keras is anyway: a preparation for OpenVINO imports it once more.
    kind = said.pop("kind", RuntimeKind.KERAS)
    return catalog(cache, Declaration(name="own", source=source, **said), kind=kind).load("own")


def expected(model: Any, backbone: Backbone, preprocess: Any = lambda pixels: pixels) -> np.ndarray:
    pixels = backbone.decode(golden_image())[None].astype(np.float32)
    return np.asarray(model(preprocess(pixels), training=False))


def features(backbone: Backbone) -> np.ndarray:
    return backbone.run(backbone.decode(golden_image())[None])["last"]


def relative_error(received: np.ndarray, wanted: np.ndarray) -> float:
    assert received.shape == wanted.shape
    return float(np.abs(received - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("kind", RuntimeKind)
def test_a_file_of_ones_own_gives_its_own_features(
    folder: Path, file: Path, body: Any, kind: RuntimeKind
) -> None:
    backbone = load(folder, f"keras-file:{file}", layer="maps", mean=MEAN, std=STD, license="MIT", kind=kind)
    model = load_keras().Model(body.input, body.get_layer("maps").output)
    maps = expected(model, backbone, lambda pixels: (pixels / 255 - np.array(MEAN)) / np.array(STD))
    assert relative_error(features(backbone), maps.mean(axis=(1, 2))) < 1e-4
    info = backbone.info
    assert (info.modality, info.input_size, info.views, info.license) == (
        Modality.IMAGE,
        (SIDE, SIDE),
        {"last": 12},
        "MIT",
    )


@pytest.mark.parametrize(
    ("said", "shape"),
    [({"layer": "maps", "pooling": "max"}, 12), ({"layer": "maps", "pooling": "none"}, 588), ({}, 5)],
)
def test_what_is_taken_from_a_network_is_declared(
    folder: Path, file: Path, body: Any, said: dict[str, str], shape: int
) -> None:
    backbone = load(folder, f"keras-file:{file}", **said)
    model = load_keras().Model(body.input, body.get_layer(said.get("layer", "classes")).output)
    values = expected(model, backbone)
    wanted = {None: values, "max": values.max(axis=(1, 2)) if values.ndim == 4 else None}.get(
        said.get("pooling"), values.reshape(1, -1)
    )
    assert wanted.shape == (1, shape)
    assert relative_error(features(backbone), wanted) < 1e-4


def test_blue_first_and_another_scale_are_declared(folder: Path, file: Path, body: Any) -> None:
    backbone = load(folder, f"keras-file:{file}", channels="bgr", scale=1 / 127.5, mean=(1.0,))
    wanted = expected(body, backbone, lambda pixels: pixels[..., ::-1] / 127.5 - 1)
    assert relative_error(features(backbone), wanted) < 1e-4


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_a_network_of_the_zoo_has_its_own_preprocessing_whichever_color_comes_first(
    folder: Path, channels: str
) -> None:
    keras = load_keras()
    keras.utils.set_random_seed(3)
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    path = folder / "zoo.weights.h5"
    model.save_weights(path)
    backbone = load(folder, "keras:MobileNetV2", weights=str(path), size=64, channels=channels)
    preprocess = keras.applications.mobilenet_v2.preprocess_input
    step = {"rgb": 1, "bgr": -1}[channels]
    maps = expected(model, backbone, lambda pixels: preprocess(pixels[..., ::step].copy()))
    assert relative_error(features(backbone), maps.mean(axis=(1, 2))) < 1e-4
    assert backbone.info.parameter_count == model.count_params()


def test_every_network_of_the_zoo_has_its_own_preprocessing() -> None:
    applications = load_keras().applications
    networks = {name for name, value in vars(applications).items() if callable(value)}
    assert set(NETWORKS) == networks
    for facts in NETWORKS.values():
        assert callable(import_module(f"keras.applications.{facts.module}").preprocess_input)


def test_a_digest_of_weights_does_not_depend_on_what_was_made_before_in_the_process() -> None:
    keras = load_keras()

    def made(seed: int) -> str:
        keras.utils.set_random_seed(seed)
        return weights_digest(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3)]))

    first = made(1)
    assert made(1) == first
    assert made(2) != first


def test_the_digest_is_of_the_weights_and_of_what_is_done_before_them(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "moved.keras"
    elsewhere.write_bytes(file.read_bytes())
    digests = {
        load(folder, f"keras-file:{file}").digest,
        load(folder, f"keras-file:{elsewhere}", description="The same.").digest,
    }
    assert len(digests) == 1
    for said in ({"crop": 1.0}, {"layer": "maps"}, {"scale": 1 / 255}):
        digests.add(load(folder, f"keras-file:{file}", **said).digest)
    assert len(digests) == 4


@pytest.mark.parametrize("kind", RuntimeKind)
def test_a_pin_holds_and_a_changed_file_is_refused(
    folder: Path, file: Path, body: Any, tmp_path: Path, kind: RuntimeKind
) -> None:
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    path = tmp_path / "own.keras"
    path.write_bytes(file.read_bytes())
    declaration = Declaration(name="own", source=f"keras-file:{path}", digest=pin)
    assert catalog(folder, declaration, kind=kind).load("own")
    changed = load_keras().models.clone_model(body)
    changed.save(path)
    with pytest.raises(BackboneUnavailable, match=f"the declared digest, {pin}. Received: "):
        catalog(folder, declaration, kind=kind).load("own")


@pytest.fixture
def web(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the file's folder; yield the address and the requested paths."""
    requested: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            requested.append(self.path)

    with HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(file.parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once_pinned_and_used_without_the_network_then(
    folder: Path, file: Path, web: tuple[str, list[str]]
) -> None:
    address, requested = web
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    source = f"keras-file:{address}/own.keras"
    with pytest.raises(BackboneUnavailable, match=r"The digest of .* is missing\."):
        load(folder, source)
    with pytest.raises(BackboneUnavailable, match=f"Expected a file with digest {'0' * 64}"):
        load(folder, source, digest="0" * 64)
    with pytest.raises(BackboneUnavailable, match="404"):
        load(folder, f"keras-file:{address}/none.keras", digest=pin)
    requested.clear()
    digests = {load(folder, source, digest=pin).digest for _ in range(2)}
    assert requested == ["/own.keras"]
    assert digests == {load(folder, f"keras-file:{file}").digest}
    assert not list((folder / "cache" / "downloads").glob("*.part"))


def test_code_in_a_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    keras = load_keras()
    images = keras.Input((SIDE, SIDE, 3))
    held = keras.Model(images, keras.layers.Lambda(lambda pixels: pixels * 2)(images))
    held.save(tmp_path / "lambda.keras")
    with pytest.raises(BackboneUnavailable, match=r"loading runs no code.*with Lambda of keras"):
        load(tmp_path, f"keras-file:{tmp_path / 'lambda.keras'}")


def test_classes_that_are_not_keras_own_are_refused(file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.keras"
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(foreign, "w") as changed:
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["module"] = "os"
                config["config"]["layers"][1]["class_name"] = "system"
                content = json.dumps(config).encode()
            changed.writestr(name, content)
    with pytest.raises(SourceError, match="with system of os"):
        check_keras_file(foreign)


def test_a_file_that_keras_would_read_as_another_kind_than_the_one_that_is_checked_is_refused(
    file: Path, tmp_path: Path
) -> None:
    # HDF5 may begin with a network, and end with an archive.
    (tmp_path / "own.h5").write_bytes(file.read_bytes())
    with pytest.raises(BackboneUnavailable, match=r"ends in \.keras\. Received: own\.h5"):
        load(tmp_path, f"keras-file:{tmp_path / 'own.h5'}")


@pytest.mark.parametrize("fetched", [True, False])
def test_other_weights_than_those_pinned_are_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: bool
) -> None:
    class Changed(SOURCES["keras-file"].__class__):  # type: ignore[misc]
        def fetch(self, declaration: Declaration, cache: Path) -> str:
            return check_pin(declaration, "b" * 64) if fetched else "whatever"

        def open(self, declaration: Declaration, cache: Path) -> Network:
            assert not fetched
            return SimpleNamespace(weights="b" * 64)

    monkeypatch.setitem(SOURCES, "changed", Changed())
    # Nothing of the network is there but its weights' digest: to run it would fail otherwise.
    with pytest.raises(BackboneUnavailable, match=r"the declared digest, a+\. Received: b+\."):
        load(tmp_path, "changed:1", digest="a" * 64)


def test_a_vocabulary_may_have_few_words() -> None:
    keras = load_keras()
    ids = keras.Input((None,), dtype="int32")
    vectors = keras.layers.Embedding(6, 5)(ids)
    model = keras.Model(ids, {"last": keras.ops.mean(vectors, axis=1)})
    settings = RuntimeSettings(kind=RuntimeKind.KERAS, precision=Precision.FLOAT32, streams=1)
    runtime = KerasRuntime(model, settings)
    runtime.steady_sizes((16,))
    rows = np.full((1, 16), 5, np.int32)
    assert np.allclose(runtime.run(rows)["last"], np.asarray(model(rows)["last"]))


@pytest.mark.parametrize(
    ("source", "said", "message"),
    [
        ("keras-file:/nowhere/own.keras", {}, "/nowhere/own.keras is not a file"),
        ("keras:MobileNetV9", {}, "Expected a network of Keras Applications: .*Received: 'MobileNetV9'"),
        ("keras-file:{file}", {"layer": "mops"}, "Expected a layer of the network: .*maps.*Received: 'mops'"),
        ("keras-file:{file}", {"size": 64}, "a fixed or declared size.*declared size 64"),
        ("keras-file:{file}", {"pooling": "max"}, "features that pooling 'max' suits"),
        ("keras-file:{damaged}", {}, "Expected a .keras file. Received: damaged.keras"),
    ],
)
def test_a_wrong_declaration_is_reported(
    folder: Path, file: Path, source: str, said: dict[str, Any], message: str
) -> None:
    damaged = folder / "damaged.keras"
    damaged.write_bytes(file.read_bytes()[:300])
    with pytest.raises((BackboneUnavailable, SourceError), match=message):
        load(folder, source.format(file=file, damaged=damaged), **said)
    assert not list((folder / "cache").glob("*.part"))


def test_the_source_that_the_documentation_adds_works_as_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operate" / "backbones.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {
        **vars(keras_images),
        **vars(image_networks),
        **{each.__name__: each for each in (Path, Modality, Network, Declaration, file_digest, local_file)},
    }
    exec(code, names)
    monkeypatch.setitem(SOURCES, "arrays", names["Arrays"]())
    kernels = np.random.default_rng(0).normal(size=(3, 3, 3, 7)).astype(np.float32)
    np.savez(folder / "arrays.npz", a=kernels)
    backbone = load(folder, f"arrays:{folder / 'arrays.npz'}", scale=1 / 255)
    assert features(backbone).shape == (1, 7)
    assert len(code.splitlines()) <= 40
