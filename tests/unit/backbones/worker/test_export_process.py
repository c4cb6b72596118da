"""Exporting in another process: what it is given, and every way it can end."""

import time
from pathlib import Path

import numpy as np
import pytest

from fakes import make_tail
from full_disk import FullDisk
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.worker.export_process import export_in_process
from headstart_server.backbones.worker.export_request import Answers, ExportFormat, ExportRequest
from headstart_server.errors import (
    ArtifactDamaged,
    BackboneMismatch,
    ExportFailed,
    ExportUnavailable,
    InvalidField,
    StorageFull,
)

#: A program that writes its arguments.
HONEST = """
import sys
from pathlib import Path
from headstart_server.backbones.worker.export_request import ExportRequest
_, declaration, cache, request, folder, conversion = sys.argv
form = ExportRequest.load(Path(request)).form
(Path(folder) / "reported").write_text(f"{cache} {form} {conversion}")
"""
REFUSING = 'import sys; print(\'{{"kind": "{}", "message": "because"}}\'); sys.exit(3)'


def request(**changes: object) -> ExportRequest:
    rng = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    fields: dict[str, object] = {
        "form": ExportFormat.ONNX,
        "digest": "d" * 64,
        "views": ("last", "taps"),
        "roots": True,
        "lengths": False,
        "hidden_weights": some(4, 3),
        "hidden_bias": some(3),
        "weights": some(3, 2),
        "bias": some(2),
        "slopes": some(2),
        "offsets": some(2),
        "answers": Answers.SIGMOID,
        "facts": {"class_names": ["a", "ü"]},
    }
    return ExportRequest(**{**fields, **changes})


@pytest.mark.parametrize("tail", [None, make_tail(blocks=2)])
def test_a_request_is_the_same_once_written_and_read(tmp_path: Path, tail: object) -> None:
    sent = request(tail=tail)
    sent.save(tmp_path)
    came = ExportRequest.load(tmp_path)
    for name in ("form", "digest", "views", "roots", "lengths", "answers", "facts"):
        assert getattr(came, name) == getattr(sent, name)
    for name in ("hidden_weights", "hidden_bias", "weights", "bias", "slopes", "offsets"):
        np.testing.assert_array_equal(getattr(came, name), getattr(sent, name))
    assert (came.tail is None) == (tail is None)
    if came.tail is not None and sent.tail is not None:
        assert came.tail.blocks == 2
        assert came.tail.tensors.keys() == sent.tail.tensors.keys()


def test_calibration_is_in_the_last_layer() -> None:
    sent = request()
    weights, bias = sent.calibrated
    units = np.random.default_rng(1).normal(size=(5, 3))
    scores = (units @ sent.weights + sent.bias) * sent.slopes + sent.offsets
    np.testing.assert_allclose(units @ weights + bias, scores, atol=1e-5)


def export(folder: Path, program: str, checkpoint: object = lambda: None) -> Path:
    target = folder / "target"
    target.mkdir()
    declaration = Declaration(name="fake", source="keras-file:fake")
    export_in_process(declaration, folder / "cache", request(), target, checkpoint, program=["-c", program])
    return target


def test_the_program_gets_the_request_which_is_then_removed(tmp_path: Path) -> None:
    target = export(tmp_path, HONEST)
    assert (target / "reported").read_text() == f"{tmp_path / 'cache'} onnx "
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        ("form", InvalidField, r"Received: onnx\. because"),
        ("other_backbone", BackboneMismatch, "Received: digest because"),
        ("damaged", ArtifactDamaged, "does not fit its backbone"),
        ("not_installed", ExportUnavailable, "needs the package because"),
    ],
)
def test_a_refusal_is_an_error_of_its_kind(
    tmp_path: Path, kind: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        export(tmp_path, REFUSING.format(kind))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('out of luck')", "exit code 1. Its last output: out of luck"),
        ("import os; os.kill(os.getpid(), 9)", r"signal 9 \(SIGKILL\)"),
    ],
)
def test_a_death_says_how(tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(ExportFailed, match=said):
        export(tmp_path, program)


def test_a_death_while_the_disk_is_full_is_a_full_disk(tmp_path: Path) -> None:
    with FullDisk(tmp_path) as disk:

        def fill() -> None:
            disk.full_while = lambda: True

        with pytest.raises(StorageFull):
            export(tmp_path, "raise SystemExit('No space left on device')", fill)
        with pytest.raises(StorageFull):
            export(tmp_path / "target", HONEST)


def test_it_ends_when_the_checkpoint_raises(tmp_path: Path) -> None:
    def leave() -> None:
        raise KeyError("gone")

    began = time.monotonic()
    with pytest.raises(KeyError, match="gone"):
        export(tmp_path, "import time; time.sleep(600)", leave)
    assert time.monotonic() - began < 300
