"""The built wheel holds both packages, and installs light."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Imports the client and fails if that brought in anything an extra installs.
IMPORT_CLIENT = """
import importlib.metadata, importlib.util, sys
import headstart, headstart.v1.prediction_service_pb2_grpc
heavy = ["keras", "tensorflow", "PIL", "sqlalchemy", "safetensors", "typer", "rich", "structlog"]
installed = [name for name in heavy if importlib.util.find_spec(name)]
assert not installed, f"installed with the client: {installed}"
assert "headstart_server" not in sys.modules
print(importlib.metadata.version("headstart"), headstart.__file__)
"""


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(target), str(root))
    (built,) = target.glob("headstart-*.whl")
    return built


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_the_client_the_server_and_the_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
    assert {name.split("/")[0] for name in names} == {"headstart", "headstart_server", info}
    assert {
        "headstart/py.typed",
        "headstart/v1/prediction_service_pb2_grpc.py",
        "headstart/v1/prediction_service_pb2.pyi",
        "headstart_server/py.typed",
        "headstart_server/report/page.css",
        "headstart_server/report/page.js",
        f"{info}/licenses/LICENSE",
    } <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_client_installs_and_imports_without_any_extra(wheel: Path, tmp_path: Path) -> None:
    # Without its own pip, which would take longer to install than the client does.
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv/bin/python"
    run(
        sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile", str(wheel)
    )
    version, imported = run(str(python), "-I", "-c", IMPORT_CLIENT).split()
    assert wheel.name.startswith(f"headstart-{version}-")
    assert Path(imported).is_relative_to(tmp_path)
