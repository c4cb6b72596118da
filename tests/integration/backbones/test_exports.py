"""Exports of every kind of head, on a backbone of each modality, against what the server computes.

In this process, so that Keras and TensorFlow are started once; tests/integration/server has the whole way.
"""

import re
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import make_manifest
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.backbones.contract.vectors import IdentityRuntime
from headstart_server.backbones.networks.card import digest_of
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Texts
from headstart_server.backbones.preprocessing.images import MAX_PIXELS
from headstart_server.backbones.runtimes.keras_tail import taken
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.sentence_bert import MINILM
from headstart_server.backbones.worker.export_command import export_into
from headstart_server.backbones.worker.export_request import ExportFormat, ExportRequest
from headstart_server.embedding.tails import VersionTail
from headstart_server.export.exporter import export_request
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head, HiddenLayer
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Version
from prepared import prepared_settings

# TensorFlow and tf2onnx warn of their own parts; nothing here depends on them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.timeout(300),
]

SIZE = 12
CLASSES = ("cat", "dog", "emü")
TOLERANCE = 1e-4


def head(
    *,
    size: int = SIZE,
    views: tuple[str, ...] = ("last",),
    scaling: Scaling = Scaling.UNIT,
    task: Task = Task.SINGLE_LABEL,
    hidden: int = 0,
) -> Head:
    """A head of random weights, calibrated as its task is."""
    rng = np.random.default_rng(size + hidden)
    names = () if task is Task.REGRESSION else CLASSES
    columns, rows = max(1, len(names)), hidden or size

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    calibration = Calibration(task=task)
    if task is Task.SINGLE_LABEL:
        calibration = Calibration(temperature=0.7)
    if task is Task.MULTI_LABEL:
        calibration = Calibration(
            task=task,
            slopes=1 + some(columns) ** 2,
            offsets=some(columns),
            thresholds=np.full(columns, 0.4, np.float32),
        )
    if task is Task.REGRESSION:
        calibration = Calibration(task=task, interval=(-1.0, 2.0))
    return Head(
        views=views,
        scaling=scaling,
        weights=some(rows, columns),
        bias=some(columns),
        calibration=calibration,
        class_names=names,
        hidden=HiddenLayer(weights=some(size, hidden), bias=some(hidden)) if hidden else None,
    )


#: The heads of ridge and logistic, on prepared features of each kind; of mlp; and of the three tasks.
KINDS = {
    "ridge": head(),
    "roots, several labels": head(scaling=Scaling.ROOT, task=Task.MULTI_LABEL),
    "standardised, a number": head(scaling=Scaling.STANDARD, task=Task.REGRESSION),
    "mlp": head(scaling=Scaling.STANDARD, hidden=7),
    "mlp, several labels": head(hidden=5, task=Task.MULTI_LABEL),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog(runtimes=prepared_settings())


def exported(
    folder: Path,
    head: Head,
    form: ExportFormat,
    catalog: Catalog,
    declaration: Declaration,
    digest: str,
    tail: TailWeights | None = None,
) -> Path:
    """The folder of an export."""
    request = request_of(head, form, declaration.name, digest, tail)
    conversion = None
    if not declaration.name.startswith("features:") and form is ExportFormat.OPENVINO:
        conversion = catalog.conversion(declaration.name).parent
    target = Path(mkdtemp(dir=folder))
    request.save(folder)
    export_into(target, declaration, folder, type(request).load(folder), conversion=conversion)
    return target


def request_of(
    head: Head, form: ExportFormat, backbone: str, digest: str, tail: TailWeights | None = None
) -> ExportRequest:
    """Return an export request for a version with a head and a tail."""
    manifest = make_manifest(backbone=backbone, backbone_digest=digest, task=head.task)
    version = Version(
        model="pets", number=3, artifact="a", size_bytes=1, created=0.0, expires=None, manifest=manifest
    )
    loaded = ResidentVersion(
        model="pets",
        number=3,
        artifact="a",
        backbone=backbone,
        backbone_digest=digest,
        head=head,
        tail=None if tail is None else VersionTail(tail, "cut6", "pets"),
    )
    return export_request(version, loaded, form)


def answers(folder: Path, form: ExportFormat, rows: NDArray[np.generic]) -> NDArray[np.float32]:
    """What the form's own runtime gives for rows."""
    match form:
        case ExportFormat.KERAS:
            import keras

            (found,) = keras.models.load_model(folder / "model.keras", safe_mode=True)(rows).values()
            return np.asarray(found)
        case ExportFormat.SAVED_MODEL:
            import tensorflow as tf

            signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
            (name,) = signature.structured_input_signature[1]
            (found,) = signature(**{name: tf.constant(rows)}).values()
            return found.numpy()
        case ExportFormat.ONNX:
            import onnxruntime

            session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
            return session.run(None, {session.get_inputs()[0].name: rows})[0]
        case ExportFormat.OPENVINO:
            import openvino

            network = openvino.Core().compile_model(
                folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
            return network(rows)[0]
        case ExportFormat.LITERT:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(str(folder / "model.tflite"))
            (taken_in,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
            interpreter.resize_tensor_input(taken_in["index"], rows.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(taken_in["index"], rows)
            interpreter.invoke()
            return interpreter.get_tensor(given["index"]).copy()


@pytest.mark.parametrize("form", ExportFormat)
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_alone_answers_the_same_in_every_form(
    tmp_path: Path, catalog: Catalog, kind: str, form: ExportFormat
) -> None:
    rows = np.random.default_rng(0).normal(size=(5, SIZE)).astype(np.float32)
    rows[3] = 0  # has no length
    if KINDS[kind].scaling is not Scaling.STANDARD:
        # Their squares overflow, or vanish.
        rows[1] *= 1e25
        rows[2] *= 1e-30
    name = f"features:{SIZE}"
    digest = catalog.load(name).digest
    declaration = Declaration(name=name, source=name)
    folder = exported(tmp_path, KINDS[kind], form, catalog, declaration, digest)
    wanted = KINDS[kind].outputs(IdentityRuntime().run(rows))
    np.testing.assert_allclose(answers(folder, form, rows), wanted, atol=TOLERANCE, rtol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        ExportFormat.ONNX,
        ExportFormat.OPENVINO,
        pytest.param(ExportFormat.KERAS, marks=pytest.mark.thorough),
        pytest.param(ExportFormat.SAVED_MODEL, marks=pytest.mark.thorough),
        pytest.param(ExportFormat.LITERT, marks=pytest.mark.thorough),
    ],
)
def test_both_views_and_a_separate_tail(tmp_path: Path, catalog: Catalog, form: ExportFormat) -> None:
    (declaration, *_) = BUILT_IN
    backbone = catalog.load(declaration.name)
    plan = backbone.info.tails[1]
    own = taken(catalog.network(declaration.name), plan)
    rng = np.random.default_rng(0)
    moved = {
        name: tensor * rng.normal(1, 0.5, tensor.shape).astype(np.float32)
        for name, tensor in own.tensors.items()
    }
    tail = TailWeights(blocks=1, tensors=moved)
    base = backbone.decode(golden_image())
    rows = np.stack([np.roll(base, 9 * place, axis=0) for place in range(3)])
    views = backbone.run(rows, [plan.cut.name])
    features = {**views, "last": backbone.tail(tail).run(views[plan.cut.name])}
    both = head(size=sum(backbone.info.views.values()), views=("last", "taps"))
    folder = exported(tmp_path, both, form, catalog, declaration, backbone.digest, tail)
    found = answers(folder, form, rows)
    np.testing.assert_allclose(found, both.outputs(features), atol=TOLERANCE, rtol=0)
    # The tail is what answers: the backbone's own features give others.
    assert np.abs(found - both.outputs(views)).max() > 10 * TOLERANCE


def test_a_network_of_texts_takes_ids_and_brings_its_tokenizer(tmp_path: Path, catalog: Catalog) -> None:
    form = ExportFormat.OPENVINO
    backbone = catalog.load(MINILM.name)
    texts = ["A cat sat on the mat.", "Never again."]
    rows = np.stack([backbone.decode(text) for text in texts])
    wanted = head(size=backbone.info.views["last"])
    folder = exported(tmp_path, wanted, form, catalog, MINILM, backbone.digest)
    features = wanted.outputs(backbone.run(rows))
    np.testing.assert_allclose(answers(folder, form, rows), features, atol=TOLERANCE, rtol=0)
    # The code that docs/guides/export.md shows makes shorter rows of the same texts.
    documentation = (Path(__file__).parents[3] / "docs" / "guides" / "export.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", documentation, re.MULTILINE | re.DOTALL)[1]
    names: dict[str, Any] = {}
    exec(code, names)
    ids = names["rows"](texts, folder)
    assert ids.shape[1] < rows.shape[1]
    np.testing.assert_allclose(answers(folder, form, ids), features, atol=TOLERANCE, rtol=0)


def test_gelu_is_written_in_operations_that_onnx_has(tmp_path: Path) -> None:
    import keras
    import onnxruntime

    from headstart_server.backbones.worker.onnx_export import write_onnx

    taken_in = keras.Input((4,), name="features")
    model = keras.Model(taken_in, {"values": keras.ops.gelu(taken_in, approximate=False)})
    rows = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)
    wanted = np.asarray(model(rows)["values"])
    write_onnx(model, {"model": "pets"}, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(session.run(None, {"features": rows})[0], wanted, atol=1e-6)


def test_a_constant_that_hangs_on_no_input_is_written_as_one(tmp_path: Path) -> None:
    """As both values of a mask: tf2onnx alone makes an input of each."""
    import keras
    import onnxruntime

    from headstart_server.backbones.worker.onnx_export import write_onnx

    ids = keras.Input((None,), dtype="int32", name="ids")
    masked = keras.ops.where(keras.ops.not_equal(ids, 0), keras.ops.cast(2.5, "float32"), -1e9)
    model = keras.Model(ids, {"values": keras.ops.max(masked, axis=-1)})
    model(np.ones((1, 16), np.int32))
    write_onnx(model, {}, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert [one.name for one in session.get_inputs()] == ["ids"]
    found = session.run(None, {"ids": np.array([[0, 0, 0], [0, 7, 0]], np.int32)})[0]
    np.testing.assert_array_equal(found, np.array([-1e9, 2.5], np.float32))


def test_what_onnx_cannot_say_is_refused(tmp_path: Path) -> None:
    import keras

    from headstart_server.backbones.worker.onnx_export import write_onnx

    taken_in = keras.Input((4,), name="features")
    model = keras.Model(taken_in, {"values": keras.ops.erfinv(taken_in)})
    model(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="Expected operations that ONNX has"):
        write_onnx(model, {}, tmp_path / "model.onnx")


@pytest.fixture(scope="module")
def small_bert() -> Network:
    """MiniLM's network in small, of random weights."""
    from headstart_server.backbones.sources.bert import BertShape, build

    shape = BertShape(vocabulary=50, positions=40, width=16, inner=24, heads=2, layers=2, taps=(1, 2))
    rng = np.random.default_rng(1)

    class State(dict[str, NDArray[np.float32]]):
        """Any weight, of the shape that its name implies."""

        def get(self, name: str, default: object = None) -> NDArray[np.float32]:  # type: ignore[override]
            inner, wide = shape.inner, shape.width
            rows = {"word": shape.vocabulary, "position": shape.positions, "token_type": 2}
            if "_embeddings" in name:
                sizes = (rows[name.split(".")[1].removesuffix("_embeddings")], wide)
            else:
                out = inner if "intermediate" in name else wide
                into = inner if ".output.dense" in name and "attention" not in name else wide
                sizes = (out,) if name.endswith("bias") or "LayerNorm" in name else (out, into)
            return rng.normal(0, 0.5, sizes).astype(np.float32)

    info = BackboneInfo(
        name="small",
        modality=Modality.TEXT,
        views=shape.view_sizes(),
        input_size=(40,),
        parameter_count=1,
        source="test",
        license="",
        description="",
    )
    decoding = Texts(tokenizer="{}", max_tokens=40, pad_id=0)
    return Network(info=info, model=build(shape, State()), decoding=decoding, weights="w", identity={})


@pytest.mark.parametrize(
    "form",
    [
        ExportFormat.KERAS,
        ExportFormat.ONNX,
        pytest.param(ExportFormat.LITERT, marks=pytest.mark.thorough),
    ],
)
def test_a_network_of_texts_answers_the_same_however_far_rows_are_filled_up(
    tmp_path: Path, small_bert: Network, form: ExportFormat
) -> None:
    """MiniLM itself takes a quarter of a minute as ONNX; its operations are these."""
    from headstart_server.backbones.worker.keras_export import keras_version, write_keras

    request = request_of(head(size=48, views=("last", "taps")), form, "small", "d")
    write_keras(keras_version(small_bert, request, "ids"), form, {}, tmp_path)
    short = np.array([[5, 9, 31, 0], [7, 8, 0, 0]], np.int32)
    longer = np.pad(short, ((0, 0), (0, 20)))
    views = {name: np.asarray(view) for name, view in small_bert.model(short).items()}
    wanted = head(size=48, views=("last", "taps")).outputs(views)
    assert np.abs(wanted[0] - wanted[1]).max() > 10 * TOLERANCE
    for rows in (short, longer):
        np.testing.assert_allclose(answers(tmp_path, form, rows), wanted, atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks of KerasHub, of random weights: ``resnet`` and ``vit``."""
    import keras_hub

    from hub_samples.presets import shake, small_images

    folder = tmp_path_factory.mktemp("hub")
    for name, (backbone, converter) in small_images(keras_hub).items():
        shake(backbone)
        backbone.save_to_preset(str(folder / name))
        converter.save_to_preset(str(folder / name))
    return folder


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("resnet", ExportFormat.KERAS),
        pytest.param("vit", ExportFormat.SAVED_MODEL, marks=pytest.mark.thorough),
        ("vit", ExportFormat.ONNX),
    ],
)
def test_a_network_of_keras_hub_answers_as_it_does_there(
    tmp_path: Path, catalog: Catalog, hub_folder: Path, name: str, form: ExportFormat
) -> None:
    declaration = Declaration(name=name, source=f"kerashub:{hub_folder / name}")
    network = source_of(declaration).open(declaration, tmp_path)
    base = network.decoding.decoder(max_pixels=MAX_PIXELS).decode(golden_image())
    rows = np.stack([base, base[::-1]])
    wanted = head(size=network.info.views["last"])
    folder = exported(tmp_path, wanted, form, catalog, declaration, digest_of(network))
    views = {"last": np.asarray(network.model(rows)["last"])}
    np.testing.assert_allclose(answers(folder, form, rows), wanted.outputs(views), atol=TOLERANCE, rtol=0)


def test_what_keras_would_not_load_again_is_refused(
    tmp_path: Path, catalog: Catalog, hub_folder: Path
) -> None:
    """ViT's first layer, in KerasHub, writes down settings that it does not take."""
    declaration = Declaration(name="vit", source=f"kerashub:{hub_folder / 'vit'}")
    network = source_of(declaration).open(declaration, tmp_path)
    wanted = head(size=network.info.views["last"])
    with pytest.raises(ValueError, match="Expected layers that Keras loads again"):
        exported(tmp_path, wanted, ExportFormat.KERAS, catalog, declaration, digest_of(network))
