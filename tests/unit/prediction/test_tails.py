"""Versions with blocks of their own: they share the backbone's pass up to the cut, and nothing after it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes import make_head, make_tail
from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.errors import ArtifactDamaged, DeadlineExceeded
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.store import TAIL_FILE
from headstart_server.models.version import Selector
from unit.prediction.test_predictor import Stall

CONTENTS = [b"cat:1", b"dog:2", b"emu:3"]


@pytest.fixture
def stall(tmp_path: Path) -> Iterator[Stall]:
    stall = Stall(tmp_path)
    stall.load("fake")
    yield stall
    stall.publisher.close()


def expected(stall: Stall, bias: float, contents: Sequence[bytes] = CONTENTS) -> Float32:
    """Probabilities of `make_head` on features that a tail has moved."""
    backbone = stall.backbones["fake"]
    rows = np.stack([backbone.decode(content) for content in contents])
    return make_head().outputs({"last": rows + np.float32(bias)})


def by_class(answer: object) -> Float32:
    places = np.argsort(answer.indexes, axis=1)
    return np.take_along_axis(answer.probabilities, places, axis=1)


async def test_tails_and_plain_versions_of_one_call_share_one_pass_of_the_backbone(stall: Stall) -> None:
    plain = stall.publisher.publish()
    first = stall.publisher.publish(tail=make_tail(bias=1.0))
    second = stall.publisher.publish(tail=make_tail(bias=-2.0))
    deeper = stall.publisher.publish(tail=make_tail(blocks=2, bias=0.5))
    selectors = [Selector(model="pets", number=number) for number in (plain, first, second, deeper)]
    answered = await stall.predict(CONTENTS, selectors)
    for answer, bias in zip(answered.predictions, (0.0, 1.0, -2.0, 0.5), strict=True):
        assert np.allclose(by_class(answer), expected(stall, bias), atol=1e-5)
    assert sum(stall.backbones["fake"].batches) == len(CONTENTS)
    assert set(stall.backbones["fake"].cuts) == {frozenset({"cut1", "cut2"})}


async def test_a_call_without_tails_asks_for_no_activations(stall: Stall) -> None:
    stall.publisher.publish(tail=make_tail())
    plain = stall.publisher.publish()
    await stall.predict(CONTENTS, [Selector(model="pets", number=plain)])
    assert set(stall.backbones["fake"].cuts) == {frozenset()}


async def test_activations_are_no_features(stall: Stall) -> None:
    stall.publisher.publish(tail=make_tail())
    (features,) = (await stall.predict(CONTENTS, with_features=True)).features
    assert features.views.keys() == {"last", "taps"}
    assert np.array_equal(features.views["last"], [stall.backbones["fake"].decode(one) for one in CONTENTS])


async def test_a_tail_is_made_ready_once(stall: Stall) -> None:
    stall.publisher.publish(tail=make_tail())
    for _ in range(3):
        await stall.predict(CONTENTS)
    assert stall.backbones["fake"].tails_made == 1


async def test_many_inputs_of_a_tail_are_answered_in_their_order(stall: Stall) -> None:
    stall.publisher.publish(tail=make_tail())
    many = [b"pet:%d" % place for place in range(8)]
    for contents in (many, many[::-1], many[:1]):
        answered = await stall.predict(contents)
        assert np.allclose(by_class(answered.predictions[0]), expected(stall, 1.0, contents), atol=1e-5)


async def test_damage_to_a_tail_is_its_own_versions_alone(stall: Stall) -> None:
    broken = stall.publisher.publish(tail=make_tail(), job_id="broken")
    fine = stall.publisher.publish(tail=make_tail())
    path = stall.publisher.folder / "versions" / "broken.1" / TAIL_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactDamaged, match=r"digest of its tail.safetensors"):
        await stall.predict(CONTENTS, [Selector(model="pets", number=broken)])
    answered = await stall.predict(CONTENTS, [Selector(model="pets", number=fine)])
    assert np.allclose(by_class(answered.predictions[0]), expected(stall, 1.0), atol=1e-5)


async def test_a_tail_that_does_not_fit_its_backbone_is_damage(stall: Stall) -> None:
    stall.publisher.publish(tail=TailWeights(blocks=1, tensors={"other": np.zeros(1, np.float32)}))
    with pytest.raises(
        ArtifactDamaged, match=r"its tail does not fit its backbone. Tensor top/bias is missing"
    ):
        await stall.predict(CONTENTS)


async def test_a_deadline_that_passes_before_the_tail_is_reported(stall: Stall) -> None:
    stall.publisher.publish(tail=make_tail())
    backbone = stall.backbones["fake"]
    backbone.before_run = lambda rows: stall.clock.advance(10)
    with pytest.raises(DeadlineExceeded):
        await stall.predict(CONTENTS, deadline=stall.clock() + 5)
