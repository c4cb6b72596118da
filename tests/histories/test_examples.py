"""The checker finds data that was lost or changed, edits in other versions, and traces of erased examples."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from chaos.data_calls import MODEL, content_of
from histories.examples import violations
from histories.history import History, Operation, Outcome
from histories.stored_data import FinalData, FinalDataset, Retrained

A, B, C = {"a": "cat"}, {"b": "dog"}, {"c": "emu"}


def op(kind: str, key: str, called: float, result: Any = None, **sent: Any) -> Operation:
    return Operation(
        kind=kind, key=key, server="s", sent=sent, result=result, called=called, returned=called + 0.1
    )


def write(number: int, labels: Mapping[str, str], called: float) -> Operation:
    return op("WriteExamples", "d1", called, number + 1, batch=number, examples=labels)


def fine_tune(job: str, called: float, parent: int | None = None, **edits: Any) -> Operation:
    dataset = None if parent else "d1"
    sent = {"request_id": job, "parent": parent, "dataset": dataset, "edits": edits}
    return op("FineTune", MODEL, called, job, **sent)


UPLOAD = [
    op("CreateDataset", "d1", 0.0),
    write(0, A, 1.0),
    write(1, {**B, **C}, 2.0),
    op("FinishDataset", "d1", 3.0, "digest"),
    op("ReadDataset", "d1", 4.0, ["a", "b", "c"]),
]
EDITS = {"a": {"label": "dog"}, "b": {"weight": 2.0}, "c": {"remove": True}}
CALLS = [*UPLOAD, fine_tune("one", 5.0), fine_tune("two", 6.0, 1, **EDITS)]
ERASURE = op("EraseExample", "b", 7.0, 1, rebuild=False, model="-")
DATASET = FinalDataset(
    state="ready",
    example_count=3,
    class_counts={"cat": 1, "dog": 1, "emu": 1},
    next_batch=2,
    batches={0: A, 1: {**B, **C}},
)
FINAL = FinalData(
    datasets={"d1": DATASET},
    versions={
        1: {"a": ("cat", 1.0), "b": ("dog", 1.0), "c": ("emu", 1.0)},
        2: {"a": ("dog", 1.0), "b": ("dog", 2.0)},
    },
    published={"one": 1, "two": 2},
    replaced={},
    unreadable=[],
    contents={"archive": content_of("a") + content_of("c")},
)
WITHOUT_B = replace(DATASET, example_count=2, class_counts={"cat": 1, "emu": 1}, batches={0: A, 1: C})


def found(calls: list[Operation], final: FinalData) -> list[str]:
    history = History(lambda: 0.0)
    for each in calls:
        history.add(each)
    return list(violations(history, final))


def test_promises_that_were_kept_are_right() -> None:
    assert found(CALLS, FINAL) == []
    assert found([*CALLS, ERASURE], replace(FINAL, datasets={"d1": WITHOUT_B})) == []
    deletion = op("DeleteDataset", "d1", 8.0)
    assert found([*CALLS, deletion], replace(FINAL, datasets={})) == []


def test_a_call_without_an_answer_may_have_had_its_effect_or_not() -> None:
    unknown = replace(write(2, {"e": "cat"}, 2.5), outcome=Outcome.UNKNOWN, result=None)
    written = replace(
        DATASET,
        example_count=4,
        class_counts={"cat": 2, "dog": 1, "emu": 1},
        next_batch=3,
        batches={**DATASET.batches, 2: {"e": "cat"}},
    )
    calls = [each for each in UPLOAD if each.kind != "ReadDataset"]
    only_data = replace(FINAL, versions={}, published={})
    assert found([*calls, unknown], only_data) == []
    assert found([*calls, unknown], replace(only_data, datasets={"d1": written})) == []
    half = replace(written, next_batch=3, batches={**DATASET.batches, 2: {}})
    assert any(
        "should be" in each for each in found([*calls, unknown], replace(only_data, datasets={"d1": half}))
    )


@pytest.mark.parametrize(
    ("dataset", "what"),
    [
        (None, "dataset d1 is lost"),
        (replace(DATASET, state="open"), "was finished and is open"),
        (replace(DATASET, batches={0: A}), "acknowledged batch 1 of dataset d1 is lost"),
        (replace(DATASET, batches={0: A, 1: B}), "batch 1 of dataset d1 is"),
        (replace(DATASET, batches={0: A, 1: {**B, "c": "cat"}}), "batch 1 of dataset d1 is"),
        (replace(DATASET, next_batch=3), "counts 3 batches"),
        (replace(DATASET, example_count=2), "counts 2 examples and has 3"),
    ],
)
def test_a_write_that_was_lost_or_halved_is_found(dataset: FinalDataset | None, what: str) -> None:
    final = replace(FINAL, datasets={} if dataset is None else {"d1": dataset})
    assert any(what in each for each in found(CALLS, final))


def test_a_dataset_that_comes_back_is_found() -> None:
    assert "dataset d1 was deleted and is there" in found([*CALLS, op("DeleteDataset", "d1", 8.0)], FINAL)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (op("GetDataset", "d1", 2.5, 1), "reported 1 batches of dataset d1 after s had acknowledged 2"),
        (op("ReadDataset", "d1", 4.5, ["a", "b"]), "listed dataset d1 without ['c']"),
    ],
)
def test_a_stale_read_is_found(call: Operation, what: str) -> None:
    assert any(what in each for each in found([*CALLS, call], FINAL))


@pytest.mark.parametrize(
    ("number", "examples"),
    [
        (2, FINAL.versions[1]),
        (2, {"a": ("dog", 1.0), "b": ("dog", 1.0)}),
        (2, {**FINAL.versions[2], "c": ("emu", 1.0)}),
        (1, {**FINAL.versions[1], "a": ("dog", 1.0)}),
    ],
)
def test_an_edit_that_is_not_in_exactly_the_next_version_is_found(number: int, examples: Any) -> None:
    final = replace(FINAL, versions={**FINAL.versions, number: examples})
    assert any(f"version {number} of {MODEL} has example" in each for each in found(CALLS, final))


def test_a_successor_has_the_examples_of_the_version_that_it_replaces() -> None:
    erasure = op("EraseExample", "b", 7.0, 1, rebuild=True, model=MODEL)
    successors = {3: {"a": ("cat", 1.0), "c": ("emu", 1.0)}, 4: {"a": ("dog", 1.0)}}
    final = replace(FINAL, versions=successors, replaced={1: 3, 2: 4}, datasets={"d1": WITHOUT_B})
    assert found([*CALLS, erasure], final) == []
    wrong = replace(final, versions={**successors, 4: {"a": ("cat", 1.0)}})
    assert any("version 4" in each for each in found([*CALLS, erasure], wrong))
    kept = replace(final, versions={**successors, 4: FINAL.versions[2]})
    assert f"version 4 of {MODEL} has the erased example b" in found([*CALLS, erasure], kept)


def test_only_a_version_that_is_too_small_without_an_erased_example_keeps_it() -> None:
    erasure = op("EraseExample", "b", 8.0, 1, rebuild=True, model=MODEL)
    # Without `b` the second version has one class, and the first one has two.
    final = replace(FINAL, datasets={"d1": WITHOUT_B}, skipped={("b", 1), ("b", 2)})
    kept = f"version {{}} of {MODEL} has the erased example b"
    assert found([*CALLS, erasure], final) == [kept.format(1)]
    earlier = op("EraseExample", "c", 7.0, 1, rebuild=False, model=MODEL)
    without_c = replace(final, contents={"archive": content_of("a")})
    assert found([*CALLS, earlier, erasure], without_c) == []
    assert found([*CALLS, erasure], replace(final, skipped={("a", 1), ("b", 2)})) == [kept.format(1)]
    assert found([*CALLS, erasure], replace(final, skipped=())) == [kept.format(1), kept.format(2)]


def test_traces_of_an_erased_example_are_found() -> None:
    erased = replace(FINAL, datasets={"d1": WITHOUT_B})
    later = replace(
        erased, versions={**FINAL.versions, 3: FINAL.versions[2]}, published={**FINAL.published, "three": 3}
    )
    calls = [*CALLS, ERASURE]
    assert any(
        "version 3" in each and "erased" in each
        for each in found([*calls, fine_tune("three", 8.0, 2)], later)
    )
    unfinished = op("Status", "two", 8.0, ("running", 0))
    assert f"version 2 of {MODEL} has the erased example b" in found([*calls, unfinished], erased)
    assert "dataset d1 has the erased example b" in found(calls, FINAL)
    stored = replace(erased, contents={"archive": b"..." + content_of("b")})
    assert "archive archive has the content of the erased example b" in found(calls, stored)


def test_a_retrained_version_has_its_parent_and_its_feedback() -> None:
    retrain = Retrained(parent=2, added={"f": "emu"})
    versions = {**FINAL.versions, 3: {**FINAL.versions[2], "f": ("emu", 1.0)}}
    final = replace(FINAL, versions=versions, retrained={3: retrain})
    assert found(CALLS, final) == []
    without = replace(final, versions={**versions, 3: FINAL.versions[2]})
    assert any("version 3" in each and "example f" in each for each in found(CALLS, without))


def test_content_of_erased_feedback_is_found() -> None:
    feedback = op("SendFeedback", MODEL, 6.5, "f", request_id="r", content="new")
    calls = [*CALLS, feedback, op("EraseExample", "f", 7.0, 1, rebuild=False, model=MODEL)]
    stored = replace(FINAL, contents={"f.zip": b"..." + content_of("new")})
    assert found(calls, stored) == ["archive f.zip has the content of the erased example f"]


def test_content_that_cannot_be_read_is_found() -> None:
    assert "the content of example a is missing or damaged" in found(CALLS, replace(FINAL, unreadable=["a"]))
