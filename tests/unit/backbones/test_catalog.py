"""What becomes of backbones that are unavailable, whatever is at fault."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import GoldenMismatch, check_golden
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.sources import files
from headstart_server.backbones.sources.files import file_at, known_digest
from headstart_server.backbones.sources.pytorch.checkpoint import CheckpointError
from headstart_server.backbones.sources.registry import SOURCES
from headstart_server.backbones.sources.source import SourceError
from headstart_server.errors import BackboneUnavailable


class Broken:
    """A source whose networks fail."""

    options: frozenset[str] = frozenset()
    in_keras = False

    def __init__(self, error: Exception) -> None:
        self._error = error

    def modality(self, declaration: Declaration) -> Modality:
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None:
        return None

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        raise self._error

    def open(self, declaration: Declaration, cache: Path) -> Network:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        SourceError("Expected better."),
        CheckpointError("Expected better."),
        PermissionError(13, "Expected better."),
        OSError(28, "Expected better."),
        RuntimeError("Expected better."),
    ],
)
@pytest.mark.parametrize("ask", ["load", "prepare", "conversion"])
def test_whatever_is_wrong_is_reported_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, ask: str
) -> None:
    monkeypatch.setitem(SOURCES, "broken", Broken(error))
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=tmp_path)
    catalog = Catalog([Declaration(name="own", source="broken:1")], runtimes=settings)
    with pytest.raises(
        BackboneUnavailable, match=r"Backbone 'own' is unavailable: .*Expected better"
    ) as caught:
        getattr(catalog, ask)("own")
    assert caught.value.metadata == {"backbone": "own"}


def test_other_features_than_expected_make_a_backbone_unavailable() -> None:
    views: Any = {"last": np.ones((1, 4), np.float32)}
    golden: Any = {"last": {"norm": 7.0, "values": [3.0, 3.0, 3.0, 3.0]}}
    with pytest.raises(GoldenMismatch) as caught:
        check_golden("own", views, golden, Precision.FLOAT32)
    assert isinstance(caught.value, BackboneUnavailable)


def test_a_download_keeps_its_ending_and_no_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b""))
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    names = [
        file_at(f"https://host/{path}", empty, tmp_path).name
        for path in ("net.keras?v=1/2", f"{'a' * 300}.onnx", "")
    ]
    assert [name.removeprefix(f"{empty}-") for name in names] == [
        "net.keras",
        f"{'a' * 75}.onnx",
        "file",
    ]


def test_a_damaged_download_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, requests = b"weights" * 100, []

    def answer(url: str, timeout: float) -> io.BytesIO:
        requests.append((url, timeout))
        return io.BytesIO(content)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    digest = hashlib.sha256(content).hexdigest()
    path = file_at("https://host/net.keras", digest, tmp_path)
    assert file_at("https://host/net.keras", digest, tmp_path) == path
    assert len(requests) == 1
    for place, damaged in enumerate((content[:10], b"", bytes(len(content)))):
        path.write_bytes(damaged)
        # Clocks of file systems are coarse.
        os.utime(path, ns=(place, place))
        assert file_at("https://host/net.keras", digest, tmp_path) == path
        assert path.read_bytes() == content
    assert len(requests) == 4


def test_an_intact_download_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"weights"))
    digest = hashlib.sha256(b"weights").hexdigest()
    path = file_at("https://host/net.keras", digest, tmp_path)
    read = []
    monkeypatch.setattr(files, "file_digest", lambda path: read.append(path) or digest)
    for _ in range(3):
        assert known_digest(file_at("https://host/net.keras", digest, tmp_path)) == digest
    assert read == [path]


def test_the_command_reports_what_is_wrong_with_one_and_goes_on_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    (tmp_path / "own.onnx").write_bytes(b"\x3a\x00")
    flags = [
        "--backbone",
        f"own=onnx:{tmp_path / 'own.onnx'}",
        "--backbone-cache",
        str(tmp_path / "cache"),
    ]
    # In another process, because the command sets up the logs of its process.
    program = [sys.executable, "-m", "headstart_server", "prepare", "own", "features:7", *flags]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "own: Backbone 'own' is unavailable: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "features:7: identity float32, checked" in done.stdout
