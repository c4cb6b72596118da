"""Checks recorded uploads, edits and erasures against what is stored after the run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from histories.checkers import TERMINAL
from histories.history import History, Operation, Outcome
from histories.stored_data import MODEL, FinalData, FinalDataset, content_of


def violations(history: History, final: FinalData) -> Iterator[str]:
    """Yield every broken promise about datasets, edits and erasures, once all jobs have ended."""
    for name in sorted({op.key for op in history.of("CreateDataset")}):
        yield from _of_dataset(name, history, final.datasets.get(name))
    yield from _stale_reads(history)
    yield from _of_versions(history, final)
    yield from _of_erasures(history, final)
    for example_id in final.unreadable:
        yield f"the content of example {example_id} is missing or damaged"


# Datasets


def _of_dataset(name: str, history: History, final: FinalDataset | None) -> Iterator[str]:
    """An acknowledged write is complete, another one is complete or absent, and a deleted dataset is gone."""
    mine = [op for op in history.of(*_DATASET_CALLS) if op.key == name]
    acknowledged = {op.kind for op in mine if op.is_ok}
    attempted = {op.kind for op in mine if op.outcome is not Outcome.FAILED}
    if "DeleteDataset" in acknowledged and final is not None:
        yield f"dataset {name} was deleted and is there"
    if final is None:
        if acknowledged and "DeleteDataset" not in attempted:
            yield f"dataset {name} is lost"
        return
    if "FinishDataset" in acknowledged and final.state != "ready":
        yield f"dataset {name} was finished and is {final.state}"
    if sorted(final.batches) != list(range(final.next_batch)):
        yield f"dataset {name} counts {final.next_batch} batches and has {sorted(final.batches)}"
    labels = [label for batch in final.batches.values() for label in batch.values()]
    if final.example_count != len(labels) or dict(final.class_counts) != Counter(labels):
        yield f"dataset {name} counts {final.example_count} examples and has {len(labels)}"
    erased = _erasures(history)
    for op in mine:
        if op.kind == "WriteExamples":
            yield from _of_batch(name, op, final, erased)
        if op.kind == "ReadDataset" and op.is_ok:
            yield from _of_read(name, op, mine, erased)


_DATASET_CALLS = ("CreateDataset", "WriteExamples", "FinishDataset", "DeleteDataset", "ReadDataset")


def _of_batch(
    name: str, op: Operation, final: FinalDataset, erased: Mapping[str, Operation]
) -> Iterator[str]:
    number, sent = op.sent["batch"], op.sent["examples"]
    batch = final.batches.get(number)
    if batch is None:
        if op.is_ok:
            yield f"acknowledged batch {number} of dataset {name} is lost"
        return
    expected = {each: label for each, label in sent.items() if each in batch or each not in erased}
    if dict(batch) != expected:
        yield f"batch {number} of dataset {name} is {dict(batch)} and should be {expected}"


def _of_read(
    name: str, op: Operation, mine: list[Operation], erased: Mapping[str, Operation]
) -> Iterator[str]:
    """A dataset that was read after its upload has all examples, and nothing that was erased before."""
    sent = {each for write in mine if write.kind == "WriteExamples" for each in write.sent["examples"]}
    found = set(op.result)
    if lost := sorted(sent - found - erased.keys()):
        yield f"{op.server} listed dataset {name} without {lost}"
    for each in sorted(found & erased.keys()):
        if erased[each].is_ok and erased[each].returned < op.called:
            yield f"{op.server} listed example {each} of dataset {name} after it was erased"


def _stale_reads(history: History) -> Iterator[str]:
    """A server that is called after a batch was acknowledged knows of it."""
    last: dict[str, Operation] = {}
    for op in sorted(history.of("WriteExamples", "GetDataset"), key=lambda each: each.returned):
        if not op.is_ok:
            continue
        before = last.get(op.key)
        if before is not None and before.returned < op.called and op.result < before.result:
            yield (
                f"{op.server} reported {op.result} batches of dataset {op.key} after {before.server} "
                f"had acknowledged {before.result}"
            )
        if before is None or op.result >= before.result:
            last[op.key] = op


# Edits


def _of_versions(history: History, final: FinalData) -> Iterator[str]:
    """Each version has the examples of its parent with exactly the edits of its fine-tune."""
    expected = _expected(history, final)
    erased = _erasures(history)
    for number, found in sorted(final.versions.items()):
        if number not in expected:
            yield f"version {number} of {MODEL} comes from no recorded fine-tune"
            continue
        wanted = {each: value for each, value in expected[number].items() if each not in erased}
        here = {each: value for each, value in found.items() if each not in erased}
        for each in sorted(wanted.keys() | here.keys()):
            if wanted.get(each) != here.get(each):
                yield (
                    f"version {number} of {MODEL} has example {each} as {here.get(each)} and should have it "
                    f"as {wanted.get(each)}"
                )


def _expected(history: History, final: FinalData) -> dict[int, dict[str, tuple[str, float]]]:
    """Return what each version that was ever published must have, erasures aside."""
    sent = {op.result: op.sent for op in history.of("FineTune") if op.is_ok and op.key == MODEL}
    uploaded: dict[str, dict[str, str]] = {}
    for op in history.of("WriteExamples"):
        uploaded.setdefault(op.key, {}).update(op.sent["examples"])
    origin: dict[int, Any] = {number: sent[job] for job, number in final.published.items() if job in sent}
    expected: dict[int, dict[str, tuple[str, float]]] = {}
    # A version has a higher number than its parent, and a successor than the version that it replaces.
    replaces = {new: old for old, new in final.replaced.items()}
    for number in sorted({*origin, *replaces, *final.retrained}):
        if number in replaces:
            expected[number] = expected.get(replaces[number], {})
        elif (retrain := final.retrained.get(number)) is not None:
            parent = expected.get(retrain.parent, {})
            kept = {each: value for each, value in parent.items() if each not in retrain.replaced}
            expected[number] = {**kept, **{each: (label, 1.0) for each, label in retrain.added.items()}}
        else:
            spec = origin[number]
            parent = {} if spec["parent"] is None else expected.get(spec["parent"], {})
            added = uploaded[spec["dataset"]] if spec["dataset"] else {}
            expected[number] = {
                **_edited(parent, spec["edits"]),
                **{each: (label, 1.0) for each, label in added.items()},
            }
    return expected


def _edited(
    parent: Mapping[str, tuple[str, float]], edits: Mapping[str, Mapping[str, Any]]
) -> dict[str, tuple[str, float]]:
    found = dict(parent)
    for example_id, change in edits.items():
        label, weight = found.pop(example_id, ("", 1.0))
        if "remove" not in change:
            found[example_id] = (change.get("label", label), change.get("weight", weight))
    return found


# Erasures


def _erasures(history: History) -> dict[str, Operation]:
    """Return the erasure of each example; acknowledged ones where there are several calls."""
    tried = [op for op in history.of("EraseExample") if op.outcome is not Outcome.FAILED]
    return {op.key: op for op in sorted(tried, key=lambda each: each.is_ok)}


def _of_erasures(history: History, final: FinalData) -> Iterator[str]:
    """Nothing keeps the content of an erased example, and no later version has the example.

    A version that is too small to be rebuilt without the example keeps it in its list.
    """
    erasures = _erasures(history)
    sent = [op for op in history.of("SendFeedback") if op.is_ok]
    names = {op.result: op.sent["content"] for op in sent}
    # A caller may send the content of an erased example again, but not an erased prediction.
    there = {op.sent["content"] for op in sent if (op.sent.get("example") or op.result) not in erasures}
    for example_id, op in erasures.items():
        name = names.get(example_id, example_id)
        if not op.is_ok or name in there:
            continue
        content = content_of(name)
        for archive, stored in final.contents.items():
            if content in stored:
                yield f"archive {archive} has the content of the erased example {example_id}"
        for name, dataset in final.datasets.items():
            if op.sent["model"] == "-" and any(example_id in batch for batch in dataset.batches.values()):
                yield f"dataset {name} has the erased example {example_id}"
        later = None if op.sent["rebuild"] else _later_versions(op, history, final)
        for number, examples in final.versions.items():
            if example_id not in examples or (later is not None and number not in later):
                continue
            if not ((example_id, number) in final.skipped and _is_too_small(examples, op, erasures)):
                yield f"version {number} of {MODEL} has the erased example {example_id}"


def _is_too_small(
    examples: Mapping[str, tuple[str, float]], erasure: Operation, erasures: Mapping[str, Operation]
) -> bool:
    """Return whether an erasure leaves fewer than two classes, so that no successor can be trained."""
    gone = {each for each, op in erasures.items() if op.called < erasure.returned}
    return len({label for each, (label, _) in examples.items() if each not in gone}) < 2


def _later_versions(erasure: Operation, history: History, final: FinalData) -> set[int]:
    """Return the versions whose jobs were accepted, or still under way, after an erasure."""
    first: dict[str, float] = {}
    for op in history.of("FineTune"):
        first.setdefault(op.sent["request_id"], op.called)
    begun = {op.result: first[op.sent["request_id"]] for op in history.of("FineTune") if op.is_ok}
    jobs = {job for job, called in begun.items() if called > erasure.returned}
    for op in history.of("Status"):
        if op.is_ok and op.called > erasure.returned and op.result[0] not in TERMINAL:
            jobs.add(op.key)
    return {number for job, number in final.published.items() if job in jobs}
