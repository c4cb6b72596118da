"""The contract in other languages: buf generates their code, and their examples run against a real server."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from integration.server.calls import digit
from programs import GO, JAVA, NODE, NPM, PYTHON_PLUGIN
from server_process import ServerProcess

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs" / "examples"
#: Jars of Debian that gRPC for Java needs.
JARS = (
    "geronimo-annotation-1.3-spec,grpc-api,grpc-context,grpc-core,grpc-netty,grpc-protobuf,grpc-protobuf-lite,"
    "grpc-stub,protobuf,guava,failureaccess,gson,perfmark-api,error-prone-annotations,"
    "animal-sniffer-annotations,netty-buffer,netty-codec,netty-codec-http,netty-codec-http2,netty-codec-socks,"
    "netty-common,netty-handler,netty-handler-proxy,netty-resolver,netty-transport,"
    "netty-transport-native-unix-common"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, folder: Path, path: str = "", **environment: str) -> str:
    """Run a command; programs next to Python, then those of `path`, come first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), path, os.environ["PATH"]])
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**os.environ, "PATH": programs, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def protos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract as the server exports it."""
    folder = tmp_path_factory.mktemp("protos")
    run("headstart-server", "protos", "--out", folder, folder=folder)
    return folder


@pytest.fixture(scope="module")
def arguments(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The address, a folder of images of two classes, and another image of the first."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("zero", "one"):
        (folder / "photos" / name).mkdir(parents=True)
        for place in range(8):
            (folder / "photos" / name / f"{place}.png").write_bytes(digit(int(name == "one"), place))
    (folder / "zero.png").write_bytes(digit(0, 40))
    return server.target, folder / "photos", folder / "zero.png"


def generate(protos: Path, language: str, target: Path, path: str = "") -> Path:
    """Run `buf generate` with the plugins of one language, and return the folder of its code."""
    template = yaml.safe_load((ROOT / "protos" / "buf.gen.yaml").read_text())
    template["plugins"] = [each for each in template["plugins"] if each["out"] == language]
    assert template["plugins"]
    command = ("buf", "generate", protos, "--path", protos / "headstart", "--template", json.dumps(template))
    run(*command, "-o", target, folder=protos, path=path)
    return target / language


def check_output(output: str) -> None:
    """Check that an example prints the job's states, the predicted class and the error of a missing model."""
    *states, predicted, missing = output.splitlines()
    assert states[-1].split()[0].endswith("SUCCEEDED")
    name, probability = predicted.split()
    assert (name, float(probability) > 0.5) == ("zero", True)
    assert missing.startswith("not found: ")
    assert "missing" in missing


def test_the_python_code_has_every_module_of_the_client(protos: Path, tmp_path: Path) -> None:
    PYTHON_PLUGIN.need()
    code = generate(protos, "python", tmp_path)
    for folder in (code / "headstart", code / "headstart" / "v1"):
        (folder / "__init__.py").touch()
    own = {path.stem for path in (ROOT / "client" / "headstart" / "v1").glob("*_pb2*.py")}
    assert own <= {path.stem for path in (code / "headstart" / "v1").iterdir()}
    imports = "; ".join(f"import headstart.v1.{name} as module" for name in sorted(own))
    found = run(sys.executable, "-c", f"{imports}; print(module.__file__)", folder=code, PYTHONPATH=str(code))
    assert found.startswith(str(code))


def test_the_example_in_go(protos: Path, arguments: tuple[str, Path, Path], tmp_path: Path) -> None:
    GO.need()
    source = tmp_path / "src"
    shutil.copytree(generate(protos, "go", tmp_path) / "headstart", source / "headstart")
    shutil.copytree(EXAMPLES / "go", source / "example")
    run(
        "go",
        "build",
        "-o",
        tmp_path / "example",
        ".",
        folder=source / "example",
        GO111MODULE="off",
        GOPATH=f"{tmp_path}:/usr/share/gocode",
    )
    check_output(run(tmp_path / "example", *arguments, folder=tmp_path))


def node_modules() -> Path:
    """Return the packages of the example in TypeScript, which are installed once for each list of them."""
    listed = (EXAMPLES / "typescript" / "package.json").read_bytes()
    folder = Path(sys.prefix) / "share" / "headstart-node" / hashlib.sha256(listed).hexdigest()[:16]
    if not folder.exists():
        making = folder.with_suffix(f".{os.getpid()}")
        making.mkdir(parents=True)
        (making / "package.json").write_bytes(listed)
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"]
        if subprocess.run(install, cwd=making, check=False).returncode != 0:
            NPM.refuse()
        making.rename(folder)
    return folder / "node_modules"


def test_the_example_in_typescript(protos: Path, arguments: tuple[str, Path, Path], tmp_path: Path) -> None:
    NODE.need()
    modules = node_modules()
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLES / "typescript", folder)
    (folder / "node_modules").symlink_to(modules)
    programs = str(modules / ".bin")
    generate(protos, "typescript", tmp_path, programs).rename(folder / "gen")
    run("tsc", folder=folder, path=programs)
    address, *others = arguments
    check_output(run("node", "out/main.js", f"http://{address}", *others, folder=folder))


def test_the_example_in_java(protos: Path, arguments: tuple[str, Path, Path], tmp_path: Path) -> None:
    JAVA.need()
    code = generate(protos, "java", tmp_path)
    jars = os.pathsep.join(f"/usr/share/java/{name}.jar" for name in JARS.split(","))
    classes = tmp_path / "classes"
    main = EXAMPLES / "java" / "Main.java"
    # Optimizing compilation of Java's own compiler takes most of the time of such a short run.
    quick = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
    run(
        "javac",
        *(f"-J{option}" for option in quick),
        "-proc:none",
        "-nowarn",
        "-cp",
        jars,
        "-sourcepath",
        code,
        "-d",
        classes,
        main,
        folder=tmp_path,
    )
    path = f"{classes}{os.pathsep}{jars}"
    output = run("java", *quick, "-cp", path, "Main", *arguments, folder=tmp_path)
    check_output(output)
