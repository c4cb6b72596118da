"""Networks of other frameworks, from their files to the answer of a version.

Each is made by its own framework, which also says what its features are. One module, so that all of it shares
the process that makes them and what is prepared of them.
"""

import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foreign_networks
from foreign_networks import LARGE, MEAN, SIZE, STD, sample_images
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import Declaration, read_declarations
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.sources.pytorch.layers import TorchLayers
from headstart_server.backbones.sources.pytorch.resnet import RESNETS, ResNet
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.source import SourceError
from headstart_server.errors import BackboneUnavailable
from integration.server.calls import Api, noise
from server_process import running

# TensorFlow and PyTorch warn of their own parts at import; nothing here depends on them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.timeout(300),
]

#: One backbone of each scheme, as an operator declares it.
DECLARED = """
[backbones.onnx]
source = "onnx:./small.onnx"

[backbones.savedmodel]
source = "savedmodel:./hub"
layer = "feature_vector"

[backbones.torch]
source = "torch:./varying.pt2"

[backbones.torch-weights]
source = "torch-weights:./mobilenet_v2.safetensors"
architecture = "mobilenet_v2"
size = 64
"""
#: What their features are called, and how many weights they rest on.
SCHEMES = {
    "onnx": ("small", 1100),
    "savedmodel": ("hub", 216),
    "torch": ("small", 1100),
    "torch-weights": ("mobilenet_v2", 2206816),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def features(folder: Path) -> Mapping[str, np.ndarray]:
    return foreign_networks.make(folder)


@pytest.fixture(scope="module")
def declared(folder: Path, features: Mapping[str, np.ndarray]) -> Path:
    file = folder / "backbones.toml"
    file.write_text(DECLARED)
    return file


@pytest.fixture(scope="module")
def settings(folder: Path) -> RuntimeSettings:
    return RuntimeSettings(
        kind=RuntimeKind.OPENVINO, precision=Precision.FLOAT32, streams=1, cache=folder / "cache"
    )


@pytest.fixture(scope="module")
def api(folder: Path, declared: Path) -> Iterator[Api]:
    flags = [
        "--backbones-file",
        str(declared),
        "--backbone-cache",
        str(folder / "cache"),
        "--default-backbone",
        "onnx",
    ]
    with running(folder / "data", *flags, "--precision", "float32") as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            yield api


@pytest.mark.parametrize("name", SCHEMES)
def test_a_declared_network_gives_the_features_its_own_framework_gives(
    declared: Path, settings: RuntimeSettings, features: Mapping[str, np.ndarray], name: str
) -> None:
    backbone = Catalog(read_declarations(declared), runtimes=settings).load(name)
    (size, _) = backbone.info.input_size
    wanted, count = SCHEMES[name]
    assert relative_error(backbone.run(sample_images(size))["last"], features[wanted]) < 1e-4
    assert backbone.info.parameter_count == count


def test_a_network_that_keras_cannot_run_runs_in_openvino_whatever_the_settings(
    declared: Path, settings: RuntimeSettings
) -> None:
    chosen = RuntimeSettings(kind=RuntimeKind.KERAS, precision=Precision.FLOAT32, cache=settings.cache)
    assert Catalog(read_declarations(declared), runtimes=chosen).load("onnx").runtime == "openvino float32"


@pytest.mark.parametrize("name", SCHEMES)
def test_a_version_is_fine_tuned_on_a_declared_network_and_answers(api: Api, name: str) -> None:
    job = api.published(noise(24, 1), model=f"colors-{name}", backbone=name)
    assert api.version(f"colors-{name}", job.version).lineage.backbone == name
    images = [example.input.image for example in noise(6, 2)]
    assert api.names(f"colors-{name}", *images) == [f"color {place % 3}" for place in range(6)]


#: What is declared of networks whose features are taken elsewhere, or whose input is laid out otherwise.
VARIANTS = [
    ("small classes", "onnx:small.onnx", {"layer": "classes"}),
    (
        "small maps, bgr",
        "onnx:small.onnx",
        {"layer": "/Relu_1_output_0", "channels": "bgr", "scale": 0.5, "mean": (3.0,), "pooling": "max"},
    ),
    ("last", "onnx:external/last.onnx", {"size": SIZE}),
    # Inside, channels are first.
    ("last", "onnx:external/last.onnx", {"size": SIZE, "layer": "maps"}),
    ("small", "torch:small.pt2", {}),
    ("hub logits", "savedmodel:hub", {"layer": "serving_default:logits"}),
    ("hub maps", "savedmodel:hub", {"layer": "spatial", "pooling": "none"}),
]


@pytest.mark.parametrize(("name", "location", "said"), VARIANTS)
def test_features_are_those_of_the_declared_layer_after_the_declared_preprocessing(
    folder: Path, features: Mapping[str, np.ndarray], name: str, location: str, said: dict[str, Any]
) -> None:
    model = opened(folder, location, **said)
    received = load_openvino().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        sample_images(SIZE)
    )
    assert relative_error(received["last"], features[name]) < 1e-4


@pytest.mark.parametrize(
    ("file", "layer", "name"),
    [
        ("resnet18.pth", None, "resnet18"),
        ("resnet18.pth", "layer3.1", "resnet18 layer3"),
        ("mobilenet_v2.safetensors", "features.13", "mobilenet_v2 13"),
        ("mobilenet_v2.safetensors", "features.14", "mobilenet_v2 14"),
    ],
)
def test_weights_of_torchvision_give_its_features_and_layers_have_its_names(
    folder: Path, features: Mapping[str, np.ndarray], file: str, layer: str | None, name: str
) -> None:
    said = {"layer": layer} if layer else {}
    architecture = file.partition(".")[0]
    model = opened(folder, f"torch-weights:{file}", architecture=architecture, size=LARGE, **said)
    outputs = model(sample_images(LARGE), training=False)
    assert relative_error(np.asarray(outputs["last"]), features[name]) < 1e-4


def test_a_wide_resnet_of_bottlenecks_gives_the_features_of_torchvision(
    folder: Path, features: Mapping[str, np.ndarray]
) -> None:
    with np.load(folder / "wide.npz") as state:
        layers = TorchLayers(dict(state))
    wide = ResNet((1, 1, 1, 1), bottleneck=True, width=2)
    model = wide.build(layers, LARGE)
    layers.check(wide.classifier)
    pixels = (sample_images(LARGE) / 255 - np.array(MEAN)) / np.array(STD)
    maps = np.asarray(model(pixels.astype(np.float32), training=False))
    assert relative_error(maps.mean(axis=(1, 2)), features["wide"]) < 1e-4


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_has_the_blocks_of_torchvision_s(name: str) -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        state = getattr(models, name)().state_dict()
    ours = RESNETS[name]
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{n}.")}) for n in range(1, 5)
    )
    inner = state["layer1.0.conv2.weight"].shape[0]
    assert (ours.repeats, ours.bottleneck, 64 * ours.width) == (
        blocks,
        "layer1.0.conv3.weight" in state,
        inner,
    )


def test_other_weights_than_those_that_are_pinned_are_refused(
    folder: Path, features: Mapping[str, np.ndarray], settings: RuntimeSettings, tmp_path: Path
) -> None:
    for file in ("last.onnx", "last.weights"):
        shutil.copy(folder / "external" / file, tmp_path)
    declaration = Declaration(name="pinned", source=f"onnx:{tmp_path / 'last.onnx'}", size=SIZE)
    digest = source_of(declaration).fetch(declaration, settings.cache)
    pinned = Declaration(name="pinned", source=declaration.source, size=SIZE, digest=digest)
    catalog = Catalog([pinned], runtimes=settings)
    assert catalog.prepare("pinned").views == {"last": 8}
    # A tensor next to the file counts as the file does.
    weights = bytearray((tmp_path / "last.weights").read_bytes())
    weights[3] ^= 1
    (tmp_path / "last.weights").write_bytes(weights)
    with pytest.raises(BackboneUnavailable, match=f"the declared digest, {digest}"):
        catalog.prepare("pinned")


def shortened(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scrambled(file: Path) -> None:
    file.write_bytes(np.random.default_rng(4).bytes(3000))


@pytest.mark.parametrize(
    ("location", "file", "harm", "said", "message"),
    [
        ("onnx:small.onnx", "small.onnx", shortened, {}, "small.onnx: Expected a protobuf message"),
        ("onnx:small.onnx", "small.onnx", scrambled, {}, "Expected an ONNX file. Received: small.onnx"),
        (
            "onnx:last.onnx",
            "last.weights",
            Path.unlink,
            {"size": 32},
            "The file 'last.weights' with tensors of last.onnx is missing",
        ),
        ("onnx:last.onnx", "last.weights", shortened, {"size": 32}, "last.onnx cannot be read by OpenVINO"),
        ("savedmodel:hub", "hub/saved_model.pb", shortened, {}, "Expected a SavedModel in hub"),
        ("savedmodel:hub", "hub/saved_model.pb", Path.unlink, {}, "Expected a folder with saved_model.pb"),
        (
            "savedmodel:hub",
            "hub/variables/variables.data-00000-of-00001",
            Path.unlink,
            {"layer": "feature_vector"},
            "hub cannot be read by OpenVINO",
        ),
        ("torch:small.pt2", "small.pt2", shortened, {}, "Expected a file of torch.export.save"),
        ("torch:small.pt2", "small.pt2", scrambled, {}, "Expected a file of torch.export.save"),
        (
            "torch-weights:small.pth",
            "small.pth",
            shortened,
            {"architecture": "resnet18"},
            "Expected a PyTorch",
        ),
        (
            "torch-weights:mobilenet_v2.safetensors",
            "mobilenet_v2.safetensors",
            shortened,
            {"architecture": "mobilenet_v2"},
            "Expected a file of safetensors",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_words(
    folder: Path,
    features: Mapping[str, np.ndarray],
    tmp_path: Path,
    location: str,
    file: str,
    harm: Callable[[Path], None],
    said: dict[str, Any],
    message: str,
) -> None:
    external = folder / "external"
    for part in [
        folder / "hub",
        *(one for one in folder.iterdir() if one.name.partition(".")[0] in location),
    ]:
        copy = shutil.copytree if part.is_dir() else shutil.copy
        if not (tmp_path / part.name).exists():
            copy(part, tmp_path / part.name)
    for part in external.iterdir():
        shutil.copy(part, tmp_path)
    harm(tmp_path / file)
    with pytest.raises(SourceError, match=message):
        opened(tmp_path, location, **said)


@pytest.mark.parametrize(
    ("location", "said", "message"),
    [
        ("onnx:nothing.onnx", {}, "nothing.onnx is not a file"),
        (
            "onnx:riddle.onnx",
            {},
            "riddle.onnx cannot be read .*: it does not support the operations riddles.example.Riddle",
        ),
        ("onnx:small.onnx", {"layer": "head"}, "Expected an output, classes, or a layer: .*Received: 'head'"),
        ("onnx:small.onnx", {"size": 64}, r"Received: input shape \[1,3,32,32\], declared size 64"),
        ("onnx:external/last.onnx", {}, r"square images of a fixed or declared size.*\[\?,\?,\?,3\]"),
        (
            "onnx:small.onnx",
            {"layer": "/Relu_output_0", "pooling": "first"},
            "Expected features that pooling 'first'",
        ),
        (
            "savedmodel:python",
            {},
            "python cannot be read by OpenVINO: it does not support the operations PyFunc",
        ),
        (
            "savedmodel:hub",
            {},
            "Expected a network of one output, or the setting layer. Received: feature_vector",
        ),
        ("torch:small.pth", {}, "Expected an exported program, .pt2. Received: small.pth"),
        (
            "torch-weights:small.pth",
            {"architecture": "alexnet"},
            "one of resnet18, .*mobilenet_v2. Received: 'alexnet'",
        ),
        ("torch-weights:small.pth", {}, "The setting architecture is missing"),
        (
            "torch-weights:small.pth",
            {"architecture": "resnet18"},
            "small.pth is not of resnet18: .*conv1.weight is missing; .*more",
        ),
    ],
)
def test_an_unusable_part_of_a_network_is_reported(
    folder: Path, features: Mapping[str, np.ndarray], location: str, said: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        opened(folder, location, **said)


def test_tensors_that_are_not_those_of_an_architecture_are_named() -> None:
    state = {"fc.weight": np.ones(2), "gate.weight": np.ones(3), "conv.weight": np.ones((4, 3, 1, 1))}
    layers = TorchLayers({**state, "bn.bias": np.ones(4), "bn.num_batches_tracked": np.ones(())})
    layers.convolution(load_keras().Input((8, 8, 3)), "conv", "bn", filters=4, kernel=3)
    with pytest.raises(SourceError) as refusal:
        layers.check(["fc.weight"])
    assert str(refusal.value) == (
        "Expected the tensors of the architecture. Received: conv.weight has shape [4, 3, 1, 1], not "
        "[4, 3, 3, 3]; bn.weight is missing; bn.running_mean is missing; bn.running_var is missing; "
        "gate.weight is not one of them."
    )


def test_a_program_needs_pytorch_where_it_is_prepared(
    folder: Path, features: Mapping[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SourceError, match=r"pip install 'headstart\[torch\]'"):
        opened(folder, "torch:small.pt2")


def test_pickled_inputs_of_a_program_are_not_even_read(
    folder: Path, features: Mapping[str, np.ndarray], tmp_path: Path
) -> None:
    """`torch.export.load` would unpickle them, whatever they are."""
    hostile = b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "ran").encode()
    rewritten(folder / "small.pt2", tmp_path / "small.pt2", "/data/sample_inputs/model.pt", lambda _: hostile)
    opened(tmp_path, "torch:small.pt2")
    assert not (tmp_path / "ran").exists()


def opened(folder: Path, location: str, **said: Any) -> Any:
    """The model of a source, opened in this process."""
    scheme, _, place = location.partition(":")
    declaration = Declaration(name="own", source=f"{scheme}:{folder / place}", **said)
    source = source_of(declaration)
    source.fetch(declaration, folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        # A server opens PyTorch's programs in a process without TensorFlow. With it, as imported into this
        # process by other tests, OpenVINO cannot convert them on Python 3.13.
        if scheme == "torch":
            patch.delitem(sys.modules, "tensorflow", raising=False)
        return source.open(declaration, folder / "cache").model


def rewritten(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """A copy of an archive with one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(member) else content)


def relative_error(received: np.ndarray, wanted: np.ndarray) -> float:
    assert received.shape == wanted.shape
    return float(np.abs(received - wanted).max() / np.abs(wanted).max())
