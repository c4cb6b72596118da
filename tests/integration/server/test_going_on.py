"""Versions that go on from others, behind the port: parents, gates and what is reported about them."""

import hashlib
import time

import grpc
import pytest

from headstart.v1 import (
    comparison_pb2,
    example_record_pb2,
    example_service_pb2,
    example_service_pb2_grpc,
    input_pb2,
    job_pb2,
    version_selector_pb2,
)
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1.errors_pb2 import ErrorReason
from integration.server.calls import TIMEOUT, Api, Refusal, digit, digits, example, refused
from server_process import ServerProcess, eventually

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNREADY = grpc.StatusCode.FAILED_PRECONDITION
LABELS = (0, 1, 7)


def named(count: int, start: int = 0, labels: tuple[int, ...] = LABELS) -> list[input_pb2.Example]:
    """Digits with ids."""
    return [
        example(digit(label, place), str(label), example_id=f"{label}-{place}")
        for place in range(start, start + count)
        for label in labels
    ]


def removals(*ids: str) -> list[example_record_pb2.ExampleEdit]:
    """Edits that leave examples out."""
    return [example_record_pb2.ExampleEdit(example_id=name, remove=True) for name in ids]


def head(server: ServerProcess, job: job_pb2.Job) -> str:
    (file,) = (server.data / "versions").glob(f"{job.job_id}.*/head.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def archives(server: ServerProcess) -> set[str]:
    return {path.stem for path in (server.data / "datasets").iterdir()}


def test_a_set_sent_in_two_parts_gives_bitwise_the_head_of_the_set_at_once(
    api: Api, server: ServerProcess, model: str
):
    api.published(named(6), model=model)
    child = api.published(named(2, start=6), model=model, parent_version=1)
    at_once = api.published(named(8), model=f"{model}-at-once")

    assert head(server, child) == head(server, at_once)
    assert child.dataset_digest == at_once.dataset_digest
    assert (child.example_count, child.spec.parent_version) == (24, 1)


def test_a_child_opens_a_class_leaves_examples_out_and_reports_its_lineage(api: Api, model: str):
    api.published(named(6), model=model, alias="stable")
    job = api.published(
        named(6, labels=(4,)), model=model, parent_alias="stable", edits=removals("0-0", "1-5")
    )
    version = api.version(model, 2)

    assert list(version.class_names) == ["0", "1", "4", "7"]
    lineage = version.lineage
    assert (lineage.parent_version, lineage.added_example_count, lineage.removed_example_count) == (1, 6, 2)
    assert lineage.example_count == job.example_count == 22
    assert version.has_examples
    assert api.names(model, digit(4, 2), digit(0, 3)) == ["4", "0"]


def test_the_first_answer_of_ten_more_examples_comes_soon(api: Api, model: str):
    api.published(named(40), model=model)
    began = time.monotonic()
    api.published(named(4, start=40)[:10], model=model, parent_version=1)
    api.predict(model, digit(0, 60))

    # Alone it takes a small part of that.
    assert time.monotonic() - began < 60


def test_a_deleted_parent_leaves_its_child_all_it_needs(api: Api, server: ServerProcess, model: str):
    first = api.published(named(4), model=model)
    second = api.published(named(1, start=4), model=model, parent_version=1)
    api.models.DeleteVersion(keeping.DeleteVersionRequest(model=model, version=1))
    assert {first.job_id, second.job_id} <= archives(server)
    third = api.published(named(1, start=5), model=model, parent_version=2)
    assert third.example_count == 18
    api.models.DeleteModel(keeping.DeleteModelRequest(model=model, force=True))
    mine = {first.job_id, second.job_id, third.job_id}
    eventually(lambda: not mine & archives(server), TIMEOUT, "the archives to go with the model")


def test_discarded_examples_are_gone_with_the_end_of_the_job(api: Api, server: ServerProcess, model: str):
    job = api.published(named(4), model=model, discard_examples=True)

    assert not api.version(model, 1).has_examples
    eventually(lambda: job.job_id not in archives(server), TIMEOUT, "the archive to go")
    refusal = refused(lambda: api.fine_tune(named(1), model=model, parent_version=1))
    assert (refusal.code, refusal.reason) == (UNREADY, "EXAMPLES_NOT_KEPT")


def reason(api: Api, examples: list[input_pb2.Example] | None = None, **spec: object) -> Refusal:
    return refused(lambda: api.fine_tune(examples or [], **spec))


def test_what_cannot_be_gone_on_from_is_refused_with_its_reason(api: Api, model: str):
    missing = reason(api, model=model, parent_version=1)
    assert (missing.code, missing.reason) == (NOT_FOUND, "MODEL_NOT_FOUND")
    api.published(named(3), model=model)
    missing = reason(api, model=model, parent_version=2)
    assert (missing.code, missing.reason) == (NOT_FOUND, "VERSION_NOT_FOUND")
    missing = reason(api, model=model, parent_alias="stable")
    assert (missing.code, missing.reason) == (NOT_FOUND, "ALIAS_NOT_FOUND")
    unknown = reason(api, model=model, parent_version=1, edits=removals("0-0", "missing"))
    assert (unknown.code, unknown.reason) == (INVALID, "INVALID_FIELD")
    assert "'missing'" in unknown.fields["spec.edits[1].example_id"]
    orphan = reason(api, named(3), model=model, edits=removals("0-0"))
    assert (orphan.code, list(orphan.fields)) == (INVALID, ["spec.edits"])
    number = input_pb2.Example(input=input_pb2.Input(image=digit(0, 9)), label={"number": 1.0})
    other = reason(api, [number], model=model, parent_version=1)
    assert (other.code, other.reason) == (INVALID, "WRONG_TASK")
    other = reason(api, model=model, parent_version=1, task=input_pb2.TASK_MULTI_LABEL)
    assert (other.code, list(other.fields)) == (INVALID, ["spec.task"])


def test_a_repeated_request_gives_the_first_job_though_the_alias_moved(api: Api, model: str):
    api.published(named(3), model=model, alias="stable")
    spec = {"model": model, "parent_alias": "stable", "alias": "stable", "request_id": f"again-{model}"}
    job = api.published(named(1, start=3), **spec)
    again = api.fine_tune(named(1, start=3), **spec)
    assert again.job_id == job.job_id
    other = reason(api, named(2, start=3), **spec)
    assert (other.code, other.reason) == (INVALID, "REQUEST_ID_REUSED")


def test_validation_with_a_parent_looks_at_all_examples(api: Api, model: str):
    api.published(named(3), model=model)
    found = api.validate(named(1, start=3), model=model, parent_version=1, edits=removals("7-0"))
    assert found.valid
    assert dict(found.class_counts) == {"0": 4, "1": 4, "7": 3}


# The gate


GATE = comparison_pb2.PromotionGate()
PROMOTED = comparison_pb2.PROMOTION_DECISION_PROMOTED
KEPT = comparison_pb2.PROMOTION_DECISION_KEPT


def stable(api: Api, model: str) -> int:
    aliases = api.models.GetModel(keeping.GetModelRequest(model=model)).model.aliases
    return next(alias.version for alias in aliases if alias.alias == "stable")


def test_an_alias_moves_to_what_is_not_worse_and_stays_before_what_is(api: Api, model: str):
    first = api.published(named(10), model=model, alias="stable", promote_if=GATE)
    assert (first.promotion.decision, first.promotion.baseline_version) == (PROMOTED, 0)
    assert not first.promotion.HasField("comparison")

    second = api.published(
        named(2, start=10), model=model, alias="stable", promote_if=GATE, parent_alias="stable"
    )
    assert (second.promotion.decision, second.promotion.baseline_version) == (PROMOTED, 1)
    assert second.promotion.comparison.example_count == 36
    assert stable(api, model) == 2

    muddled = [
        example(digit(label, place), str(LABELS[place % 3])) for place in range(40, 52) for label in LABELS
    ]
    third = api.published(muddled, model=model, alias="stable", promote_if=GATE)
    assert (third.state, third.version) == (job_pb2.JOB_STATE_SUCCEEDED, 3)
    assert (third.promotion.decision, third.promotion.baseline_version) == (KEPT, 2)
    assert "accuracy falls" in third.promotion.reasons[0]
    assert stable(api, model) == 2
    assert api.version(model, 3).promotion == third.promotion
    assert not api.version(model, 3).aliases
    assert api.names(model, digit(7, 60), alias="stable") == ["7"]


def test_a_gate_needs_an_alias_and_margins_within_their_range(api: Api, model: str):
    without = reason(api, named(3), model=model, promote_if=GATE)
    assert (without.code, list(without.fields)) == (INVALID, ["spec.promote_if"])
    wide = comparison_pb2.PromotionGate(max_drop=1.5)
    beyond = reason(api, named(3), model=model, alias="stable", promote_if=wide)
    assert (beyond.code, list(beyond.fields)) == (INVALID, ["spec.promote_if.max_drop"])


def test_the_gate_is_returned_with_its_defaults_filled_in(api: Api, model: str):
    job = api.fine_tune(named(3), model=model, alias="stable", promote_if=GATE)
    gate = job.spec.promote_if
    assert (gate.max_drop, gate.max_class_drop, gate.min_class_examples) == (0.01, 0.1, 10)
    assert not job.HasField("promotion")


# What is reported about a version


def test_a_version_is_evaluated_in_all_detail(api: Api, model: str):
    job = api.published(named(10), model=model)
    target = version_selector_pb2.VersionSelector(model=model)
    found = api.models.GetEvaluation(keeping.GetEvaluationRequest(target=target))

    assert found.version.version == job.version
    assert found.evaluation.metrics == found.version.metrics
    assert [one.name for one in found.evaluation.classes] == ["0", "1", "7"]
    assert all(one.support == 10 for one in found.evaluation.classes)
    assert found.evaluation.worst[0].example.example_id
    assert found.HasField("findings")


def test_an_evaluation_of_nothing_is_refused(api: Api, model: str):
    target = version_selector_pb2.VersionSelector(model=model)
    missing = refused(lambda: api.models.GetEvaluation(keeping.GetEvaluationRequest(target=target)))
    assert (missing.code, missing.reason) == (NOT_FOUND, "MODEL_NOT_FOUND")
    refusal = refused(lambda: api.models.GetEvaluation(keeping.GetEvaluationRequest()))
    assert (refusal.code, list(refusal.fields)) == (INVALID, ["target"])


@pytest.fixture
def pair(
    api: Api, model: str
) -> tuple[version_selector_pb2.VersionSelector, version_selector_pb2.VersionSelector]:
    """Two versions: the second knows a class more."""
    api.published(named(8, labels=(0, 1)), model=model)
    api.published(named(8, labels=(7,)), model=model, parent_version=1)
    return version_selector_pb2.VersionSelector(model=model, version=1), version_selector_pb2.VersionSelector(
        model=model
    )


def test_two_versions_are_compared_on_what_they_know_and_on_new_examples(
    api: Api, pair: tuple[version_selector_pb2.VersionSelector, version_selector_pb2.VersionSelector]
):
    known = api.compare(*pair)
    assert (known.first.model, known.first.version) == (pair[0].model, 1)
    assert (known.second.model, known.second.version) == (pair[1].model, 2)
    assert known.comparison.example_count == 24
    assert known.comparison.only_second_right == 8
    assert len(known.differing_examples) == 8
    for each in known.differing_examples:
        assert not each.first_right
        assert (each.version.version, each.example.label.class_name) == (2, "7")
        assert (each.first_label.class_name != "7", each.second_label.class_name) == (True, "7")
    stored = example_service_pb2_grpc.ExampleServiceStub(api.channel).ListExamples(
        example_service_pb2.ListExamplesRequest(version=pair[1], filter={"label": "7"})
    )
    listed = {(each.example.index, each.example.example_id) for each in stored.examples}
    assert {(each.example.index, each.example.example_id) for each in known.differing_examples} == listed
    new = api.compare(*pair, digits(LABELS, 5, start=60))
    assert new.comparison.example_count == 15
    assert new.comparison.significant == (new.comparison.p_value < 0.05)
    assert {one.name: one.first_recall for one in new.comparison.classes}["7"] == 0
    assert new.comparison.verdict
    sent = [each for each in new.differing_examples if each.second_label.class_name == "7"]
    assert sent
    assert not any(each.HasField("version") for each in new.differing_examples)


def test_streams_that_are_none_are_refused(api: Api, digits_model: str):
    refusal = refused(lambda: api.evaluation.Evaluate(iter([])))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_STREAM")
    assert "Evaluate" in refusal.message
    refusal = refused(lambda: api.evaluation.Compare(iter([])))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_STREAM")
    refusal = refused(lambda: api.evaluate([], digits_model))
    assert (refusal.code, refusal.reason) == (INVALID, "EMPTY_DATASET")


def test_a_version_is_measured_on_a_stream_of_new_examples(api: Api, digits_model: str):
    broken = example(b"no image", "0", example_id="broken")
    stranger = example(digit(3, 60), "3")
    found = api.evaluate([*digits(LABELS, 20, start=60), broken, stranger], digits_model, batch=7)

    assert (found.model, found.version) == (digits_model, 1)
    assert found.evaluation.metrics.example_count == 61
    assert found.fault_count == 1
    assert (found.faults[0].index, found.faults[0].example_id) == (60, "broken")
    assert found.faults[0].reason == ErrorReason.ERROR_REASON_UNDECODABLE_INPUT
    assert [one.name for one in found.evaluation.classes] == ["0", "1", "7", "3"]
    assert found.evaluation.classes[3].recall == 0


def test_examples_that_cannot_be_measured_on_are_refused_by_their_place(api: Api, digits_model: str):
    nameless = example(digit(0, 60), "")
    refusal = refused(lambda: api.evaluate([*digits((0,), 2, start=60), nameless], digits_model))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_LABEL")
    assert list(refusal.fields) == ["examples[2].label.class_name"]
    number = input_pb2.Example(input=input_pb2.Input(image=digit(0, 60)), label={"number": 1.0})
    refusal = refused(lambda: api.evaluate([number], digits_model))
    assert (refusal.code, refusal.reason) == (INVALID, "WRONG_TASK")
