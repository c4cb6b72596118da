"""Versions exported over gRPC, run by each form's own runtime, and compared with what Predict answers.

One server in float32 and one fine-tune; each export is a separate process, which takes some seconds. So
what differs between the forms is also who asks: `Client`, `AsyncClient` and the command.
"""

import asyncio
import json
import re
import subprocess
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from forked_keras import worker_of
from headstart import AsyncClient, Client, NotFound
from headstart.cli.app import app
from headstart.results import Export, ExportFormat
from headstart.v1 import model_service_pb2 as pb
from headstart.v1 import version_selector_pb2
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.preprocessing import images
from headstart_server.backbones.preprocessing.images import ImageDecoder
from integration.server.calls import TIMEOUT, Api, digit, digits, refused
from server_process import ServerProcess, eventually, running

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

MODEL = "digits"
#: Of each class one that was not trained on.
IMAGES = [digit(label, place) for label in (0, 1, 7) for place in (40, 41)]
Run = Callable[[Path, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("export") / "data"
    # A processor that multiplies bfloat16 would else serve in it.
    with running(data, "--precision", "float32", "--http-port", "0") as server:
        server.event("serving")
        with Api.connect(server.target) as api:
            api.published(digits((0, 1, 7), 8), model=MODEL, alias="stable")
        yield server


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.target) as client:
        yield client


Row = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def row() -> Row:
    """The code that docs/guides/export.md shows, as it stands there."""
    text = (Path(__file__).parents[3] / "docs" / "guides" / "export.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    names: dict[str, Row] = {}
    exec(code, names)
    return names["row"]


@pytest.fixture(scope="module")
def rows(row: Row, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The images, uint8 [6, 224, 224, 3], decoded from files by the documentation's code."""
    folder = tmp_path_factory.mktemp("images")
    for place, image in enumerate(IMAGES):
        (folder / f"{place}.png").write_bytes(image)
    return np.stack([row(folder / f"{place}.png") for place in range(len(IMAGES))])


@pytest.mark.parametrize("size", [(400, 300), (224, 600), (90, 120), (260, 257)])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
@pytest.mark.parametrize("turned", [1, 6])
def test_the_documented_decoding_is_the_servers(
    row: Row,
    tmp_path: Path,
    size: tuple[int, int],
    mode: str,
    turned: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = Image.fromarray(golden_image()).resize(size).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = turned
    path = tmp_path / "image.png"
    image.save(path, exif=exif)
    for side, crop in ((224, 0.875), (96, 1.0)):
        wanted = ImageDecoder(side, crop=crop).decode(path.read_bytes())
        differences = np.abs(row(path, side, crop).astype(int) - wanted)
        # The server scales with vector instructions, the documented code with Pillow.
        assert differences.max() <= 10
        assert differences.mean() < 0.5
    monkeypatch.setattr(images, "IS_FAST", False)
    for side, crop in ((224, 0.875), (96, 1.0)):
        wanted = ImageDecoder(side, crop=crop).decode(path.read_bytes())
        np.testing.assert_array_equal(row(path, side, crop), wanted)


@pytest.fixture(scope="module")
def predicted(client: Client) -> np.ndarray:
    """What Predict answers, [6, 3], in the order of the names."""
    answers = client.predict(IMAGES, model=MODEL, top_k=None)
    return np.array(
        [
            [{one.name: one.probability for one in answer.classes}[name] for name in "017"]
            for answer in answers
        ],
        np.float32,
    )


def keras(path: Path, rows: np.ndarray) -> np.ndarray:
    import keras

    return np.asarray(keras.models.load_model(path, safe_mode=True)(rows)["probabilities"])


def savedmodel(path: Path, rows: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    answer = tf.saved_model.load(str(path)).signatures["serving_default"]
    return answer(images=tf.constant(rows))["probabilities"].numpy()


def onnx(path: Path, rows: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return session.run(["probabilities"], {"images": rows})[0]


def openvino(path: Path, rows: np.ndarray) -> np.ndarray:
    import openvino

    network = openvino.Core().compile_model(path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network({"images": rows})["probabilities"]


def litert(path: Path, rows: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(taken["index"], rows.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], rows)
    interpreter.invoke()
    return interpreter.get_tensor(given["index"]).copy()


def entries(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("headstart.json"))


def external(path: Path) -> dict[str, object]:
    return json.loads((path / "headstart.json").read_text())


def properties(path: Path) -> dict[str, object]:
    import onnxruntime

    found = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    return {**found, "class_names": json.loads(found["class_names"])}


RUNTIMES: Mapping[ExportFormat, tuple[Run, Callable[[Path], dict[str, object]]]] = {
    "openvino": (openvino, external),
    "keras": (keras, entries),
    "savedmodel": (savedmodel, external),
    "onnx": (onnx, properties),
    "litert": (litert, entries),
}


def by_client(target: str, form: ExportFormat, path: Path) -> tuple[str, int | None, str, Path]:
    with Client(target) as client:
        found = client.export(MODEL, format=form, path=path)
    return found.model, found.version, found.format, found.path


def by_async_client(target: str, form: ExportFormat, path: Path) -> tuple[str, int | None, str, Path]:
    async def export() -> Export:
        async with AsyncClient(target) as client:
            return await client.export(MODEL, alias="stable", format=form, path=path)

    found = asyncio.run(export())
    assert all(file.is_file() for file in found.files)
    return found.model, found.version, found.format, found.path


def by_command(target: str, form: ExportFormat, path: Path) -> tuple[str, int | None, str, Path]:
    arguments = ["--json", "version", "export", f"{MODEL}@1", "--format", form, "--output", str(path)]
    done = CliRunner().invoke(app, arguments, env={"HEADSTART_SERVER": target})
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["files"]) == 1
    assert found["format"] == f"EXPORT_FORMAT_{form.upper()}"
    return found["model"], int(found["version"]), form, Path(found["path"])


#: Who asks for a form that `Client` does not ask for.
OTHERS = {"savedmodel": by_async_client, "onnx": by_command}


@pytest.mark.parametrize("form", RUNTIMES)
def test_the_forms_own_runtime_answers_as_predict_does(
    server: ServerProcess, rows: np.ndarray, predicted: np.ndarray, tmp_path: Path, form: ExportFormat
) -> None:
    wanted = tmp_path / f"exported.{form}"
    ask = OTHERS.get(form, by_client)
    assert ask(server.target, form, wanted) == (MODEL, 1, form, wanted)
    assert list(tmp_path.iterdir()) == [wanted]
    run, facts = RUNTIMES[form]
    decoded = np.stack([ImageDecoder(224, crop=0.875).decode(image) for image in IMAGES])
    np.testing.assert_allclose(run(wanted, decoded), predicted, atol=1e-4, rtol=0)
    # The documented code scales with Pillow.
    np.testing.assert_allclose(run(wanted, rows), predicted, atol=3e-3, rtol=0)
    assert facts(wanted)["class_names"] == ["0", "1", "7"]


def test_the_command_says_where_the_files_are_and_what_it_was_not_given(
    server: ServerProcess, tmp_path: Path
) -> None:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(
            app, ["version", "export", *arguments], env={"HEADSTART_SERVER": server.target}
        )

    # Kept since another test, so that it takes no process.
    done = run(MODEL, "--format", "openvino", "--output", str(tmp_path / "digits"))
    assert (done.exit_code, done.stdout) == (0, f"{MODEL}, version 1: written to {tmp_path / 'digits'}\n")
    assert (tmp_path / "digits" / "model.xml").is_file()
    done = run("nosuch", "--format", "openvino", "--output", str(tmp_path / "nosuch"))
    assert done.exit_code != 0
    assert "nosuch" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_the_async_client_gets_an_error_for_a_missing_model(server: ServerProcess, tmp_path: Path) -> None:
    async def export() -> None:
        async with AsyncClient(server.target) as client:
            with pytest.raises(NotFound):
                await client.export("nosuch", format="onnx", path=tmp_path / "exported")

    asyncio.run(export())
    assert not list(tmp_path.iterdir())


def test_an_export_is_kept_for_the_next_who_asks(client: Client, tmp_path: Path) -> None:
    first = client.export(MODEL, format="openvino", path=tmp_path / "first")
    second = client.export(MODEL, version=1, format="openvino", path=tmp_path / "second")
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_over_http_one_file_comes_as_it_is_and_several_as_a_tar(
    server: ServerProcess, client: Client, tmp_path: Path
) -> None:
    url = f"http://{server.event('http_listening')}/v1/models/{MODEL}"
    # Kept from the tests above, so that no process runs.
    file = client.export(MODEL, format="onnx", path=tmp_path / "digits.onnx").path
    with urllib.request.urlopen(f"{url}/export?format=onnx", timeout=TIMEOUT) as answer:
        assert answer.headers["content-disposition"] == 'attachment; filename="digits-1.onnx"'
        assert answer.read() == file.read_bytes()
    folder = client.export(MODEL, format="savedmodel", path=tmp_path / "digits").path
    with urllib.request.urlopen(f"{url}/aliases/stable/export?format=savedmodel", timeout=TIMEOUT) as answer:
        (tmp_path / "http").mkdir()
        subprocess.run(["tar", "-x", "-C", tmp_path / "http"], input=answer.read(), check=True)
    assert contents(tmp_path / "http") == contents(folder)
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        urllib.request.urlopen(f"{url}/export?format=caffe", timeout=TIMEOUT)
    caught.value.close()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_ends_when_its_caller_leaves(server: ServerProcess) -> None:
    with Api.connect(server.target) as own:
        own.published(digits((0, 1), 4), model="left")
        target = version_selector_pb2.VersionSelector(model="left")
        request = pb.ExportVersionRequest(target=target, format=pb.EXPORT_FORMAT_SAVEDMODEL)
        call = own.models.ExportVersion(request, timeout=TIMEOUT)
        process = eventually(
            lambda: worker_of(server.pid, "export_command"), TIMEOUT, "the process that exports"
        )
        call.cancel()
        eventually(lambda: not process.is_running() or None, TIMEOUT, "its end")


def test_what_is_not_there_is_not_exported(client: Client, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        client.export("nosuch", format="onnx", path=tmp_path / "exported")
    with pytest.raises(NotFound):
        client.export(MODEL, version=9, format="onnx", path=tmp_path / "exported")
    with pytest.raises(ValueError, match="format must be one of"):
        client.export(MODEL, format="caffe", path=tmp_path / "exported")
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused(server: ServerProcess) -> None:
    request = pb.ExportVersionRequest(target=version_selector_pb2.VersionSelector(model=MODEL), format=9)
    with Api.connect(server.target) as api:
        error = refused(lambda: list(api.models.ExportVersion(request, timeout=TIMEOUT)))
    assert error.reason == "INVALID_FIELD"
