"""The environment of each kind of child process: no secret of the server, and what the child needs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart_server.backbones.contract.child_process import child_environment
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.registry import credentials_of
from headstart_server.backbones.worker.export_process import export_in_process
from headstart_server.backbones.worker.preparation_progress import Progress
from headstart_server.backbones.worker.prepared_cache import prepare_into
from headstart_server.backbones.worker.training_process import train_in_process
from headstart_server.backbones.worker.worker_process import Preparations
from headstart_server.errors import BackboneUnavailable, ExportFailed, TrainerDied
from unit.backbones.worker.test_export_process import request as export_request
from unit.backbones.worker.test_training_process import request as training_request

#: Secrets of a server, and of its machine.
SECRETS = {
    "HEADSTART_DATABASE": "postgresql://user:planted-secret@db/headstart",
    "HEADSTART_WEBHOOK": "https://hooks.example.com/planted-secret",
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
    "AWS_SESSION_TOKEN": "planted-secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "/planted-secret.json",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=planted-secret",
    "PGPASSWORD": "planted-secret",
    "SOME_TOKEN": "planted-secret",
    "KAGGLE_KEY": "planted-secret",
}
#: Settings that children need.
NEEDED = {
    "TZ": "Europe/Berlin",
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "2",
    "HTTPS_PROXY": "http://proxy.example.com:3128",
    "HF_HOME": "/var/cache/hf",
}
HUB = Declaration(name="hub", source="hf:org/network")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, **NEEDED, "HF_TOKEN": "hub-token"}.items():
        monkeypatch.setenv(name, value)


def prepare(folder: Path, program: str, declaration: Declaration) -> None:
    class Other(Preparations):
        def run(self, arguments: object, *rest: object, **more: object) -> object:  # type: ignore[override]
            return super().run(["-c", program], *rest, **more)  # type: ignore[arg-type]

    with pytest.raises(BackboneUnavailable):
        prepare_into(
            folder / "prepared",
            declaration,
            folder,
            fingerprint="1",
            preparations=Other(),
            progress=Progress("hub"),
        )


def train(folder: Path, program: str, declaration: Declaration) -> None:
    with pytest.raises(TrainerDied):
        train_in_process(
            ["-c", program],
            training_request(folder),
            lambda _: None,
            lambda: None,
            credentials=credentials_of(declaration),
        )


def export(folder: Path, program: str, declaration: Declaration) -> None:
    (folder / "export").mkdir()
    with pytest.raises(ExportFailed):
        export_in_process(
            declaration,
            folder,
            export_request(),
            folder / "export",
            lambda: None,
            program=["-c", program],
        )


def seen_by(run: Callable[[Path, str, Declaration], None], folder: Path, declaration: Declaration) -> dict:
    file = folder / "environ"
    # The environment that the process was started with, as the kernel shows it.
    program = f"open({str(file)!r}, 'wb').write(open('/proc/self/environ', 'rb').read()); raise SystemExit(1)"
    run(folder, program, declaration)
    lines = file.read_bytes().decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


@pytest.mark.parametrize("run", [prepare, train, export])
def test_a_child_process_gets_what_it_needs_and_no_secret(
    tmp_path: Path, run: Callable[[Path, str, Declaration], None]
) -> None:
    seen = seen_by(run, tmp_path, Declaration(name="file", source="onnx:/networks/a.onnx"))

    assert "planted-secret" not in repr(seen)
    assert not {name for name in seen if name.startswith(("HEADSTART_", "AWS_", "PG"))}
    assert "HF_TOKEN" not in seen
    assert NEEDED.items() <= seen.items()
    assert seen["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("run", [prepare, train, export])
def test_a_child_process_that_opens_a_network_of_a_hub_gets_the_token_of_this_hub(
    tmp_path: Path, run: Callable[[Path, str, Declaration], None]
) -> None:
    seen = seen_by(run, tmp_path, HUB)

    assert seen["HF_TOKEN"] == "hub-token"
    assert "planted-secret" not in repr(seen)


def test_a_local_folder_needs_no_token() -> None:
    assert credentials_of(Declaration(name="local", source="hf:/networks/folder")) == ()
    assert "KAGGLE_KEY" in credentials_of(Declaration(name="preset", source="kerashub:vit_base"))


def test_an_unknown_variable_is_left_out() -> None:
    assert child_environment({"PATH": "/bin", "NEW_SERVICE_PASSWORD": "x"}) == {"PATH": "/bin"}
