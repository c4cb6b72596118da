"""Predicts that are looked at afterwards: drift of their inputs, and what a shadow would have answered."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import PATIENCE, make_head
from headstart_server.embedding.queue import RowFeatures
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.models.store import EXAMPLES_FILE
from headstart_server.models.traffic import Traffic
from headstart_server.models.version import Selector, TrafficSplit
from headstart_server.prediction.prediction_monitor import FEWEST, Drift, PredictionMonitor
from unit.prediction.test_evidence import evidence_of
from unit.prediction.test_predictor import Stall


class Looks:
    """Keeps what was seen."""

    def __init__(self) -> None:
        self.shifts: list[tuple[str, int, float]] = []
        self.shadows: list[tuple[str, int, int, int]] = []
        self.answers: list[tuple[str, int, float, float | None]] = []

    def feature_drift_measured(self, model: str, version: int, shift: float) -> None:
        self.shifts.append((model, version, shift))

    def prediction_drift_measured(
        self, model: str, version: int, shift: float, confidence: float | None
    ) -> None:
        self.answers.append((model, version, shift, confidence))

    def shadow_compared(self, model: str, shadow: int, agreed: int, differed: int) -> None:
        self.shadows.append((model, shadow, agreed, differed))


@pytest.fixture
def stall(tmp_path: Path) -> Iterator[Stall]:
    stall = Stall(tmp_path)
    stall.load()
    yield stall
    stall.publisher.close()


@pytest.fixture
def seen() -> Looks:
    return Looks()


async def look(
    stall: Stall, seen: Looks, contents: list[bytes], monitor: PredictionMonitor | None = None
) -> None:
    """Predict, and let the monitor look at it to the end."""
    monitor = monitor or PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    predicted = await stall.predict(contents, with_features=True)
    (features,) = predicted.features
    rows = [
        RowFeatures(views={name: view[place] for name, view in features.views.items()})
        for place in range(len(contents))
    ]
    future = monitor.sample(predicted.predictions[0], rows)
    if future is not None:
        import asyncio

        await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)


# Drift


def features(count: int, seed: int, moved: float = 0.0) -> np.ndarray:
    """Rows of positive features, as those of a backbone are; `moved` moves half of the features of all."""
    rows = np.abs(np.random.default_rng(seed).normal(size=(count, 64))).astype(np.float32)
    rows[:, :32] += moved
    return rows


def drift() -> Drift:
    names = [f"{place:04d}" for place in range(200)]
    known = fit_typicality_model({"last": features(200, seed=0)}, ("last",), names, names)
    assert known is not None
    return Drift(known)


def rows_of(matrix: np.ndarray) -> list[RowFeatures]:
    return [RowFeatures(views={"last": row}) for row in matrix]


@pytest.mark.parametrize("count", [30, 300, 3000])
def test_inputs_like_the_training_examples_have_hardly_shifted(count: int):
    same = drift()
    same.add(rows_of(features(count, seed=1)))

    assert same.shift < 0.1


def test_inputs_of_another_kind_have_the_more_the_further_they_are():
    near, far = drift(), drift()
    near.add(rows_of(features(300, seed=1, moved=0.5)))
    far.add(rows_of(features(300, seed=1, moved=2.0)))

    assert 0.2 < near.shift < far.shift


def test_what_came_long_ago_counts_no_more():
    changed = drift()
    changed.add(rows_of(features(3000, seed=1, moved=2.0)))
    before = changed.shift
    changed.add(rows_of(features(6000, seed=2)))

    assert changed.shift < before / 10


async def test_drift_is_reported_once_enough_inputs_have_come(stall: Stall, seen: Looks):
    stall.publisher.publish(files=evidence_of(stall))
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    words = [b"cat:%d" % place for place in range(6)]
    for _ in range(FEWEST // 6 - 1):
        await look(stall, seen, words, monitor)
    assert seen.shifts == []

    await look(stall, seen, words, monitor)
    ((model, version, shift),) = seen.shifts
    assert (model, version) == ("pets", 1)
    assert shift >= 0.0


async def test_a_version_that_keeps_nothing_of_its_training_features_has_no_drift(stall: Stall, seen: Looks):
    stall.publisher.publish()
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    for _ in range(FEWEST):
        await look(stall, seen, [b"cat:1"], monitor)

    assert seen.shifts == []


def reported_files(*labels: str) -> dict[str, bytes]:
    """The list of a version that reported these classes about its examples."""
    examples = [
        StoredExample(
            target=Target.of_label(label), id="", held_out=False, digest=f"{place:064d}", kind="image"
        )
        for place, label in enumerate(labels)
    ]
    outcomes = [PredictionOutcome(labels=(label,), probability=0.9, loss=0.1) for label in labels]
    return {EXAMPLES_FILE: ExampleList(examples=examples, outcomes=outcomes).to_bytes()}


async def test_a_move_of_answers_is_reported_once_enough_inputs_have_come(stall: Stall, seen: Looks):
    stall.publisher.publish(files=reported_files(*["class 0", "class 1", "class 2"] * 10))
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    for _ in range(FEWEST // 6 - 1):
        await look(stall, seen, [b"cat:1"] * 6, monitor)
    assert seen.answers == []

    await look(stall, seen, [b"cat:1"] * 6, monitor)
    ((model, version, shift, confidence),) = seen.answers
    assert (model, version, confidence) == ("pets", 1, None)
    # Always the same class, where each was expected as often.
    assert shift > 1
    assert seen.shifts == []


async def test_a_version_with_a_damaged_list_is_not_followed_and_not_read_again(stall: Stall, seen: Looks):
    stall.publisher.publish(alias="shadow")
    stall.publisher.publish(files={EXAMPLES_FILE: b"no list"})
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    for _ in range(FEWEST):
        await look(stall, seen, [b"cat:1"], monitor)

    assert seen.answers == []
    assert len(seen.shadows) == FEWEST


# Shadows


async def test_a_shadow_predicts_on_the_same_features_and_no_caller_sees_it(stall: Stall, seen: Looks):
    stall.publisher.publish(head=make_head(seed=1), alias="shadow")
    stall.publisher.publish(head=make_head(seed=0))
    words = [b"cat:1", b"dog:2", b"emu:3", b"fox:4"]
    both = await stall.predict(words, [Selector(model="pets"), Selector(model="pets", alias="shadow")])
    own, theirs = (answer.indexes[:, 0].tolist() for answer in both.predictions)
    agreed = sum(one == other for one, other in zip(own, theirs, strict=True))
    ran = stall.backbones["fake"].decoded.total()

    await look(stall, seen, words)
    assert seen.shadows == [("pets", 1, agreed, len(words) - agreed)]
    # The call itself has decoded them again; the shadow has not.
    assert stall.backbones["fake"].decoded.total() == ran + len(words)


async def test_a_shadow_of_the_same_head_always_agrees(stall: Stall, seen: Looks):
    stall.publisher.publish(alias="shadow")
    stall.publisher.publish()
    await look(stall, seen, [b"cat:1", b"dog:2"])

    assert seen.shadows == [("pets", 1, 2, 0)]


@pytest.mark.parametrize("fields", [{}, {"backbone": "other", "backbone_digest": "c" * 64}])
async def test_without_a_shadow_on_the_same_backbone_nothing_is_reported(
    stall: Stall, seen: Looks, fields: dict[str, str]
):
    if fields:
        stall.publisher.publish(alias="shadow", **fields)
    stall.publisher.publish()
    await look(stall, seen, [b"cat:1"])

    assert seen.shadows == []


# Traffic splits


async def test_both_versions_of_a_traffic_split_are_compared_whichever_answered(stall: Stall, seen: Looks):
    registry = stall.publisher.registry
    stall.publisher.publish(head=make_head(seed=1))
    stall.publisher.publish(head=make_head(seed=0))
    words = [b"cat:1", b"dog:2", b"emu:3", b"fox:4"]
    both = await stall.predict(words, [Selector(model="pets", number=number) for number in (1, 2)])
    own, theirs = (answer.indexes[:, 0].tolist() for answer in both.predictions)
    agreed = sum(one == other for one, other in zip(own, theirs, strict=True))
    traffic = Traffic(stall.publisher.database, "one")
    monitor = PredictionMonitor(registry, seen, share=1.0, shadow_alias="shadow", traffic=traffic)

    await look(stall, seen, words, monitor)
    registry.set_alias("pets", "stable", 1, shares=[TrafficSplit(number=2, fraction=0.1)])
    # Version 2 answers, and then version 1.
    await look(stall, seen, words, monitor)
    registry.set_alias("pets", "stable", 2, shares=[TrafficSplit(number=1, fraction=0.1)])
    await look(stall, seen, words, monitor)
    traffic.write()

    versions = stall.publisher.registry.reader.traffic_window("pets", 60.0).versions
    assert {number: (each.compared, each.agreed) for number, each in versions.items()} == {
        1: (4, agreed),
        2: (4, agreed),
    }
    assert seen.shadows == []


# How often


async def test_only_the_share_is_looked_at(stall: Stall, seen: Looks):
    stall.publisher.publish(alias="shadow")
    stall.publisher.publish()
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=0.25, shadow_alias="shadow")
    for _ in range(8):
        await look(stall, seen, [b"cat:1"], monitor)

    assert len(seen.shadows) == 2


async def test_a_fault_of_looking_is_nobodys_error(
    stall: Stall, seen: Looks, monkeypatch: pytest.MonkeyPatch
):
    stall.publisher.publish(files=evidence_of(stall))
    monitor = PredictionMonitor(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
    with monkeypatch.context() as broken:
        broken.setattr(seen, "feature_drift_measured", None)
        for _ in range(FEWEST):
            await look(stall, seen, [b"cat:1"], monitor)
    await look(stall, seen, [b"cat:1"], monitor)

    assert len(seen.shifts) == 1


async def test_a_predictor_shows_its_answers_to_the_monitor(stall: Stall, seen: Looks):
    from headstart_server.prediction.predictor import Predictor
    from headstart_server.prediction.recorder import PredictionRecorder

    stall.publisher.publish(alias="shadow")
    stall.publisher.publish()
    noticed = []

    class Sampling(PredictionMonitor):
        def sample(self, answer, rows):
            future = super().sample(answer, rows)
            noticed.append(future)
            return future

    stall.predictor = Predictor(
        stall.predictor.versions,
        stall.pool,
        max_inputs=8,
        max_input_bytes=1000,
        clock=stall.clock,
        recorder=PredictionRecorder(
            monitor=Sampling(stall.publisher.registry, seen, share=1.0, shadow_alias="shadow")
        ),
    )
    await stall.predict([b"cat:1", b"dog:2"])
    noticed[0].result(PATIENCE)

    assert seen.shadows == [("pets", 1, 2, 0)]
