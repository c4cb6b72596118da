"""Tails of the real networks: cut, trained and run, against the network that they are a part of."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind
from headstart_server.backbones.contract.tail import Float32, TailMismatch, TailWeights
from headstart_server.backbones.contract.tail_training import Loss, TailRequest, TailResult, TrainingStop
from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.runtimes.keras_tail import taken
from headstart_server.backbones.runtimes.keras_training import mean_loss
from prepared import prepared_settings

# TensorFlow warns about its own parts at import; nothing here depends on them.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.timeout(300)]

NAMES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
NAME = NAMES[0]
#: Largest difference to the network's own features, relative to the largest of them.
TOLERANCES = {Precision.FLOAT32: 1e-4, Precision.BFLOAT16: 2e-2}


@cache
def load(precision: Precision, kind: RuntimeKind = RuntimeKind.OPENVINO, name: str = NAME) -> Backbone:
    return Catalog(runtimes=prepared_settings(precision, kind)).load(name)


def images(backbone: Backbone, count: int = 11) -> NDArray[np.generic]:
    base = backbone.decode(golden_image())
    return np.stack([np.roll(base, (7 * place, 11 * place), axis=(0, 1)) for place in range(count)])


def cuts(backbone: Backbone) -> set[str]:
    return {plan.cut.name for plan in backbone.info.tails.values()}


@cache
def network(name: str) -> Any:
    return Catalog().network(name)


def untouched(name: str, blocks: int) -> TailWeights:
    """The weights of the backbone itself, as a separate tail."""
    return taken(network(name), Catalog().info(name).tails[blocks])


@pytest.fixture(scope="module", params=[Precision.FLOAT32, Precision.BFLOAT16])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load(request.param)


@pytest.mark.parametrize(
    "name", [NAME, *(pytest.param(name, marks=pytest.mark.thorough) for name in NAMES[1:])]
)
@pytest.mark.parametrize("precision", TOLERANCES)
def test_an_untouched_tail_gives_the_features_of_its_backbone(name: str, precision: Precision) -> None:
    backbone = load(precision, name=name)
    views = backbone.run(images(backbone), cuts(backbone))
    for blocks, plan in backbone.info.tails.items():
        assert views[plan.cut.name].shape == (11, *plan.cut.shape)
        features = backbone.tail(untouched(name, blocks)).run(views[plan.cut.name])
        assert features.dtype == np.float32
        error = np.abs(features - views["last"]).max() / np.abs(views["last"]).max()
        assert error <= TOLERANCES[precision], blocks


def test_asking_for_activations_changes_no_feature(backbone: Backbone) -> None:
    rows = images(backbone)
    plain = backbone.run(rows)
    for wanted in (cuts(backbone), {"cut6"}):
        views = backbone.run(rows, wanted)
        assert views.keys() == {*plain, *wanted}
        assert all(np.array_equal(views[view], plain[view]) for view in plain)


def test_a_row_through_a_tail_does_not_depend_on_its_batch(backbone: Backbone) -> None:
    rows = images(backbone)
    for blocks, plan in backbone.info.tails.items():
        activations = backbone.run(rows, [plan.cut.name])[plan.cut.name]
        tail = backbone.tail(untouched(NAME, blocks))
        together = tail.run(activations)
        for size in (1, 2, 3, 8):
            starts = range(0, len(rows), size)
            parts = [tail.run(activations[start : start + size]) for start in starts]
            assert np.array_equal(np.concatenate(parts), together)


def test_keras_and_openvino_give_the_same_features_of_a_tail() -> None:
    one, other = load(Precision.FLOAT32), load(Precision.FLOAT32, RuntimeKind.KERAS)
    rows = images(one)
    weights = untouched(NAME, 2)
    moved = replace(weights, tensors={name: 1.1 * tensor for name, tensor in weights.tensors.items()})
    cut = one.info.tails[2].cut.name
    received = other.tail(moved).run(other.run(rows, [cut])[cut])
    expected = one.tail(moved).run(one.run(rows, [cut])[cut])
    assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()
    assert not np.allclose(expected, one.run(rows)["last"], rtol=0.01)


@pytest.mark.parametrize("kind", RuntimeKind)
def test_weights_of_another_shape_are_refused(kind: RuntimeKind) -> None:
    backbone = load(Precision.FLOAT32, kind)
    weights = untouched(NAME, 1)
    with pytest.raises(TailMismatch, match="Tensor head/kernel is missing"):
        backbone.tail(TailWeights(blocks=1, tensors=_without(weights, "head/kernel")))
    wrong = {**weights.tensors, "head/bias": np.zeros(3, np.float32)}
    with pytest.raises(TailMismatch, match=r"Expected a tensor of shape .* Received: \[3\]"):
        backbone.tail(TailWeights(blocks=1, tensors=wrong))
    with pytest.raises(TailMismatch, match=r"a tail of 1, 2, 3 blocks\. Received: 9"):
        backbone.tail(TailWeights(blocks=9, tensors={}))


def _without(weights: TailWeights, name: str) -> dict[str, Float32]:
    return {known: tensor for known, tensor in weights.tensors.items() if known != name}


# Training


def negatives(backbone: Backbone) -> NDArray[np.generic]:
    rows = images(backbone, 20)
    rows[10:] = 255 - rows[10:]
    return rows


def request(
    backbone: Backbone, folder: Path, *, blocks: int = 1, loss: Loss = Loss.SOFTMAX, **changes: object
) -> TailRequest:
    """Half of the images are negatives; heads begin with nothing."""
    plan = backbone.info.tails[blocks]
    activations = backbone.run(negatives(backbone), [plan.cut.name])[plan.cut.name]
    np.save(folder / "activations.npy", activations.astype(np.float16))
    targets = np.eye(2, dtype=np.float32)[np.arange(20) // 10]
    fields = {
        "blocks": blocks,
        "activations": folder / "activations.npy",
        "rows": np.arange(20),
        "fixed_features": np.zeros((20, 0), np.float32),
        "targets": targets,
        "weights": np.ones(20, np.float32),
        "loss": loss,
        "folds": np.arange(20) % 2,
        "heads": np.zeros((3, 1281, 2), np.float32),
        "learning_rate": 1e-3,
        "max_epochs": 3,
        "patience": 3,
        "batch": 8,
        "seed": 0,
    }
    return TailRequest(**{**fields, **changes})


def train(backbone: Backbone, wanted: TailRequest) -> TailResult:
    return backbone.train_tail(wanted, lambda epoch: None, lambda: None)


#: Blocks and loss of the tail that `make test` trains.
TRAINED = (2, Loss.SIGMOID)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TailResult:
    """Train one tail; starting TensorFlow takes most of it."""
    backbone = load(Precision.FLOAT32)
    blocks, loss = TRAINED
    return train(backbone, request(backbone, tmp_path_factory.mktemp("tail"), blocks=blocks, loss=loss))


@pytest.mark.parametrize(
    ("blocks", "loss"),
    [
        pytest.param(1, Loss.SOFTMAX, marks=pytest.mark.thorough),
        TRAINED,
        pytest.param(3, Loss.SQUARED, marks=pytest.mark.thorough),
    ],
)
def test_training_moves_its_blocks_alone_and_is_served_as_it_was_trained(
    tmp_path: Path, trained: TailResult, blocks: int, loss: Loss
) -> None:
    backbone = load(Precision.FLOAT32)
    wanted = request(backbone, tmp_path, blocks=blocks, loss=loss)
    result = trained if (blocks, loss) == TRAINED else train(backbone, wanted)
    assert result.losses[result.epoch] < result.losses[0]
    own = untouched(NAME, blocks)
    assert result.tail.tensors.keys() == own.tensors.keys()
    for name, tensor in result.tail.tensors.items():
        assert not np.array_equal(tensor, own.tensors[name])
        assert np.abs(tensor - own.tensors[name]).max() < 0.05
    cut = backbone.info.tails[blocks].cut.name
    features = backbone.tail(result.tail).run(backbone.run(negatives(backbone), [cut])[cut])
    scores = features @ result.head[:-1] + result.head[-1]
    assert mean_loss(scores, wanted) < result.losses[0]


def test_the_same_seed_gives_the_same_tail_bit_by_bit(tmp_path: Path, trained: TailResult) -> None:
    backbone = load(Precision.FLOAT32)
    blocks, loss = TRAINED
    wanted = request(backbone, tmp_path, blocks=blocks, loss=loss)
    second = train(backbone, wanted)
    assert trained.losses == second.losses
    assert trained.head.tobytes() == second.head.tobytes()
    assert all(
        tensor.tobytes() == second.tail.tensors[name].tobytes()
        for name, tensor in trained.tail.tensors.items()
    )
    other = train(backbone, replace(wanted, seed=1))
    assert other.head.tobytes() != trained.head.tobytes()


def test_training_ends_with_its_time_and_with_a_tail_that_is_the_backbones(tmp_path: Path) -> None:
    # In this process, which has imported TensorFlow already.
    backbone = load(Precision.FLOAT32, RuntimeKind.KERAS)
    result = train(backbone, request(backbone, tmp_path, seconds=0.001))
    assert (result.epoch, result.stop, len(result.losses)) == (0, TrainingStop.TIME, 1)
    own = untouched(NAME, 1)
    assert all(np.array_equal(result.tail.tensors[name], own.tensors[name]) for name in own.tensors)
