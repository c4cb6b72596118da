"""Which backbone takes which kind of input."""

import numpy as np
import pytest

from fakes import FakeBackbone
from headstart_server.backbones.backbone import Content, Modality
from headstart_server.embedding.modality import check_modality
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
