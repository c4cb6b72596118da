"""`make gpu-check` runs on a CPU, and its bundle runs with nothing else but a backend of Keras."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.gpu import bundle
from benchmarks.gpu.run import HERE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]


def check(out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "tests/benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("KERAS_BACKEND", None)
    command = [sys.executable, "-m", "gpu", "--out", str(out), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "parts", [("runtime", "solver"), pytest.param(("rates",), marks=pytest.mark.thorough)], ids=" ".join
)
def test_it_runs_on_jax(parts: Sequence[str], tmp_path: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    done = check(tmp_path, *(f"--only={part}" for part in parts), "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu-check.json").read_text())
    assert all(row["met"] is not False for row in found["rows"])
    assert found["is_small"]
    table = (tmp_path / "gpu-check.md").read_text()
    assert all(f"| {row['measure']} | {row['value']} |" in table for row in found["rows"])
    if "runtime" in parts:
        assert found["rows"][0]["value"].startswith("keras jax float32")


@pytest.mark.thorough
def test_its_server_trains_and_predicts(tmp_path: Path) -> None:
    done = check(tmp_path, "--only", "serving", "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    measures = [row["measure"] for row in json.loads((tmp_path / "gpu-check.json").read_text())["rows"]]
    assert "fine-tune of 80 images, call to first Predict" in measures
    assert "Predict, 2 callers, during training" in measures


def test_a_backend_that_is_missing_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gpu", "--out", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests/benchmarks"), "KERAS_BACKEND": "openvino"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Keras needs openvino, which is not installed" in done.stderr


def test_a_bundle_has_a_limit_and_all_that_a_run_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "some-1.0-py3-none-any.whl"

    def write(*requirements: str) -> None:
        lines = [f"Requires-Dist: {requirement}" for requirement in requirements]
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("some-1.0.dist-info/METADATA", "\n".join(["Name: some", *lines, ""]))

    monkeypatch.setattr(bundle, "_wheels", lambda folder, pythons: [wheel])
    out = tmp_path / "bundle"
    write("numpy>=2", "other>1; python_version >= '3.8'", "extra; extra == 'more'")
    assert bundle.main(["--out", str(out)]) == 1
    assert "require to PACKAGES: other for some." in capsys.readouterr().err
    write("numpy>=2")
    assert bundle.main(["--out", str(out)]) == 0
    assert (out / "wheels" / wheel.name).exists()
    assert (out / HERE.joinpath("run.py").name).exists()
    assert {path.name for path in (out / "check").iterdir()} == {"gpu", "server_process.py"}
    assert "bundle.py" not in {path.name for path in (out / "check/gpu").iterdir()}
    monkeypatch.setattr(bundle, "MAX_BYTES", 99)
    assert bundle.main(["--out", str(out)]) == 1
    assert "Name fewer versions with --python" in capsys.readouterr().err
