"""The backbone of texts against a forward pass written in PyTorch, from the same weights."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import LAST, TAPS
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)
from headstart_server.backbones.networks.card import Card, digest_of
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.texts import TextDecoder
from headstart_server.backbones.runtimes.keras_runtime import KerasRuntime
from headstart_server.backbones.runtimes.openvino_runtime import OpenVinoRuntime
from headstart_server.backbones.sources.registry import source_of
from headstart_server.backbones.sources.sentence_bert import MINILM, folder_of
from prepared import prepared_settings

# PyTorch and TensorFlow warn of their own parts at import; nothing here depends on them.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

#: Changed only together with what the features mean: stored heads are bound to it.
DIGEST = "dddca010b592cfe3d3ba602e8cce9e320cb4150cad29bfd521c93ddd35a0e053"

#: Of each length of rows one, and two of the shortest.
TEXTS = (
    "A short one.",
    "Ünïcode, 日本語 and 😀 have no words of their own.",
    "Twenty words or so are needed for a row of the second length, " * 2,
    "The third length holds sixty-four tokens, which is a sentence or two of ordinary prose. " * 3,
    "The fourth is for paragraphs. " * 15,
    "And the last one for whatever is longer, up to the end of what the network was trained to take. " * 30,
)


INFO = Catalog().info(MINILM.name)


@cache
def decoder() -> TextDecoder:
    folder = folder_of(MINILM)
    return TextDecoder(folder.tokenizer.read_text(), max_tokens=folder.max_tokens())


@cache
def rows() -> list[NDArray[np.int32]]:
    return [decoder().decode(text) for text in TEXTS]


@cache
def reference(place: int) -> dict[str, NDArray[np.float32]]:
    """The views of a text, by the formulas of the papers, without padding."""
    import torch
    from torch.nn import functional

    shape = folder_of(MINILM).shape()
    weights = {name: torch.tensor(each) for name, each in folder_of(MINILM).state().items()}
    row = rows()[place]
    ids = torch.tensor(row[row != shape.pad_id]).long()

    def linear(x: Any, name: str) -> Any:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def normalized(x: Any, name: str) -> Any:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(x, (shape.width,), weight, bias, shape.epsilon)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normalized(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    pooled = []
    for number in range(shape.layers):
        name = f"encoder.layer.{number}"
        query, key, value = (
            linear(x, f"{name}.attention.self.{part}").view(len(ids), shape.heads, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = linear(attended.transpose(0, 1).flatten(1), f"{name}.attention.output.dense")
        x = normalized(x + attended, f"{name}.attention.output.LayerNorm")
        inner = functional.gelu(linear(x, f"{name}.intermediate.dense"))
        x = normalized(x + linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        pooled.append(x.mean(0))
    taps = torch.cat([pooled[layer - 1] for layer in shape.taps])
    return {LAST: functional.normalize(pooled[-1], dim=0).numpy(), TAPS: taps.numpy()}


@cache
def opened() -> Network:
    return source_of(MINILM).open(MINILM, default_cache())


@pytest.fixture(scope="module")
def converted() -> Path:
    return Catalog(runtimes=prepared_settings()).conversion(MINILM.name)


@cache
def on_openvino(path: Path, precision: Precision = Precision.FLOAT32) -> OpenVinoRuntime:
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=precision, streams=2)
    return OpenVinoRuntime(path, settings.settled())


def relative_error(received: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(received - expected).max() / np.abs(expected).max())


def test_metadata_without_the_package_agrees_with_its_files() -> None:
    folder = folder_of(MINILM)
    assert folder.shape().view_sizes() == INFO.views
    assert INFO.input_size == (folder.max_tokens(),)
    unused = ("pooler.", "embeddings.position_ids")
    used = [each.size for name, each in folder.state().items() if not name.startswith(unused)]
    assert INFO.parameter_count == sum(used)


def test_the_digest_is_the_same_wherever_it_is_loaded(converted: Path) -> None:
    assert digest_of(opened()) == Card.read(converted.parent).digest == DIGEST


def test_there_is_a_text_of_each_length() -> None:
    assert sorted({len(row) for row in rows()}) == list(decoder().lengths)


@pytest.mark.parametrize("place", range(len(TEXTS)))
def test_features_in_keras_and_openvino_equal_those_of_pytorch(place: int, converted: Path) -> None:
    expected, row = reference(place), rows()[place][None]
    in_keras = {name: np.asarray(each) for name, each in opened().model(row).items()}
    for views, tolerance in ((in_keras, 1e-5), (on_openvino(converted).run(row), 1e-4)):
        assert views.keys() == expected.keys()
        for name, features in views.items():
            assert features.dtype == np.float32
            assert relative_error(features[0], expected[name]) < tolerance, name


def test_bfloat16_features_point_the_same_way(converted: Path) -> None:
    runtime = on_openvino(converted, Precision.BFLOAT16)
    for place, row in enumerate(rows()):
        for name, features in runtime.run(row[None]).items():
            expected = reference(place)[name]
            cosine = features[0] @ expected / np.linalg.norm(features[0]) / np.linalg.norm(expected)
            assert cosine > 0.995, (place, name)


@pytest.mark.parametrize(
    "precision",
    [
        Precision.FLOAT32,
        Precision.BFLOAT16,
        # One of the other two, without quantized weights.
        pytest.param(Precision.INT8, marks=pytest.mark.thorough),
    ],
)
def test_a_row_on_openvino_does_not_depend_on_its_batch_or_on_who_else_runs(
    converted: Path, precision: Precision
) -> None:
    runtime = on_openvino(converted, precision)
    batches = [
        np.stack([row, *(np.roll(row, turn) for turn in range(1, count))])
        for row in rows()[:5]
        for count in (1, 2, 3, 8)
    ]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(runtime.run, batches))
    for batch, views in zip(batches, together, strict=True):
        for place, row in enumerate(batch):
            alone = runtime.run(row[None])
            assert all(np.array_equal(views[name][place], alone[name][0]) for name in views)


def test_a_row_in_keras_does_not_depend_on_its_batch() -> None:
    settings = RuntimeSettings(kind=RuntimeKind.KERAS, precision=Precision.FLOAT32)
    runtime = KerasRuntime(opened().model, settings.settled())
    for row in (rows()[0], rows()[2]):
        batch = np.stack([np.roll(row, turn) for turn in range(7)])
        together = runtime.run(batch)
        alone = [runtime.run(each[None]) for each in batch]
        for name, features in together.items():
            assert np.array_equal(features, np.concatenate([views[name] for views in alone])), name
