"""The commands for operators run: servers start with the flags of their page, and manifests build."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format

from certificates import identity
from e2e.newcomer import run
from headstart.v1 import webhook_pb2
from programs import KUSTOMIZE
from server_process import ServerProcess, free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "k8s" / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
_BLOCK = re.compile(r"^ *```(sh|bash|console|python)([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
#: Pages whose servers are started.
SERVERS = (
    "guides/dataset-uris.md",
    "guides/label-studio.md",
    "guides/webhooks.md",
    "operate/monitoring.md",
    "operate/processes.md",
    "operate/tls-and-access.md",
    "reference/http.md",
    "start/first-model.md",
)
#: Where the blocks without a name are run, or why they cannot be.
ELSEWHERE = {
    "docs/guides/dataset-uris.md": "tests/integration/server/test_dataset_uris.py, with a bucket",
    "docs/guides/export.md": "tests/integration/server/test_export.py",
    "docs/guides/label-studio.md": "here",
    "docs/guides/languages.md": "needs buf.build; tests/integration/server/test_languages.py",
    "docs/guides/other-clients.md": "tests/integration/server/test_dialects.py, with the clients",
    "docs/guides/python.md": "tests/contract/test_python_page.py",
    "docs/guides/texts.md": "pip; tests/install/run.py",
    "docs/guides/webhooks.md": "here",
    "docs/index.md": "tests/e2e/test_try.py",
    "docs/operate/backbones.md": "downloads; tests/integration/backbones/test_keras_sources.py",
    "docs/operate/backup-and-upgrade.md": "here, without a cluster; tests/integration/server/test_restore.py",
    "docs/operate/check.md": "tests/integration/server/test_doctor.py, with a database and a bucket",
    "docs/operate/container.md": "make test-images",
    "docs/operate/kubernetes-components.md": "needs a cluster; tests/unit/packaging parses it",
    "docs/operate/kubernetes.md": "here, without a cluster",
    "docs/operate/monitoring.md": "here",
    "docs/operate/processes.md": "here",
    "docs/operate/replicas.md": "tests/integration/server/test_replicas.py, with a database and a bucket",
    "docs/operate/tls-and-access.md": "here",
    "docs/reference/http.md": "here, and make test-images",
    "docs/start/first-model.md": "here",
    "docs/start/install.md": "make test-install and make test-fresh",
    "docs/understand/benchmarks.md": "needs a GPU",
    "docs/understand/fuzzing.md": "a target of make",
    "docs/understand/testing.md": "targets of make",
    "k8s/README.md": "here, without a cluster",
}


def unnamed(page: Path) -> list[str]:
    """Return the blocks of a page that no test finds by a name."""
    return [code for _, name, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if not name.strip()]


def test_every_block_of_code_is_run_or_has_a_reason() -> None:
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES if unnamed(page)}
    assert pages == set(ELSEWHERE)
    files = [name for reason in ELSEWHERE.values() for name in re.findall(r"tests/[\w/.]+", reason)]
    assert [name for name in files if not (ROOT / name).exists()] == []


def servers(page: Path) -> Iterator[list[str]]:
    """Return the flags of each server of a page; `...` stands for those of the line before."""
    flags: list[str] = []
    for line in "\n".join(unnamed(page)).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["headstart-server", "serve"]:
            flags = [word for given in words[2:] for word in (flags if given == "..." else [given])]
            yield flags


@pytest.fixture(name="files")
def files_of_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the files that flags name, as the current folder."""
    server = identity("localhost")
    (tmp_path / "tls.crt").write_bytes(server.chain)
    (tmp_path / "clients.crt").write_bytes(server.chain)
    (tmp_path / "tls.key").write_bytes(server.private)
    (tmp_path / "tls.key").chmod(0o600)
    (tmp_path / "token.txt").write_text("secret\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", SERVERS)
def test_the_servers_of_a_page_start_and_stop(page: str, files: Path) -> None:
    prepare_secrets(ROOT / "docs" / page, files)
    started = 0
    for number, flags in enumerate(servers(ROOT / "docs" / page)):
        settings = {
            "HEADSTART_DATA_DIR": str(files / f"data-{number}"),
            "HEADSTART_PORT": "0",
            "HEADSTART_METRICS_PORT": "0",
            "HEADSTART_LOG_FORMAT": "json",
            "HEADSTART_DEFAULT_BACKBONE": "features:4",
        }
        given = [str(free_port()) if word == "8080" else word for word in flags]
        server = ServerProcess(files / f"data-{number}", "serve", *given, settings=settings)
        try:
            server.wait_until_serving()
            assert server.terminate() == 0, server.log
        finally:
            if server.is_running:
                server.kill()
        started += 1
    assert started


def prepare_secrets(page: Path, folder: Path) -> None:
    """Run the line that writes the secrets of webhooks, where a page has it."""
    for line in "\n".join(unnamed(page)).splitlines():
        if line.startswith("echo "):
            run(["bash", "-c", line], folder, "")


def test_the_event_of_the_page_of_webhooks_is_one_of_the_contract() -> None:
    page = (ROOT / "docs/guides/webhooks.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    # An ellipsis stands for what the page leaves out.
    event = json_format.ParseDict(json.loads(re.sub(r"(, )?…", "", text)), webhook_pb2.WebhookEvent())
    assert event.type == "job.succeeded"
    assert event.data.spec.alias == "stable"


@pytest.mark.parametrize(
    ("page", "image"),
    [
        ("docs/operate/kubernetes.md", "REGISTRY/headstart:0.1.0"),
        ("docs/operate/backup-and-upgrade.md", "REGISTRY/headstart:NEW"),
        ("k8s/README.md", "REGISTRY/headstart:0.1.0"),
    ],
)
def test_the_manifests_get_the_image_of_the_page(page: str, image: str, tmp_path: Path) -> None:
    kustomize = KUSTOMIZE.need()
    if kustomize.name != "kustomize":
        pytest.skip("kubectl cannot edit a kustomization")
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    code = "\n".join(unnamed(ROOT / page)).replace("\\\n", " ")
    [edit] = re.findall(r"^\(cd .*kustomize edit .*\)", code, re.MULTILINE)
    run(["bash", "-euc", edit], tmp_path, "")
    applied = re.findall(r"--kustomize (\S+)", code)
    assert applied
    built = subprocess.run(
        [kustomize, "build", tmp_path / applied[0]], capture_output=True, text=True, check=True
    ).stdout
    pods = [each for each in yaml.safe_load_all(built) if each["kind"] == "Deployment"]
    containers = [one for each in pods for one in each["spec"]["template"]["spec"]["containers"]]
    assert [one["image"] for one in containers] == [image]
