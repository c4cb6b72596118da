"""From inputs and selectors to answers: one pass for all, and errors that name the input."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from fakes import PATIENCE, FakeBackbone, FakeSource, ManualClock, Publisher, Recorder, make_head
from headstart_server.backbones.contract.backbone import Content, Modality
from headstart_server.backbones.contract.vectors import TensorDecoder
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, LaneQueue, RowFeatures
from headstart_server.errors import (
    AliasNotFound,
    BackboneMismatch,
    BackboneNotFound,
    BackboneQueueFull,
    BackboneUnavailable,
    DeadlineExceeded,
    Draining,
    HeadstartError,
    InputTooLarge,
    InvalidField,
    Loading,
    ModelNotFound,
    ModelNotReady,
    UndecodableInput,
    VersionNotFound,
    WrongModality,
)
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head, HiddenLayer
from headstart_server.learning.heads.recipe import Mlp, Ridge
from headstart_server.models.version import Selector
from headstart_server.prediction.head_predictions import rows_without_numbers
from headstart_server.prediction.input_faults import too_large
from headstart_server.prediction.predict_options import PredictOptions
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.version_prediction import (
    PredictResult,
    VersionPrediction,
    predict_version,
    work_per_input,
)
from headstart_server.prediction.version_resolver import VersionResolver

Answered = TypeVar("Answered")

MAX_INPUT_BYTES = 200
PETS = [Selector(model="pets")]


class Stall:
    """A predictor with versions to ask; what would be threads is done when the test says so.

    Args:
        folder: of its versions.
        threads: of each batcher; 0 leaves its turns to the test.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        self.threads = threads
        self.clock = ManualClock(100.0)
        self.publisher = Publisher(folder, ManualClock())
        self.backbones = {
            name: FakeBackbone(name, modality=modality, digest=digit * 64)
            for name, modality, digit in (
                ("fake", Modality.IMAGE, "b"),
                ("other", Modality.IMAGE, "c"),
                ("table", Modality.TENSOR, "e"),
            )
        }
        self.queues: dict[str, LaneQueue] = {}
        self.batchers: dict[str, Batcher] = {}
        self.source = FakeSource(*self.backbones.values())
        self.pool = BackbonePool(self.source, self._embedder, "fake")
        self.under_way: set[str] = set()
        self.predictor = Predictor(
            VersionResolver(self.publisher.registry, self.under_way.__contains__),
            self.pool,
            max_inputs=8,
            max_input_bytes=MAX_INPUT_BYTES,
            clock=self.clock,
        )

    def _embedder(self, backbone: FakeBackbone) -> Embedder:
        name = backbone.info.name
        self.queues[name] = LaneQueue(BatchSizes(8, 1))
        self.batchers[name] = Batcher(
            backbone.run, self.queues[name], Recorder(), threads=self.threads, clock=self.clock
        )
        self.batchers[name].start()
        return Embedder(backbone, self.batchers[name], FeatureCache(0), max_pending=10)

    def load(self, *names: str) -> None:
        for name in names or self.backbones:
            self.pool.load(name)

    def work(self) -> None:
        """What the threads of a server would do by now."""
        for batcher in list(self.batchers.values()):
            while batcher.step():
                pass

    @property
    def pending(self) -> int:
        return sum(embedder.pending for embedder in self.pool.all_loaded())

    async def predict(
        self,
        contents: Sequence[Content],
        selectors: Sequence[Selector] = PETS,
        *,
        deadline: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
        **requested: Any,
    ) -> PredictResult:
        """Predict, with the threads' work done whenever the call waits for it."""
        call = self.predictor.predict(selectors, contents, PredictOptions(**requested), deadline=deadline)
        return await self.answered(call, meanwhile)

    async def answered(
        self, work: Coroutine[Any, Any, Answered], meanwhile: Callable[[], None] = lambda: None
    ) -> Answered:
        """Await a call, with the threads' work done whenever it waits for it."""
        call = asyncio.create_task(work)
        while not call.done():
            await asyncio.wait([call], timeout=0.001)
            meanwhile()
            self.work()
        return call.result()


@pytest.fixture
def stall(tmp_path: Path) -> Iterator[Stall]:
    stall = Stall(tmp_path)
    yield stall
    stall.publisher.close()


async def refusal(
    stall: Stall, kind: type[HeadstartError], contents: Sequence[Content], *args: object, **fields: object
) -> HeadstartError:
    with pytest.raises(kind) as caught:
        await stall.predict(contents, *args, **fields)
    assert type(caught.value) is kind
    assert stall.pending == 0
    return caught.value


# Answers


async def test_an_answer_is_the_heads_on_the_features_of_each_input(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish(head=make_head(seed=4))
    contents = [b"a", b"b", b"c"]
    predicted = await stall.predict(contents, with_features=True)
    backbone, head = stall.backbones["fake"], make_head(seed=4)
    features = backbone.run(np.stack([backbone.decode(content) for content in contents]))
    (answer,) = predicted.predictions
    expected = head.outputs(features)
    order = np.argsort(-expected, axis=1)
    np.testing.assert_array_equal(answer.indexes, order)
    np.testing.assert_allclose(answer.probabilities, np.take_along_axis(expected, order, 1), rtol=1e-5)
    assert (answer.version.model, answer.version.number) == ("pets", 1)
    (given,) = predicted.features
    assert given.backbone == "fake"
    np.testing.assert_array_equal(given.views["last"], features["last"])
    np.testing.assert_array_equal(given.views["taps"], features["taps"])
    assert stall.pending == 0


async def test_several_versions_on_one_backbone_share_one_pass(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish(head=make_head(seed=1), alias="stable")
    stall.publisher.publish(
        head=make_head(seed=2, classes=5, view="taps", size=3), recipe=Ridge(views=("taps",))
    )
    stall.publisher.publish("cars", head=make_head(seed=3))
    selectors = [
        Selector(model="pets"),
        Selector(model="cars"),
        Selector(model="pets", alias="stable"),
        Selector(model="pets", number=1),
    ]
    predicted = await stall.predict([b"a", b"b"], selectors, with_features=True)
    assert [(answer.version.model, answer.version.number) for answer in predicted.predictions] == [
        ("pets", 2),
        ("cars", 1),
        ("pets", 1),
        ("pets", 1),
    ]
    assert sum(stall.backbones["fake"].batches) == 2
    assert set(stall.backbones["fake"].decoded.values()) == {1}
    assert len(predicted.features) == 1
    assert [answer.indexes.shape for answer in predicted.predictions] == [(2, 5), (2, 3), (2, 3), (2, 3)]
    np.testing.assert_array_equal(
        predicted.predictions[2].probabilities, predicted.predictions[3].probabilities
    )


async def test_versions_on_several_backbones_run_each_once(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    stall.publisher.publish("cars", backbone="other", backbone_digest="c" * 64)
    predicted = await stall.predict(
        [b"a"], [Selector(model="pets"), Selector(model="cars")], with_features=True
    )
    assert [stall.backbones[name].batches for name in ("fake", "other")] == [[1], [1]]
    assert [features.backbone for features in predicted.features] == ["fake", "other"]


async def test_the_backbones_of_a_call_run_concurrently(tmp_path: Path) -> None:
    stall = Stall(tmp_path, threads=1)
    stall.load()
    stall.publisher.publish()
    stall.publisher.publish("cars", backbone="other", backbone_digest="c" * 64)
    # Each pass ends only after the other one has begun, so one after the other would never end.
    together = threading.Barrier(2)
    for name in ("fake", "other"):
        stall.backbones[name].before_run = lambda _: together.wait(PATIENCE)
    selectors = [Selector(model="pets"), Selector(model="cars")]
    async with asyncio.timeout(PATIENCE):
        predicted = await stall.predictor.predict(selectors, [b"a"], PredictOptions(), deadline=None)
    assert [each.version.model for each in predicted.predictions] == ["pets", "cars"]
    assert not together.broken
    stall.pool.close()
    stall.publisher.close()


async def test_no_backbone_runs_if_one_does_not_take_the_inputs(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    stall.publisher.publish("tables", backbone="table", backbone_digest="e" * 64)
    both = [Selector(model="pets"), Selector(model="tables")]
    error = await refusal(stall, WrongModality, [b"a", b"b"], both)
    assert [error.field, *(each.field for each in error.further)] == ["inputs[0]", "inputs[1]"]
    assert stall.backbones["fake"].batches == stall.backbones["table"].batches == []
    assert not stall.backbones["fake"].decoded


async def test_a_full_queue_of_one_backbone_leaves_no_input_in_the_other(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    stall.publisher.publish("cars", backbone="other", backbone_digest="c" * 64)
    held = stall.pool.get("other").predict([b"x"] * 8)
    with pytest.raises(BackboneQueueFull):
        await stall.predictor.predict(
            [Selector(model="pets"), Selector(model="cars")],
            [b"a", b"b", b"c"],
            PredictOptions(),
            deadline=None,
        )
    assert stall.pool.get("fake").pending == 0
    for future in held:
        future.cancel()
    assert stall.pending == 0


async def test_versions_that_memory_does_not_know_are_looked_up_together(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall.load()
    index = stall.publisher.registry.index
    # Published by another replica.
    stall.publisher.registry = stall.publisher.reopened()
    models = ("pets", "cars", "boats")
    for model in models:
        stall.publisher.publish(model)
    syncs, sync = [], index.sync
    monkeypatch.setattr(index, "sync", lambda: (syncs.append(1), sync()))
    predicted = await stall.predict([b"a"], [Selector(model=model) for model in models])
    assert [each.version.model for each in predicted.predictions] == list(models)
    assert len(syncs) == 1


async def test_features_are_given_only_if_requested(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    assert not (await stall.predict([b"a"])).features
    (features,) = (await stall.predict([b"a"], with_features=True)).features
    assert set(features.views) == {"last", "taps"}


@pytest.mark.parametrize(("top_k", "wanted"), [(1, 1), (2, 2), (3, 3), (99, 3), (0, 3)])
async def test_as_many_classes_are_given_as_requested_the_likeliest_first(
    stall: Stall, top_k: int, wanted: int
) -> None:
    stall.load()
    stall.publisher.publish()
    (answer,) = (await stall.predict([b"a", b"b"], top_k=top_k)).predictions
    assert answer.indexes.shape == answer.probabilities.shape == (2, wanted)
    assert (np.diff(answer.probabilities, axis=1) <= 0).all()
    if wanted == 3:
        np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1.0, rtol=1e-6)


async def test_equal_probabilities_come_in_the_order_of_the_classes(stall: Stall) -> None:
    stall.load()
    head = make_head(classes=60)
    head.weights[:] = 0
    head.bias[:] = [0, 1] * 30
    stall.publisher.publish(head=head)
    (answer,) = (await stall.predict([b"a"])).predictions
    assert answer.indexes.tolist() == [[*range(1, 60, 2), *range(0, 60, 2)]]


async def test_a_head_too_large_for_the_event_loop_answers_the_same(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall.load()
    stall.publisher.publish()
    (small,) = (await stall.predict([b"a"])).predictions
    monkeypatch.setattr("headstart_server.prediction.predictor.HEAD_WORK_IN_LOOP", 0)
    (large,) = (await stall.predict([b"a"])).predictions
    np.testing.assert_array_equal(large.probabilities, small.probabilities)


async def test_heads_that_work_long_together_do_so_in_threads(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(*arguments: Any) -> VersionPrediction:
        threads.append(threading.current_thread())
        return predict_version(*arguments)

    stall.load()
    stall.publisher.publish()
    monkeypatch.setattr("headstart_server.prediction.predictor.predict_version", noted)
    (answer,) = (await stall.predict([b"a"], PETS)).predictions
    assert set(threads) == {threading.main_thread()}
    work = work_per_input(answer.version, PredictOptions())
    threads.clear()
    for module in ("predictor", "input_features"):
        monkeypatch.setattr(f"headstart_server.prediction.{module}.HEAD_WORK_IN_LOOP", 3 * work)
    await stall.predict([b"a"], PETS * 4)
    assert len(threads) == 4
    assert threading.main_thread() not in threads


async def test_the_classes_that_are_ranked_keep_no_others_in_memory(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish(head=make_head(classes=300))
    (answer,) = (await stall.predict([b"a"], top_k=2)).predictions
    assert answer.indexes.base is None


@pytest.mark.parametrize(
    ("targets", "options", "received"),
    [
        (1, {"top_k": 3}, "6 for 2 inputs"),
        (1, {"top_k": 99}, "6 for 2 inputs"),
        (2, {"top_k": 2}, "8 for 2 inputs"),
        (1, {"top_k": 1, "neighbors": 2}, "6 for 2 inputs"),
        (1, {"influence": 3}, "6 for 2 inputs"),
    ],
)
async def test_a_response_lists_at_most_so_many_classes_and_examples(
    stall: Stall, monkeypatch: pytest.MonkeyPatch, targets: int, options: dict[str, int], received: str
) -> None:
    stall.load()
    stall.publisher.publish()
    monkeypatch.setattr("headstart_server.prediction.predict_options.MAX_LISTED", 5)
    error = await refusal(stall, InvalidField, [b"a", b"b"], PETS * targets, **options)
    assert error.field == "inputs"
    assert f"Received: {received}. Request fewer for each input" in error.message
    assert stall.backbones["fake"].batches == []
    # Without a top_k they are an array.
    await stall.predict([b"a", b"b"], PETS)
    await stall.predict([b"a", b"b"], PETS, top_k=2)


async def test_several_targets_have_at_most_so_many_outputs(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall.load()
    stall.publisher.publish()
    monkeypatch.setattr("headstart_server.prediction.predict_options.MAX_OUTPUTS", 11)
    error = await refusal(stall, InvalidField, [b"a", b"b"], PETS * 2)
    assert (error.field, error.message.partition("Received: ")[2]) == (
        "targets",
        "12. Send fewer inputs or targets in one call.",
    )
    # The settings of the server limit one target.
    await stall.predict([b"a"] * 8)


async def test_a_version_in_memory_is_not_read_again(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    first = await stall.predict([b"a"])
    stall.publisher.store.remove("job-1.1")
    again = await stall.predict([b"a"])
    assert again.predictions[0].version is first.predictions[0].version


async def test_a_model_that_another_replica_has_just_made_answers_at_once(stall: Stall) -> None:
    stall.load()
    stall.publisher.registry = stall.publisher.reopened()
    stall.publisher.publish(alias="stable")
    (answer,) = (await stall.predict([b"a"])).predictions
    assert answer.version.number == 1
    stall.publisher.publish(alias="next")
    (answer,) = (await stall.predict([b"a"], [Selector(model="pets", alias="next")])).predictions
    assert answer.version.number == 2


async def test_a_version_that_another_replica_has_just_replaced_and_deleted_is_not_missed(
    stall: Stall,
) -> None:
    stall.load()
    stall.publisher.publish(alias="stable")
    stall.publisher.registry.index.sync()
    stall.publisher.registry = stall.publisher.reopened()
    stall.publisher.publish(alias="stable")
    stall.publisher.registry.delete_version("pets", 1, force=False)
    stable = Selector(model="pets", alias="stable")
    (answer,) = (await stall.predict([b"a"], [stable])).predictions
    assert answer.version.number == 2
    with pytest.raises(VersionNotFound):
        await stall.predict([b"a"], [Selector(model="pets", number=1)])


async def test_the_time_of_each_stage_is_reported(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    decode = stall.backbones["fake"].decode

    def slowly(content: Content) -> object:
        stall.clock.advance(0.25)
        return decode(content)

    stall.backbones["fake"].decode = slowly
    stall.backbones["fake"].before_run = lambda rows: stall.clock.advance(2.0)
    times = (await stall.predict([b"a"])).times
    assert (times.decode, times.backbone, times.queue) == (0.25, 2.0, 0.0)
    assert (times.total, times.resolve, times.head) == (2.25, 0.0, 0.0)


# Refusals


async def test_an_input_that_cannot_be_read_is_named(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, UndecodableInput, [b"a", b"b", b"broken"])
    assert error.field == "inputs[2]"
    assert error.message == "Input 2: Expected an image. Received: b'broken'."


async def test_of_several_faulty_inputs_the_first_is_named_and_the_others_counted(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, UndecodableInput, [b"a", b"broken1", b"b", b"broken2"])
    assert error.field == "inputs[1]"
    assert error.message == (
        "Input 1: Expected an image. Received: b'broken1'. (2 of 4 inputs are at fault.)"
    )
    assert [(each.field, each.message) for each in error.further] == [
        ("inputs[3]", "Input 3: Expected an image. Received: b'broken2'.")
    ]


async def test_every_input_of_another_kind_is_named(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, WrongModality, [b"a", "a text", b"b", "another"])
    assert [error.field, *(each.field for each in error.further)] == ["inputs[1]", "inputs[3]"]


async def test_bad_inputs_of_one_caller_leave_others_in_the_same_batch_their_answers(tmp_path: Path) -> None:
    stall = Stall(tmp_path, threads=3)
    backbone = stall.backbones["fake"]
    stall.load("fake")
    stall.publisher.publish()
    all_decoded = threading.Event()

    def wait_for_others(_: object) -> None:
        assert all_decoded.wait(60)

    backbone.before_run = wait_for_others
    contents = [[b"broken", b"b"] if place == 2 else [b"a%d" % place, b"b"] for place in range(5)]
    calls = [
        asyncio.create_task(stall.predictor.predict(PETS, each, PredictOptions(), deadline=None))
        for each in contents
    ]
    async with asyncio.timeout(60):
        while backbone.decoded.total() < 10:
            await asyncio.sleep(0.01)
    all_decoded.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    stall.publisher.close()
    stall.pool.close()
    assert max(backbone.batches) > 2, "inputs of several callers are in one batch"
    for place, answer in enumerate(answers):
        assert isinstance(answer, UndecodableInput) == (place == 2), answer


async def test_an_input_too_large_is_named_with_its_limits(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()

    def decode(content: Content) -> object:
        raise InputTooLarge("Expected at most 9 pixels.", metadata={"limit": "9"})

    stall.backbones["fake"].decode = decode
    error = await refusal(stall, InputTooLarge, [b"a"])
    assert (error.field, error.metadata) == ("inputs[0]", {"limit": "9"})


async def test_a_wrong_kind_of_input_is_named_before_anything_runs(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, WrongModality, [b"a", "a text"])
    assert error.field == "inputs[1]"
    assert stall.backbones["fake"].batches == []


@pytest.mark.parametrize("count", [0, 9])
async def test_the_number_of_inputs_has_bounds(stall: Stall, count: int) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, InvalidField, [b"a"] * count)
    assert (error.field, error.message) == ("inputs", f"Expected 1 to 8 inputs. Received: {count}.")


async def test_a_negative_number_of_classes_is_refused(stall: Stall) -> None:
    error = await refusal(stall, InvalidField, [b"a"], top_k=-1)
    assert error.field == "top_k"


async def test_a_model_whose_first_job_is_under_way_is_not_ready_and_another_is_not_found(
    stall: Stall,
) -> None:
    stall.load()
    stall.under_way.add("pets")
    error = await refusal(stall, ModelNotReady, [b"a"])
    assert error.message == (
        "Model 'pets' has no version yet, because its first fine-tune is running. Wait until the job has "
        "succeeded."
    )
    await refusal(stall, ModelNotFound, [b"a"], [Selector(model="cars")])


async def test_a_job_under_way_does_not_hide_that_a_version_is_missing(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    stall.under_way.add("pets")
    await refusal(stall, VersionNotFound, [b"a"], [Selector(model="pets", number=7)])
    await refusal(stall, AliasNotFound, [b"a"], [Selector(model="pets", alias="stable")])
    assert (await stall.predict([b"a"])).predictions[0].version.number == 1


async def test_a_version_of_another_digest_of_the_backbone_is_refused(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish(backbone_digest="f" * 64)
    error = await refusal(stall, BackboneMismatch, [b"a"])
    assert error.message == (
        "Version 1 of model 'pets' was fitted on digest ffffffffffff of backbone 'fake'; this server has "
        "bbbbbbbbbbbb. Fine-tune it again, or run the server it was made with."
    )
    assert error.metadata == {"model": "pets", "version": "1"}
    assert stall.backbones["fake"].batches == []


async def test_a_version_whose_backbone_is_gone_is_reported_with_what_helps(stall: Stall) -> None:
    stall.publisher.publish(backbone="gone")
    error = await refusal(stall, BackboneNotFound, [b"a"])
    assert error.message == (
        "Version 1 of model 'pets' needs its backbone: There is no backbone 'gone'. Expected one of: fake, "
        "other, table. Declare 'gone' again with its previous definition, or rebase the version on "
        "another backbone."
    )
    assert (error.metadata["model"], error.metadata["version"]) == ("pets", "1")


async def test_a_version_whose_backbone_is_unavailable_is_reported_with_what_helps(stall: Stall) -> None:
    stall.publisher.publish(backbone="other")

    def refuse(name: str) -> None:
        raise BackboneUnavailable("Backbone 'other' is unavailable: its file is lost.")

    stall.source.before_load = refuse
    with pytest.raises(BackboneUnavailable):
        stall.pool.load("other")
    error = await refusal(stall, BackboneUnavailable, [b"a"])
    assert error.message == (
        "Version 1 of model 'pets' needs its backbone: Backbone 'other' is unavailable: its file is lost. "
        "Correct this, or rebase the version on another backbone."
    )


async def test_a_call_waits_for_a_backbone_that_is_not_loaded_yet(stall: Stall) -> None:
    stall.publisher.publish()
    assert (await stall.predict([b"a"])).predictions
    assert stall.source.loads == ["fake"]
    features, _ = await stall.answered(stall.predictor.embed("other", [b"a"], views=[], deadline=None))
    assert features.backbone == "other"


async def test_a_look_at_a_version_does_not_wait_unless_it_may(stall: Stall) -> None:
    stall.publisher.publish()
    with pytest.raises(Loading):
        await stall.predictor.find(*PETS)
    version, backbone = await stall.predictor.find(*PETS, None, lambda: 0)
    assert (version.number, backbone.name) == (1, "fake")


async def test_a_version_of_a_backbone_this_server_lacks_is_reported(stall: Stall) -> None:
    stall.publisher.publish(backbone="gone")
    await refusal(stall, BackboneNotFound, [b"a"])


async def test_a_full_queue_is_reported_with_when_to_retry_and_names_no_input(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    held = stall.pool.get("fake").predict([b"x"] * 9)
    with pytest.raises(BackboneQueueFull) as caught:
        await stall.predictor.predict(PETS, [b"a", b"b"], PredictOptions(), deadline=None)
    assert (caught.value.retry_after, caught.value.field) == (1.0, None)
    stall.work()
    assert all(future.done() for future in held)
    assert (await stall.predict([b"a", b"b"])).predictions


async def test_a_deadline_that_passes_in_the_queue_is_reported_and_is_no_inputs_fault(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(
        stall,
        DeadlineExceeded,
        [b"a", b"b"],
        deadline=stall.clock() + 1,
        meanwhile=lambda: stall.clock.advance(1),
    )
    assert error.field is None
    assert error.message == "The deadline passed while the input waited for the backbone."
    assert stall.backbones["fake"].batches == []


async def test_a_server_that_stops_is_reported_and_is_no_inputs_fault(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    error = await refusal(stall, Draining, [b"a", b"b"], meanwhile=stall.pool.close)
    assert error.field is None
    assert error.message == "The server is stopping. Try again at another replica."


async def test_a_fault_of_the_runtime_is_passed_on_as_it_is(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()

    def fail(rows: object) -> None:
        raise RuntimeError("no memory")

    stall.backbones["fake"].before_run = fail
    with pytest.raises(RuntimeError, match="no memory"):
        await stall.predict([b"a"])
    assert stall.pending == 0


async def test_a_caller_that_leaves_takes_its_rows_out_of_the_queue(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    call = asyncio.create_task(stall.predictor.predict(PETS, [b"a", b"b"], PredictOptions(), deadline=None))
    while not stall.pending:
        await asyncio.sleep(0)
    assert stall.batchers["fake"].step()
    assert stall.backbones["fake"].decoded == {b"warm": 1, b"a": 1}
    assert len(stall.queues["fake"]) == 2
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert stall.pending == 0
    stall.work()
    assert stall.backbones["fake"].batches == [1]


async def test_a_caller_that_leaves_before_its_inputs_are_decoded_saves_the_decoding(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    call = asyncio.create_task(stall.predictor.predict(PETS, [b"a", b"b"], PredictOptions(), deadline=None))
    while not stall.pending:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    stall.work()
    assert dict(stall.backbones["fake"].decoded) == {b"warm": 1}


# Many futures


async def requested(
    stall: Stall, contents: Sequence[Content]
) -> tuple["asyncio.Task[PredictResult]", list["Future[RowFeatures]"]]:
    """A call that waits, and the futures of its inputs."""
    embedder, futures = stall.pool.get("fake"), []
    predict = embedder.predict

    def seen(
        contents: Sequence[Content], deadline: float | None, cuts: frozenset[str], heads: Sequence[Head]
    ) -> list["Future[RowFeatures]"]:
        embedder.predict = predict
        futures.extend(predict(contents, deadline, cuts, heads))
        return list(futures)

    embedder.predict = seen
    call = asyncio.create_task(stall.predictor.predict(PETS, contents, PredictOptions(), deadline=None))
    while not futures:
        await asyncio.sleep(0)
    return call, futures


async def test_inputs_that_end_in_many_threads_are_all_awaited_and_in_order(tmp_path: Path) -> None:
    stall = Stall(tmp_path, threads=4)
    stall.load()
    stall.publisher.publish()
    contents = [b"%d" % place for place in range(8)]
    alone = [(await stall.predict([content])).predictions[0].probabilities.tolist() for content in contents]
    for _ in range(50):
        (answer,) = (await asyncio.wait_for(stall.predict(contents), PATIENCE)).predictions
        assert [[each] for each in answer.probabilities.tolist()] == alone
        assert stall.pending == 0
    stall.pool.close()
    stall.publisher.close()


async def test_the_event_loop_is_woken_once_for_a_call(stall: Stall, monkeypatch: pytest.MonkeyPatch) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    call, _ = await requested(stall, [b"%d" % place for place in range(8)])
    loop, wakings = asyncio.get_running_loop(), 0
    wake = loop.call_soon_threadsafe

    def counted(*args: object) -> object:
        nonlocal wakings
        wakings += 1
        return wake(*args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    stall.work()
    assert wakings == 1
    assert (await asyncio.wait_for(call, PATIENCE)).predictions


async def test_inputs_that_ended_before_anybody_waits_are_answered_too(
    stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    stall.load()
    stall.publisher.publish()
    embedder = stall.pool.get("fake")
    predict = embedder.predict

    def at_once(
        contents: Sequence[Content], deadline: float | None, cuts: frozenset[str], heads: Sequence[Head]
    ) -> list["Future[RowFeatures]"]:
        futures = predict(contents, deadline, cuts, heads)
        stall.work()
        assert all(future.done() for future in futures)
        return futures

    monkeypatch.setattr(embedder, "predict", at_once)
    call = stall.predictor.predict(PETS, [b"a", b"b"], PredictOptions(), deadline=None)
    assert len((await asyncio.wait_for(call, PATIENCE)).predictions[0].indexes) == 2


async def test_an_input_that_somebody_else_took_out_fails_its_call_instead_of_leaving_it_to_wait(
    stall: Stall,
) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    call, futures = await requested(stall, [b"a", b"b", b"c"])
    assert futures[1].cancel()
    stall.work()
    # Not asyncio's: no one cancelled the call, and its caller gets an internal error.
    with pytest.raises(CancelledError):
        await asyncio.wait_for(call, PATIENCE)
    assert not call.cancelled()
    assert stall.pending == 0


async def test_a_caller_that_leaves_while_some_inputs_run_leaves_nothing_held(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    call, futures = await requested(stall, [b"a", b"b"])

    def leave_meanwhile(rows: object) -> None:
        stall.backbones["fake"].before_run = lambda rows: None
        asyncio.get_running_loop().call_soon(call.cancel)

    stall.backbones["fake"].before_run = leave_meanwhile
    assert stall.batchers["fake"].step()
    assert stall.batchers["fake"].step()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [future.cancelled() for future in futures] == [False, True]
    stall.work()
    assert stall.pending == 0
    assert stall.backbones["fake"].decoded == {b"warm": 1, b"a": 1}


async def test_an_answered_call_leaves_nothing_to_the_garbage_collector(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    await stall.predict([b"warm"])
    gc.collect()
    gc.disable()
    try:
        call, futures = await requested(stall, [b"a", b"b"])
        alive = [weakref.ref(future) for future in futures]
        del futures
        stall.work()
        await call
        del call
        assert [future() is None for future in alive] == [True, True]
    finally:
        gc.enable()


# Embed


async def embedded(
    stall: Stall, backbone: str, contents: Sequence[Content], *views: str
) -> dict[str, object]:
    call = asyncio.create_task(stall.predictor.embed(backbone, contents, views=views, deadline=None))
    while not call.done():
        await asyncio.wait([call], timeout=0.001)
        stall.work()
    features, _ = call.result()
    return {"backbone": features.backbone, **features.views}


async def test_embed_gives_the_views_requested_in_the_order_of_the_inputs(stall: Stall) -> None:
    stall.load()
    backbone = stall.backbones["fake"]
    expected = backbone.run(np.stack([backbone.decode(content) for content in (b"a", b"b")]))
    found = await embedded(stall, "", [b"a", b"b"], "taps", "last")
    assert list(found) == ["backbone", "taps", "last"]
    assert found["backbone"] == "fake"
    np.testing.assert_array_equal(found["taps"], expected["taps"])
    np.testing.assert_array_equal(found["last"], expected["last"])
    assert list(await embedded(stall, "other", [b"a"])) == ["backbone", "last"]
    assert stall.pending == 0


async def test_embed_refuses_what_it_cannot_give(stall: Stall) -> None:
    stall.load()
    with pytest.raises(InvalidField) as caught:
        await embedded(stall, "", [b"a"], "last", "nose")
    assert caught.value.field == "views[1]"
    assert caught.value.message == "Expected views of backbone 'fake': last, taps. Received: 'nose'."
    with pytest.raises(InvalidField, match="Expected 1 to 8 inputs"):
        await embedded(stall, "", [])
    with pytest.raises(BackboneNotFound):
        await embedded(stall, "huge", [b"a"])
    with pytest.raises(WrongModality) as kind:
        await embedded(stall, "table", [np.zeros(2), b"a"])
    assert kind.value.field == "inputs[1]"


async def test_calls_failures_and_callers_that_left_are_counted_once_for_each_version(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish(alias="stable")
    stall.publisher.publish()
    first = Selector(model="pets", number=1)
    predicted = await stall.predict([b"a", b"b"], [*PETS, Selector(model="pets", alias="stable"), first])
    counted = stall.predictor.recorder.statistics.counts
    assert (counted("pets", 1).calls, counted("pets", 1).inputs, counted("pets", 1).failed) == (1, 2, 0)
    assert counted("pets", 1).total == predicted.times.total
    await refusal(stall, UndecodableInput, [b"a", b"broken"])
    call = asyncio.create_task(stall.predictor.predict([first], [b"c"], PredictOptions(), deadline=None))
    while not stall.pending:
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    for number in (1, 2):
        assert (counted("pets", number).calls, counted("pets", number).failed) == (1, 1)
    await refusal(stall, VersionNotFound, [b"a"], [Selector(model="pets", number=9)])
    assert stall.predictor.recorder.statistics.counted() == [("pets", 1), ("pets", 2)]


async def test_inputs_that_cannot_be_used_are_skipped_on_request(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    requested = {"skip_invalid": True, "with_features": True}
    mixed = await stall.predict([b"a", b"broken", b"b", "a text"], **requested)
    alone = await stall.predict([b"a", b"b"], **requested)

    assert {place: type(fault) for place, fault in mixed.faults.items()} == {
        1: UndecodableInput,
        3: WrongModality,
    }
    assert mixed.faults[1].message == "Expected an image. Received: b'broken'."
    np.testing.assert_array_equal(mixed.predictions[0].probabilities, alone.predictions[0].probabilities)
    for view, matrix in mixed.features[0].views.items():
        np.testing.assert_array_equal(matrix[[0, 2]], alone.features[0].views[view])
        assert np.isnan(matrix[[1, 3]]).all()


def overflowing(task: Task) -> Head:
    """Return a head of unscaled features whose sums overflow: behind a hidden layer, or for a number."""
    if task is Task.REGRESSION:
        head = make_head(classes=1)
        ones = np.ones((12, 1), np.float32)
        calibration = Calibration(task=task)
        return replace(head, weights=ones, calibration=calibration, class_names=(), scaling=Scaling.STANDARD)
    head = make_head(size=2)
    hidden = HiddenLayer(weights=np.ones((12, 2), np.float32), bias=np.zeros(2, np.float32))
    return replace(head, scaling=Scaling.STANDARD, hidden=hidden)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("task", [Task.SINGLE_LABEL, Task.REGRESSION])
async def test_an_input_whose_prediction_is_no_number_is_invalid_and_leaves_others_their_answers(
    stall: Stall, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stall.backbones["table"], "decode", TensorDecoder(12).decode)
    stall.load()
    recipe = (
        Mlp(hidden_units=2, views=("last",))
        if task is Task.SINGLE_LABEL
        else Ridge(scaling=Scaling.STANDARD, views=("last",))
    )
    where = {"backbone": "table", "backbone_digest": "e" * 64}
    stall.publisher.publish("rows", head=overflowing(task), task=task, recipe=recipe, **where)
    huge = np.full(12, 3e38, np.float32)
    small = np.arange(12, dtype=np.float32)
    rows = [Selector(model="rows")]
    with pytest.raises(UndecodableInput) as caught:
        await stall.predict([small, huge], rows)
    mixed = await stall.predict([huge, small[:3], small], rows, skip_invalid=True, with_features=True)
    with pytest.raises(UndecodableInput) as alone:
        await stall.predict([huge, huge], rows, skip_invalid=True)
    answered = await stall.predict([small], rows)

    assert caught.value.field == "inputs[1]"
    assert caught.value.message == (
        "Input 1: Version 1 of model 'rows' predicts NaN or infinity for the input. Send features of about "
        "the size of those in the training examples, or leave the input out."
    )
    assert [each.field for each in alone.value.further] == ["inputs[1]"]
    assert {place: type(fault) for place, fault in mixed.faults.items()} == {
        0: UndecodableInput,
        1: UndecodableInput,
    }
    np.testing.assert_array_equal(mixed.predictions[0].outputs, answered.predictions[0].outputs)
    assert np.isfinite(mixed.predictions[0].outputs).all()
    np.testing.assert_array_equal(mixed.features[0].views["last"][2], small)
    assert np.isnan(mixed.features[0].views["last"][:2]).all()


def test_large_finite_outputs_are_numbers() -> None:
    assert list(rows_without_numbers(np.full((2, 1), 3e38, np.float32))) == []
    assert list(rows_without_numbers(np.array([[1.0], [np.nan], [-np.inf]], np.float32))) == [1, 2]


async def test_an_input_of_too_many_bytes_is_named_or_skipped(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    most, more = b"a" * MAX_INPUT_BYTES, b"b" * (MAX_INPUT_BYTES + 1)

    with pytest.raises(InputTooLarge) as caught:
        await stall.predict([b"a", most, more, b"broken", more])
    with pytest.raises(InputTooLarge) as embedded:
        await stall.answered(stall.predictor.embed("fake", [b"a", more], views=(), deadline=None))
    found = await stall.predict([b"a", most, more], skip_invalid=True)

    assert (
        caught.value.message
        == "Input 2: Expected at most 200 bytes. Received: 201. Scale it down, or leave it out. "
        "(3 of 5 inputs are at fault.)"
    )
    assert [type(each) for each in caught.value.further] == [UndecodableInput, InputTooLarge]
    assert [each.field for each in caught.value.further] == ["inputs[3]", "inputs[4]"]
    assert embedded.value.field == "inputs[1]"
    assert {place: type(fault) for place, fault in found.faults.items()} == {2: InputTooLarge}


def test_the_bytes_of_an_input_are_those_of_its_utf_8_or_its_numbers() -> None:
    assert list(too_large(["a" * 8, "ä" * 5, np.zeros(2, np.float32), np.zeros(2)], 8)) == [1, 3]


async def test_only_inputs_that_cannot_be_used_fail_a_call_that_skips_them(stall: Stall) -> None:
    stall.load()
    stall.publisher.publish()
    with pytest.raises(UndecodableInput) as broken:
        await stall.predict([b"broken", "a text", b"broken"], skip_invalid=True)
    with pytest.raises(WrongModality) as texts:
        await stall.predict(["a", "b"], skip_invalid=True)
    for error in (broken.value, texts.value):
        assert error.field == "inputs[0]"
    assert [each.field for each in broken.value.further] == ["inputs[1]", "inputs[2]"]
    assert [each.field for each in texts.value.further] == ["inputs[1]"]
    assert "Input 1" not in broken.value.further[0].message  # it names its place itself
