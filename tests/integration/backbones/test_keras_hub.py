"""Networks of KerasHub, Hugging Face and timm as their sources open them, against other code."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub_samples
from headstart.v1 import input_pb2, model_service_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import LAST, Modality
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.backbones.networks.declaration import read_declarations
from headstart_server.backbones.networks.golden import golden_image
from hub_samples.samples import TEXT
from integration.server.calls import TIMEOUT, Api, digit, digits
from server_process import eventually, running

pytestmark = pytest.mark.timeout(600)

IMAGES = ["vit", "vit-mean", "resnet", "dino", "clip", "clip-tokens", "siglip", "timm-resnet", "hf-vit"]
TEXTS = ["bert", "bert-pooled", "distilbert", "roberta", "xlm-roberta", "hf-bert"]
#: Those whose conversion for OpenVINO is run, too.
CONVERTED = ["clip", "bert"]

#: Largest difference from the reference, relative to its largest value.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `hub_samples` wrote in a separate process: this one stays without TensorFlow."""
    folder = tmp_path_factory.mktemp("hub")
    command = [sys.executable, "-m", "hub_samples", str(folder)]
    tests = Path(hub_samples.__file__).parent.parent
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def features(folder: Path) -> Mapping[str, np.ndarray]:
    with np.load(folder / "features.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "facts.json").read_text())


@pytest.fixture(scope="module")
def said(facts: dict[str, Any]) -> dict[str, Any]:
    return facts["said"]


def error(received: np.ndarray, expected: np.ndarray) -> float:
    assert received.shape == expected.shape
    return float(np.abs(received - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", IMAGES + TEXTS)
def test_features_are_those_of_the_network_as_other_code_runs_it(
    features: Mapping[str, np.ndarray], name: str
) -> None:
    expected = features[f"{name}/expected"]
    assert error(features[f"{name}/keras"], expected) < TOLERANCE
    # Otherwise they would say nothing of the input.
    assert error(features[f"{name}/other"], expected) > 10 * TOLERANCE


@pytest.mark.parametrize("name", CONVERTED)
def test_openvino_gives_the_same_features(features: Mapping[str, np.ndarray], name: str) -> None:
    assert error(features[f"{name}/openvino"], features[f"{name}/expected"]) < TOLERANCE


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "xlm-roberta"])
def test_texts_become_the_ids_that_kerashub_makes_of_them(facts: dict[str, Any], name: str) -> None:
    assert facts[name]["ids"] == facts[name]["expected_ids"]


@pytest.mark.parametrize("name", IMAGES + TEXTS)
def test_a_folder_describes_what_its_network_takes_before_it_is_opened(
    facts: dict[str, Any], name: str
) -> None:
    modality = "image" if name in IMAGES else "text"
    assert (facts[name]["known_modality"], facts[name]["modality"]) == (modality, modality)


@pytest.mark.parametrize(
    ("name", "size", "crop"),
    [("vit", [32, 32], 1.0), ("timm-resnet", [64, 64], 0.95), ("hf-vit", [32, 32], 0.8)],
)
def test_size_and_crop_are_those_that_a_folder_names(
    facts: dict[str, Any], name: str, size: list[int], crop: float
) -> None:
    assert (facts[name]["input_size"], facts[name]["crop"]) == (size, crop)


@pytest.mark.parametrize(("name", "most"), [("bert", 40), ("bert-pooled", 24), ("hf-bert", 20)])
def test_texts_are_as_long_as_declared_or_the_folder_says(
    facts: dict[str, Any], name: str, most: int
) -> None:
    assert facts[name]["input_size"] == [most]


@pytest.mark.parametrize(
    ("name", "file"), [("vit", "vit/model.weights.h5"), ("hf-bert", "hf-bert/model.safetensors")]
)
def test_the_digest_to_pin_is_that_of_the_file_of_weights(
    facts: dict[str, Any], folder: Path, name: str, file: str
) -> None:
    assert facts[name]["weights"] == hashlib.sha256((folder / file).read_bytes()).hexdigest()


def test_a_repository_is_downloaded_once_without_its_code_and_later_opened_without_a_network(
    facts: dict[str, Any], said: dict[str, Any]
) -> None:
    assert said["downloaded"] == said["offline"] == facts["hf-bert"]["weights"]
    served = set(said["served"])
    assert {"config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json"} <= served
    assert not served & {"modeling.py", "pytorch_model.bin"}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown repository", "Expected the files of hf://tiny/none. Received: "),
        ("unreachable", "Expected the files of hf://tiny/other. Received: "),
        ("unknown preset", "Expected a preset of KerasHub, a handle of Kaggle"),
        ("not installed", "Install it with: pip install 'headstart[kerashub]'"),
        ("too long", "Expected at most 40 tokens, the network's limit. Received: 41."),
        ("no such layer", "Expected a layer of the network: images, vit_patching_and_embedding, vit_encoder"),
        ("wrong size", "with images of 64 pixels instead of 32"),
        ("text as images", "Expected a network of images. Received: BertBackbone"),
        ("settings of images", "Received: size, a setting of images"),
        ("unknown scale", "The folder does not define how ViTBackbone scales pixels"),
    ],
)
def test_an_unavailable_network_is_reported(said: dict[str, Any], case: str, message: str) -> None:
    assert message in said[case]


@pytest.fixture(scope="module")
def declared(folder: Path) -> Path:
    """A file of declarations, with the folders next to it."""
    declared = folder / "backbones.toml"
    declared.write_text(
        """
[backbones.vit]
source = "kerashub:./vit"

[backbones.hf-bert]
source = "hf:./hf-bert"
"""
    )
    return declared


@pytest.fixture(scope="module")
def api(folder: Path, declared: Path) -> Iterator[Api]:
    """Of a server that has prepared them."""
    flags = [
        "--backbones-file",
        str(declared),
        "--default-backbone",
        "vit",
        "--backbone-cache",
        str(folder / "prepared"),
    ]
    with running(folder / "data", *flags) as server, Api.connect(server.target) as api:
        # Preparing runs at a low priority, next to other tests.
        server.wait_until_serving(300.0)

        def known() -> bool:
            listed = api.models.ListBackbones(model_service_pb2.ListBackbonesRequest(), timeout=TIMEOUT)
            facts = {backbone.backbone: backbone for backbone in listed.backbones}
            assert not any(status.problem for status in listed.statuses if status.backbone == "hf-bert")
            return bool(facts["hf-bert"].views)

        eventually(known, 300.0, "a backbone of texts")
        yield api


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", ["vit", "hf-bert"])
def test_what_a_server_prepared_gives_the_features_of_other_code(
    folder: Path, declared: Path, features: Mapping[str, np.ndarray], name: str
) -> None:
    runtimes = RuntimeSettings(
        kind=RuntimeKind.OPENVINO, precision=Precision.FLOAT32, streams=1, cache=folder / "prepared"
    )
    # In this process, from the server's cache: it is not prepared again.
    backbone = Catalog(read_declarations(declared), runtimes=runtimes).load(name)
    content = TEXT if backbone.info.modality is Modality.TEXT else golden_image()
    received = backbone.run(backbone.decode(content)[None])[LAST]
    assert error(received, features[f"{name}/expected"]) < TOLERANCE


def test_a_server_fine_tunes_on_a_declared_preset_of_images_and_answers(api: Api) -> None:
    job = api.published(digits((0, 1), 12), model="images")
    assert api.version("images", job.version).lineage.backbone == "vit"
    assert set(api.names("images", digit(0, 0), digit(1, 0))) == {"0", "1"}


def test_a_server_fine_tunes_on_a_declared_checkpoint_of_texts_and_answers(api: Api) -> None:
    def text(word: str, times: int) -> input_pb2.Input:
        return input_pb2.Input(text=" ".join([word] * times))

    # Random weights have no meaning: the classes are two words, which any weights separate.
    words = {"animal": "dog", "money": "$"}
    examples = [
        input_pb2.Example(input=text(word, times), label={"class_name": label})
        for label, word in words.items()
        for times in range(1, 9)
    ]
    job = api.published(examples, model="words", backbone="hf-bert")
    assert api.version("words", job.version).lineage.backbone == "hf-bert"
    request = predicting.PredictRequest(
        targets=[version_selector_pb2.VersionSelector(model="words")], inputs=[text("dog", 9), text("$", 9)]
    )
    answer = api.prediction.Predict(request, timeout=TIMEOUT)
    assert [one.classes[0].name for one in answer.results[0].predictions] == ["animal", "money"]
