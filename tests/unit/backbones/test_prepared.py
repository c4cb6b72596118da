"""Folders of prepared backbones: when one is taken as it is, and when it is made anew."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from headstart_server.backbones.backbone import BackboneInfo, Modality
from headstart_server.backbones.card import Card
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.declaration import Declaration
from headstart_server.backbones.decoding import Pictures
from headstart_server.backbones.preparations import Ended, Preparations
from headstart_server.backbones.prepared import REFUSED, folder_of, keep_card, prepare_into
from headstart_server.backbones.progress import Progress
from headstart_server.backbones.runtimes import RuntimeKind, RuntimeSettings
from headstart_server.backbones.sources.onnx import Onnx
from headstart_server.backbones.sources.registry import SOURCES
from headstart_server.backbones.sources.source import SourceError
from headstart_server.errors import BackboneUnavailable

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
    decoding=Pictures(size=8, crop=1.0),
    golden={"last": {"norm": 1.0, "values": [1.0]}},
    in_keras=False,
)


class FakePreparations(Preparations):
    """Writes what a preparation would, or ends as it is told."""

    def __init__(self, *ends: Ended) -> None:
        super().__init__()
        self.ends = list(ends)
        self.count = 0

    def run(
        self, program: Sequence[str], seconds: float, watch: Callable[[str], None] = lambda _: None
    ) -> Ended:
        self.count += 1
        if self.ends:
            return self.ends.pop()
        folder = Path(program[-2])
        (folder / "network.xml").write_text("network")
        (folder / "network.bin").write_bytes(bytes(100))
        CARD.write(folder)
        return Ended(code=0, stdout="", stderr="")


@pytest.fixture
def preparations() -> FakePreparations:
    return FakePreparations()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "prepared"


def prepare(folder: Path, preparations: Preparations) -> Card:
    return prepare_into(folder, DECLARED, folder.parent, preparations=preparations, progress=Progress("own"))


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
def test_a_damaged_one_is_made_anew(
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


def test_what_is_wrong_is_told_and_nothing_is_left(folder: Path) -> None:
    refusal = Ended(code=REFUSED, stdout='{"message": "Expected better."}', stderr="")
    with pytest.raises(SourceError, match="Expected better"):
        prepare(folder, FakePreparations(refusal))
    killed = Ended(code=-9, stdout="", stderr="Loading.\n")
    with pytest.raises(BackboneUnavailable, match=r"ended with signal 9 \(SIGKILL\); .*words: Loading"):
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
