"""Which backbone takes which kind of input."""

import numpy as np
import pytest

from fakes import FakeBackbone
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.embedding.modality import check_modality, default_backbone_for
from headstart_server.errors import WrongModality

CONTENTS: dict[str, Content] = {"image": b"bytes", "text": "words", "tensor": np.zeros(2)}
TAKEN = {
    Modality.IMAGE: {"image", "tensor"},
    Modality.TEXT: {"text"},
    Modality.TENSOR: {"tensor"},
}


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("kind", list(CONTENTS))
def test_each_modality_takes_its_own_kinds_and_names_the_field_of_others(
    modality: Modality, kind: str
) -> None:
    info = FakeBackbone("eyes", modality=modality).info
    if kind in TAKEN[modality]:
        check_modality(info, CONTENTS[kind], "inputs[3]")
        return
    with pytest.raises(WrongModality) as caught:
        check_modality(info, CONTENTS[kind], "inputs[3]")
    assert caught.value.field == "inputs[3]"
    assert f"in inputs[3]. Received: {kind}." in caught.value.message
    assert caught.value.metadata == {"backbone": "eyes"}


@pytest.mark.parametrize(
    ("default", "content", "expected"),
    [
        ("images", b"an image", "images"),
        ("images", "a text", "words"),
        ("images", np.zeros((2, 2), np.uint8), "images"),
        ("images", np.zeros(5, np.float32), "features:5"),
        ("words", b"an image", "images"),
        ("words", "a text", "words"),
        ("words", np.zeros((2, 2), np.uint8), "images"),
        ("words", np.zeros(5, np.float32), "features:5"),
        ("table", np.zeros(5, np.float32), "table"),
        ("table", "a text", "words"),
    ],
)
def test_the_default_is_meant_if_it_takes_the_content_else_the_first_that_does(
    default: str, content: Content, expected: str
) -> None:
    infos = {
        name: FakeBackbone(name, modality=modality).info
        for name, modality in (
            ("images", Modality.IMAGE),
            ("more", Modality.IMAGE),
            ("words", Modality.TEXT),
            ("table", Modality.TENSOR),
        )
    }
    assert default_backbone_for(infos[default], infos.values(), content) == expected


def test_where_nothing_takes_the_content_the_default_says_so() -> None:
    info = FakeBackbone("images").info
    assert default_backbone_for(info, [info], "a text") == "images"
