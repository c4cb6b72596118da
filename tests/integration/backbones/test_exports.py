"""Exports of every kind of head, on a backbone of each modality, against what the server computes.

In this process, so that Keras and TensorFlow are started once; tests/integration/server has the whole way.
"""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import make_manifest
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.declaration import Declaration
from headstart_server.backbones.export import export_into
from headstart_server.backbones.export_request import ExportForm
from headstart_server.backbones.golden import golden_picture
from headstart_server.backbones.keras_tail import taken
from headstart_server.backbones.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.sentence_bert import MINILM
from headstart_server.backbones.tail import TailWeights
from headstart_server.backbones.vectors import IdentityRuntime
from headstart_server.embedding.tails import VersionTail
from headstart_server.export.parts import export_request
from headstart_server.learning.calibration import Calibration
from headstart_server.learning.head import Head, Hidden
from headstart_server.learning.rows import Scaling
from headstart_server.learning.task import Task
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Version

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
        hidden=Hidden(weights=some(size, hidden), bias=some(hidden)) if hidden else None,
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
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    settings = RuntimeSettings(
        kind=RuntimeKind.OPENVINO, precision=Precision.FLOAT32, cache=tmp_path_factory.mktemp("cache")
    )
    return Catalog(runtimes=settings)


def exported(
    folder: Path,
    head: Head,
    form: ExportForm,
    catalog: Catalog,
    declaration: Declaration,
    digest: str,
    tail: TailWeights | None = None,
) -> Path:
    """The folder of an export."""
    manifest = make_manifest(backbone=declaration.name, backbone_digest=digest, task=head.task)
    version = Version(
        model="pets", number=3, artifact="a", size_bytes=1, created=0.0, expires=None, manifest=manifest
    )
    loaded = ResidentVersion(
        model="pets",
        number=3,
        backbone=declaration.name,
        backbone_digest=digest,
        head=head,
        tail=None if tail is None else VersionTail(tail, "cut6", "pets"),
    )
    conversion = None
    if not declaration.name.startswith("features:") and form is ExportForm.OPENVINO:
        conversion = catalog.conversion(declaration.name).parent
    target = Path(mkdtemp(dir=folder))
    request = export_request(version, loaded, form)
    request.save(folder)
    export_into(target, declaration, folder, type(request).load(folder), conversion=conversion)
    return target


def answers(folder: Path, form: ExportForm, rows: NDArray[np.generic]) -> NDArray[np.float32]:
    """What the form's own runtime gives for rows."""
    match form:
        case ExportForm.KERAS:
            import keras

            (found,) = keras.models.load_model(folder / "model.keras", safe_mode=True)(rows).values()
            return np.asarray(found)
        case ExportForm.SAVED_MODEL:
            import tensorflow as tf

            signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
            (name,) = signature.structured_input_signature[1]
            (found,) = signature(**{name: tf.constant(rows)}).values()
            return found.numpy()
        case ExportForm.ONNX:
            import onnxruntime

            session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
            return session.run(None, {session.get_inputs()[0].name: rows})[0]
        case ExportForm.OPENVINO:
            import openvino

            network = openvino.Core().compile_model(
                folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
            return network(rows)[0]
        case ExportForm.LITERT:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(str(folder / "model.tflite"))
            (taken_in,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
            interpreter.resize_tensor_input(taken_in["index"], rows.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(taken_in["index"], rows)
            interpreter.invoke()
            return interpreter.get_tensor(given["index"]).copy()


@pytest.mark.parametrize("form", ExportForm)
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_alone_answers_the_same_in_every_form(
    tmp_path: Path, catalog: Catalog, kind: str, form: ExportForm
) -> None:
    rows = np.random.default_rng(0).normal(size=(5, SIZE)).astype(np.float32)
    rows[3] = 0  # has no length
    name = f"features:{SIZE}"
    digest = catalog.load(name).digest
    declaration = Declaration(name=name, source=name)
    folder = exported(tmp_path, KINDS[kind], form, catalog, declaration, digest)
    wanted = KINDS[kind].outputs(IdentityRuntime().run(rows))
    np.testing.assert_allclose(answers(folder, form, rows), wanted, atol=TOLERANCE, rtol=1e-5)


@pytest.mark.parametrize("form", [ExportForm.KERAS, ExportForm.OPENVINO])
def test_both_views_and_a_tail_of_its_own(tmp_path: Path, catalog: Catalog, form: ExportForm) -> None:
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
    base = backbone.decode(golden_picture())
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
    form = ExportForm.OPENVINO
    backbone = catalog.load(MINILM.name)
    texts = ["A cat sat on the mat.", "Never again."]
    rows = np.stack([backbone.decode(text) for text in texts])
    wanted = head(size=backbone.info.views["last"])
    folder = exported(tmp_path, wanted, form, catalog, MINILM, backbone.digest)
    found = answers(folder, form, rows)
    np.testing.assert_allclose(found, wanted.outputs(backbone.run(rows)), atol=TOLERANCE, rtol=0)
    assert (folder / "tokenizer.json").stat().st_size > 1000


def test_gelu_is_written_in_operations_that_onnx_has(tmp_path: Path) -> None:
    import keras
    import onnxruntime

    from headstart_server.backbones.onnx_export import write_onnx

    taken_in = keras.Input((4,), name="features")
    model = keras.Model(taken_in, {"values": keras.ops.gelu(taken_in, approximate=False)})
    rows = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)
    wanted = np.asarray(model(rows)["values"])
    write_onnx(model, {"model": "pets"}, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(session.run(None, {"features": rows})[0], wanted, atol=1e-6)


def test_what_onnx_cannot_say_is_refused(tmp_path: Path) -> None:
    """As the masks of MiniLM: tf2onnx leaves constants out, with no more than a line in the log."""
    import keras

    from headstart_server.backbones.onnx_export import write_onnx

    ids = keras.Input((None,), dtype="int32", name="ids")
    masked = keras.ops.where(keras.ops.not_equal(ids, 0), keras.ops.cast(0.0, "float32"), -1e9)
    model = keras.Model(ids, {"values": keras.ops.sum(masked, axis=-1)})
    model(np.ones((1, 16), np.int32))
    with pytest.raises(ValueError, match="Expected operations that ONNX has"):
        write_onnx(model, {}, tmp_path / "model.onnx")
