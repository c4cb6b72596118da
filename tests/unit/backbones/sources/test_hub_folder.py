"""What folders of networks say of themselves, and what of them is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.hub_folder import Format, HubFolder
from headstart_server.backbones.sources.keras_hub import KERAS_HUB
from headstart_server.backbones.sources.source import SourceError


def preset(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "module": "keras_hub.src.models.bert.bert_backbone",
        "class_name": "BertBackbone",
        "registered_name": "keras_hub>BertBackbone",
        "config": config,
    }


def write(folder: Path, config: object, name: str = "config.json") -> Path:
    (folder / name).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "format_", "kind", "modality"),
    [
        (preset({"vocabulary_size": 9}), Format.KERAS, "BertBackbone", Modality.TEXT),
        (preset({"image_shape": [8, 8, 3]}), Format.KERAS, "BertBackbone", Modality.IMAGE),
        (preset({"vision_encoder": {}, "vocabulary_size": 9}), Format.KERAS, "BertBackbone", Modality.IMAGE),
        ({"model_type": "bert", "vocab_size": 9}, Format.TRANSFORMERS, "bert", Modality.TEXT),
        ({"model_type": "vit", "image_size": 9}, Format.TRANSFORMERS, "vit", Modality.IMAGE),
        ({"architecture": "resnet18"}, Format.TIMM, "resnet18", Modality.IMAGE),
    ],
)
def test_a_folder_says_who_wrote_it_and_what_it_takes(
    tmp_path: Path, config: dict[str, Any], format_: Format, kind: str, modality: Modality
) -> None:
    folder = HubFolder.read(write(tmp_path, config))
    assert (folder.format, folder.kind, folder.modality) == (format_, kind, modality)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "image_converter.json"])
@pytest.mark.parametrize(
    "part",
    [
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
        {"module": "builtins", "class_name": "__lambda__", "config": {}},
    ],
)
def test_parts_that_hold_code_are_refused_in_every_file_that_is_loaded(
    tmp_path: Path, name: str, part: dict[str, Any]
) -> None:
    write(tmp_path, preset({}))
    write(tmp_path, preset({"inner": [{"deep": part}]}), name)
    with pytest.raises(
        SourceError, match=rf"layers of Keras or keras_cv .* only.*{name}, with {part['class_name']}"
    ):
        HubFolder.read(tmp_path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Expected a folder with a network's config\.json"):
        HubFolder.read(tmp_path)
    with pytest.raises(
        SourceError, match=r"Expected a config.json of KerasHub, .* Received: .*, with weights"
    ):
        HubFolder.read(write(tmp_path, {"weights": 1}))


def test_a_damaged_file_is_reported_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"Expected JSON in .*config\.json"):
        HubFolder.read(tmp_path)


def test_weights_in_pickles_are_not_read(tmp_path: Path) -> None:
    (write(tmp_path, {"model_type": "bert"}) / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(SourceError, match="weights in pickles are not read"):
        HubFolder.read(tmp_path).weights()


def test_weights_in_several_files_have_one_digest_that_changes_with_each(tmp_path: Path) -> None:
    write(tmp_path, {"model_type": "bert"})
    digests = set()
    for first, second in [(b"1", b"2"), (b"2", b"1"), (b"1", b"3")]:
        (tmp_path / "model-00001-of-00002.safetensors").write_bytes(first)
        (tmp_path / "model-00002-of-00002.safetensors").write_bytes(second)
        digests.add(HubFolder.read(tmp_path).weights())
    assert len(digests) == 3


def test_the_architecture_changes_with_the_configuration_and_not_with_the_place(tmp_path: Path) -> None:
    names = []
    for place, layers in [("a", 1), ("b", 1), ("c", 2)]:
        (tmp_path / place).mkdir()
        folder = write(tmp_path / place, {"model_type": "bert", "num_hidden_layers": layers})
        names.append(HubFolder.read(folder).architecture("modules.json"))
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("source", "fingerprint"),
    [
        ("kerashub:bert_tiny_en_uncased", "bert_tiny_en_uncased"),
        (
            "kerashub:keras/bert/keras/bert_tiny_en_uncased/2",
            "kaggle://keras/bert/keras/bert_tiny_en_uncased/2",
        ),
        ("kerashub:hf://keras/bert_tiny_en_uncased", "hf://keras/bert_tiny_en_uncased"),
        ("hf:facebook/dinov2-small@abc", "hf://facebook/dinov2-small@abc"),
        ("timm:resnet18.a1_in1k", "hf://timm/resnet18.a1_in1k"),
    ],
)
def test_handles_are_known_without_a_network(tmp_path: Path, source: str, fingerprint: str) -> None:
    declaration = Declaration(name="any", source=source)
    opener = KERAS_HUB[declaration.scheme]
    assert opener.fetch(declaration, tmp_path) == fingerprint
    assert opener.modality(declaration) is Modality.IMAGE
    assert list(tmp_path.iterdir()) == []


def test_a_local_folder_is_known_by_its_contents(tmp_path: Path) -> None:
    write(tmp_path, {"model_type": "bert", "vocab_size": 9})
    declaration = Declaration(name="any", source=f"hf:{tmp_path}")
    before = KERAS_HUB["hf"].fetch(declaration, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"1")
    assert KERAS_HUB["hf"].fetch(declaration, tmp_path) != before
    assert KERAS_HUB["hf"].modality(declaration) is Modality.TEXT


def test_a_damaged_folder_does_not_stop_a_server_that_lists_it(tmp_path: Path) -> None:
    declaration = Declaration(name="any", source=f"hf:{tmp_path / 'nowhere'}")
    assert KERAS_HUB["hf"].modality(declaration) is Modality.IMAGE
