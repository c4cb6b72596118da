"""Predict never waits for a capture; what cannot be captured is counted, and shows in the model's status."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import DataError

from captures import Captures
from fakes import make_head
from headstart_server.capture.captured_input import CaptureReason
from headstart_server.capture.input_capture import InputCapture
from headstart_server.capture.observations import Observations
from headstart_server.capture.selection import CaptureSelector
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import DatabaseUnavailable, StorageFull, StorageUnavailable, UndecodableInput
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Version
from headstart_server.observability.telemetry import Telemetry
from headstart_server.prediction.predict_options import PredictOptions
from headstart_server.prediction.prediction_capture import outside_traffic
from headstart_server.prediction.statistics import StageTimes
from headstart_server.prediction.version_prediction import PredictResult, predict_version

TIMES = StageTimes(total=0.0, resolve=0.0, decode=0.0, queue=0.0, backbone=0.0, head=0.0)


def make_capture(captures: Captures, **queue: int) -> InputCapture:
    registry = captures.publisher.registry
    selector = CaptureSelector(registry, lambda count: np.full(count, 0.5))
    return InputCapture(
        registry.index, selector, captures.store, Telemetry("1"), Observations(**queue), interval=0.01
    )


def make_result(
    captures: Captures, inputs: int, model: str = "pets", **changes: Any
) -> tuple[PredictResult, dict[str, list[RowFeatures]]]:
    """Return the prediction of a version for random features, and the features."""
    number = captures.publisher.registry.index.numbers(model)[-1]
    head = make_head()
    version = ResidentVersion(
        model=model,
        number=number,
        artifact="a",
        backbone="fake",
        backbone_digest="digest",
        head=head,
        **changes,
    )
    rng = np.random.default_rng(inputs)
    rows = [RowFeatures(views={"last": rng.normal(size=12).astype(np.float32)}) for _ in range(inputs)]
    views = {"last": np.stack([row.views["last"] for row in rows])}
    prediction = predict_version(version, views, PredictOptions())
    return PredictResult(predictions=[prediction], features=[], times=TIMES), {"fake": rows}


def observe(capture: InputCapture, captures: Captures, texts: list[str], **changes: Any) -> list[str]:
    result, rows = make_result(captures, len(texts), **changes)
    observed = capture.observe(result, rows, texts)
    return list(observed.predictions[0].prediction_ids)


def test_without_a_policy_nothing_is_observed(captures: Captures) -> None:
    captures.publisher.publish("pets")
    capture = make_capture(captures)
    result, rows = make_result(captures, 2)
    assert capture.observe(result, rows, ["a", "b"]) is result


def test_observed_inputs_are_stored_by_the_thread(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    capture.start()
    ids = observe(capture, captures, ["first", "second"])
    capture.stop()
    assert len(set(ids)) == 2
    found = captures.inputs.find("pets", ids[1])
    assert found is not None
    assert captures.inputs.input_of(found) == "second"
    assert found.reasons == CaptureReason.RANDOM
    assert found.classes[0].name == found.predicted.label
    assert found.margin == pytest.approx(found.classes[0].probability - found.classes[1].probability)


def test_a_settled_capture_has_stored_what_was_observed(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    (name,) = observe(capture, captures, ["one"])
    assert captures.inputs.find("pets", name) is None
    capture.settle()
    assert captures.inputs.find("pets", name) is not None


def test_settling_waits_for_what_the_thread_is_writing(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.model()
    capture = make_capture(captures)
    writing, go_on, settled = threading.Event(), threading.Event(), threading.Event()
    write = captures.store.write

    def write_slowly(*values: Any) -> None:
        writing.set()
        assert go_on.wait(60)
        write(*values)

    monkeypatch.setattr(captures.store, "write", write_slowly)
    (name,) = observe(capture, captures, ["one"])
    capture.start()
    assert writing.wait(60)
    waiter = threading.Thread(target=lambda: (capture.settle(), settled.set()))
    waiter.start()
    assert not settled.wait(0.05)
    go_on.set()
    waiter.join(60)
    assert captures.inputs.find("pets", name) is not None
    capture.stop()


def test_skipped_inputs_get_no_id(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    result, rows = make_result(captures, 2)
    faulty = PredictResult(
        predictions=result.predictions, features=[], times=TIMES, faults={1: UndecodableInput("damaged")}
    )
    ids = capture.observe(faulty, rows, ["a", "damaged", "c"]).predictions[0].prediction_ids
    capture.settle()
    stored = [
        captures.inputs.input_of(found) for name in ids if (found := captures.inputs.find("pets", name))
    ]
    assert stored == ["a", "c"]


@pytest.mark.parametrize("queue", [{"max_waiting": 3}, {"max_bytes": 1000}])
def test_a_full_queue_drops_predictions_and_counts_them(captures: Captures, queue: dict[str, int]) -> None:
    captures.model()
    capture = make_capture(captures, **queue)
    size = 100 if "max_bytes" in queue else 1
    observe(capture, captures, ["a" * size, "b" * size])
    assert len(observe(capture, captures, ["c" * size] * 8)) == 8
    capture.store_waiting()
    status = captures.inputs.status("pets")
    assert (status.captured_count, status.queue_full) == (2, 8)
    assert status.last_gap is not None


@pytest.mark.parametrize("error", [StorageFull, StorageUnavailable, DatabaseUnavailable])
def test_inputs_that_cannot_be_stored_are_counted_and_the_next_ones_are_stored(
    captures: Captures, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    captures.model()
    capture = make_capture(captures)

    def fail(*_: object) -> None:
        raise error()

    with monkeypatch.context() as patched:
        patched.setattr(captures.files, "write", fail)
        observe(capture, captures, ["a", "b"])
        capture.store_waiting()
    observe(capture, captures, ["c"])
    capture.store_waiting()
    status = captures.inputs.status("pets")
    assert (status.captured_count, status.storage_failed) == (1, 2)
    captures.eraser.clean()
    assert len(captures.objects()) == 1


def test_an_unexpected_error_loses_only_inputs_of_its_model_and_they_are_counted(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ants", "bees", "cats"):
        captures.model(name)
    capture = make_capture(captures)
    for name in ("ants", "bees", "cats"):
        observe(capture, captures, ["a", "b"], model=name)
    write, select = captures.store.write, CaptureSelector.select

    def refuse(model: str, *values: Any) -> None:
        if model == "ants":
            raise DataError("INSERT", {}, Exception("Token NaN is invalid."))
        write(model, *values)

    def fail(selector: CaptureSelector, policy: CapturePolicy, version: ResidentVersion, *values: Any) -> Any:
        if version.model == "bees":
            raise ValueError("broken")
        return select(selector, policy, version, *values)

    monkeypatch.setattr(captures.store, "write", refuse)
    monkeypatch.setattr(CaptureSelector, "select", fail)
    capture.settle()
    found = {name: captures.inputs.status(name) for name in ("ants", "bees", "cats")}
    assert {name: (each.captured_count, each.storage_failed) for name, each in found.items()} == {
        "ants": (0, 2),
        "bees": (0, 2),
        "cats": (2, 0),
    }


def test_gaps_are_counted_once_the_database_answers_again(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.model()
    capture = make_capture(captures, max_waiting=1)

    def fail(*_: object) -> None:
        raise DatabaseUnavailable

    observe(capture, captures, ["a", "b"])
    with monkeypatch.context() as patched:
        patched.setattr(captures.store, "note_gaps", fail)
        capture.store_waiting()
    assert captures.inputs.status("pets").queue_full == 0
    capture.store_waiting()
    assert captures.inputs.status("pets").queue_full == 2


def test_a_full_quota_is_counted(captures: Captures) -> None:
    captures.model()
    captures.limits = TenantLimits(stored_bytes=1)
    capture = make_capture(captures)
    observe(capture, captures, ["a", "b"])
    capture.store_waiting()
    assert captures.inputs.status("pets").quota_full == 2
    assert captures.objects() == []


def test_an_input_larger_than_the_policy_allows_is_counted(captures: Captures) -> None:
    captures.model(max_bytes=1 << 20)
    capture = make_capture(captures)
    observe(capture, captures, ["a" * (1 << 20), "b"])
    capture.store_waiting()
    status = captures.inputs.status("pets")
    assert (status.captured_count, status.quota_full) == (1, 1)
    assert status.captured_bytes <= 1 << 20


def test_inputs_of_a_model_deleted_meanwhile_are_no_error(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    observe(capture, captures, ["a"])
    captures.publisher.registry.delete_model("pets", force=True)
    capture.store_waiting()
    captures.eraser.clean()
    assert captures.objects() == []


def test_inputs_of_other_models_are_stored_if_one_is_deleted_or_unreadable(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "full", "pets"):
        captures.model(name, rare_class_fraction=0.1)
    capture = make_capture(captures)
    for name in ("gone", "full", "pets"):
        observe(capture, captures, ["a"], model=name)
    captures.publisher.registry.delete_model("gone", force=True)
    evaluation = captures.publisher.registry.files.evaluation

    def read(version: Version) -> object:
        if version.model == "full":
            raise StorageFull
        return evaluation(version)

    monkeypatch.setattr(captures.publisher.registry.files, "evaluation", read)
    capture.settle()
    assert captures.inputs.status("pets").captured_count == 1
    assert captures.inputs.status("full").storage_failed == 1


def test_many_inputs_are_stored_in_few_objects(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    for _ in range(25):
        observe(capture, captures, [f"text {place}" for place in range(20)])
    capture.store_waiting()
    assert captures.inputs.status("pets").captured_count == 500
    assert len(captures.objects()) <= 6


def test_activations_at_a_cut_are_not_stored(captures: Captures) -> None:
    captures.model()
    capture = make_capture(captures)
    result, rows = make_result(captures, 1)
    capture.observe(result, rows, ["a"])
    capture.settle()
    (row,) = captures.inputs.pending("pets", 1)
    assert set(row.features["views"]) == {"last"}


def test_a_condition_selects_by_margin_and_the_random_sample_is_independent(captures: Captures) -> None:
    captures.model(random_fraction=0.0, max_margin=0.2)
    capture = make_capture(captures)
    result, rows = make_result(captures, 200)
    observed = capture.observe(result, rows, [f"{place}" for place in range(200)])
    outputs = np.sort(result.predictions[0].outputs, axis=1)
    low = outputs[:, -1] - outputs[:, -2] <= 0.2
    capture.settle()
    ids = observed.predictions[0].prediction_ids
    found = [captures.inputs.find("pets", name) for name in ids]
    assert [each is not None for each in found] == low.tolist()
    assert 0 < low.sum() < 200
    captures.set_policy("pets", CapturePolicy(random_fraction=0.5, max_margin=0.2))
    observed = capture.observe(result, rows, [f"{place}" for place in range(200)])
    capture.settle()
    # The fake draw is 0.5 for all, which is not below the fraction.
    again = [captures.inputs.find("pets", name) for name in observed.predictions[0].prediction_ids]
    assert not any(each.random_sample for each in again if each is not None)


def test_predictions_outside_the_traffic_are_not_in_the_random_sample(captures: Captures) -> None:
    captures.model(random_fraction=1.0, max_margin=0.2)
    capture = make_capture(captures)
    result, rows = make_result(captures, 200)
    texts = [f"{place}" for place in range(200)]
    with outside_traffic():
        chosen = capture.observe(result, rows, texts)
    drawn = capture.observe(result, rows, texts)
    capture.settle()
    outputs = np.sort(result.predictions[0].outputs, axis=1)
    low = outputs[:, -1] - outputs[:, -2] <= 0.2
    found = [captures.inputs.find("pets", name) for name in chosen.predictions[0].prediction_ids]
    assert [each is not None for each in found] == low.tolist()
    assert not any(each.random_sample for each in found if each is not None)
    found = [captures.inputs.find("pets", name) for name in drawn.predictions[0].prediction_ids]
    assert all(each is not None and each.random_sample for each in found)
