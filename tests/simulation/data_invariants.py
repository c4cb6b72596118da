"""What must be true of datasets, edits, erasures, feedback, retrains and captures after a simulation."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.store import EXAMPLES_FILE
from histories import examples, feedback
from histories.feedback import FinalFeedback, FinalRetrain
from histories.history import Outcome
from histories.stored_data import MODEL, FinalData, content_of, read_stored
from simulation.beginning import BASE, MAX_FAILURES, quiet

if TYPE_CHECKING:
    from simulation.world import World

#: Why a job of the data loop may fail here.
_REASONS = {"CRASHED_REPEATEDLY", "SIMULATED"}


def of_data(world: "World") -> list[str]:
    """Return everything that is broken in the data loop."""
    try:
        final = _final(world)
    except ArtifactDamaged as error:
        return [f"a version of {MODEL} is damaged: {error.message}"]
    return [
        *examples.violations(world.history, final),
        *_of_jobs(world),
        *_of_versions(world, final),
        *_of_erased(world, final),
        *_of_feedback(world, final),
        *_of_retrains(world),
        *_of_lineage(world, final),
        *_of_captures(world),
    ]


def needed_archives(world: "World") -> set[str]:
    """Return the archives that somebody needs at the end."""
    rows = world.tables.rows
    holders = {job_id for (job_id,) in rows("SELECT job_id FROM versions")}
    holders |= {dataset_id for (dataset_id,) in rows("SELECT dataset_id FROM datasets")}
    holders |= {each for (each,) in rows("SELECT feedback_id FROM feedback WHERE state = 'pending'")}
    uses = rows("SELECT holder, archive FROM archive_uses WHERE released = 0")
    return {archive for holder, archive in uses if holder in holders}


def _final(world: "World") -> FinalData:
    here = quiet(world)
    contents = {**world.archives.contents(), **world.captures.contents()}
    found = read_stored(here.database, here.versions, here.datasets, MODEL, contents)
    return replace(found, published={**found.published, BASE: 1})


def _of_jobs(world: "World") -> Iterator[str]:
    query = "SELECT job_id, error FROM jobs WHERE model = ? AND state = 'failed'"
    for job_id, error in world.tables.rows(query, MODEL):
        if json.loads(error)["reason"] not in _REASONS:
            yield f"job {job_id} failed: {error}"


def _of_versions(world: "World", final: FinalData) -> Iterator[str]:
    """Each version has its files, and aliases name versions."""
    for number, artifact in world.tables.rows("SELECT number, artifact FROM versions WHERE model = ?", MODEL):
        if EXAMPLES_FILE not in world.bucket.files.get(artifact, ()):
            yield f"version {number} of {MODEL} is without its files {artifact}"
    for name, number in world.tables.rows("SELECT name, number FROM aliases WHERE model = ?", MODEL):
        if number not in final.versions:
            yield f"alias {name} names version {number} of {MODEL}, which is not there"


def _of_erased(world: "World", final: FinalData) -> Iterator[str]:
    """No version that was published after an erasure was acknowledged has the example."""
    for op in world.history.of("EraseExample"):
        if not op.is_ok:
            continue
        for number, listed in final.versions.items():
            if op.key in listed and world.published[number] > op.returned:
                yield f"version {number} of {MODEL} was published with example {op.key}, erased before"
        if op.sent["rebuild"]:
            unfinished = "SELECT erasure_id FROM erasures WHERE example_id = ? AND finished IS NULL"
            if world.tables.rows(unfinished, op.key):
                yield f"the erasure of example {op.key} was acknowledged and is not complete"
    for number, result in world.tables.rows("SELECT number, result FROM erasure_versions"):
        reason = json.loads(result or "{}").get("skipped_reason", "")
        if "fault of the server" in reason:
            yield f"version {number} of {MODEL} was not replaced: {reason}"


def _of_feedback(world: "World", final: FinalData) -> Iterator[str]:
    """Each acknowledged feedback is learned by exactly one version, and retrains do not overlap."""
    versions = _added_to(world, final)
    newest = dict(world.tables.rows("SELECT digest, max(number) FROM feedback GROUP BY digest"))
    gone = _deleted(world)
    query = "SELECT feedback_id, example_id, state, learned, digest, number FROM feedback"
    found = {
        feedback_id: FinalFeedback(
            model=MODEL,
            state=state,
            learned=learned,
            # A version that was deleted with all its descendants has no list.
            versions=sorted(versions[example_id] or ({learned} & gone)),
            example=example_id,
            is_replaced=number < newest[digest],
        )
        for feedback_id, example_id, state, learned, digest, number in world.tables.rows(query)
    }
    retrains = [
        FinalRetrain(job_id=job_id, model=MODEL, created=created, finished=finished)
        for job_id, created, finished, payload in world.tables.rows(
            "SELECT job_id, created, finished, payload FROM jobs WHERE model = ?", MODEL
        )
        if json.loads(payload).get("trigger") == "retrain"
    ]
    may_wait = _failures(world) >= MAX_FAILURES
    yield from feedback.violations(world.history, found, retrains, may_wait=may_wait)


def _deleted(world: "World") -> set[int]:
    """Return the versions that callers deleted, or may have deleted."""
    calls = world.history.of("DeleteVersion")
    return {op.sent["version"] for op in calls if op.key == MODEL and op.outcome is not Outcome.FAILED}


def _failures(world: "World") -> int:
    ((failures,),) = world.tables.rows("SELECT failures FROM retrains WHERE model = ?", MODEL)
    return int(failures)


def _added_to(world: "World", final: FinalData) -> dict[str, set[int]]:
    """Return the versions whose jobs added each example of feedback, by its ID."""
    found: dict[str, set[int]] = defaultdict(set)
    for (artifact,) in world.tables.rows("SELECT artifact FROM versions WHERE model = ?", MODEL):
        listed = ExampleList.from_bytes(world.bucket.files[artifact][EXAMPLES_FILE])
        for example in listed.examples:
            if example.feedback:
                found[example.id].add(final.published[example.archive])
    return found


def _of_retrains(world: "World") -> Iterator[str]:
    """There are no more retrains than feedback and failures explain."""
    query = "SELECT payload, state FROM jobs WHERE model = ?"
    retrains = [
        state
        for payload, state in world.tables.rows(query, MODEL)
        if json.loads(payload).get("trigger") == "retrain"
    ]
    calls = [op for op in world.history.of("SendFeedback") if op.outcome is not Outcome.FAILED]
    # A request that is sent again after its feedback was erased records new feedback.
    sent = {op.result for op in calls if op.is_ok}
    sent |= {op.sent["request_id"] for op in calls} - {op.sent["request_id"] for op in calls if op.is_ok}
    succeeded = sum(state == "succeeded" for state in retrains)
    if succeeded > len(sent):
        yield f"{succeeded} retrains learned {len(sent)} feedbacks"
    if _failures(world) > MAX_FAILURES:
        yield f"the policy went on after {_failures(world)} failures in a row"


def _of_lineage(world: "World", final: FinalData) -> Iterator[str]:
    """Feedback that a version learned is in the next one, too, unless a fine-tune has moved the alias."""
    if any(step.kind == "edit" and "alias" in step.flags for step in world.plan.steps):
        return
    if not final.retrained or _deleted(world):
        return
    erased = {op.key for op in world.history.of("EraseExample") if op.outcome is not Outcome.FAILED}
    last = max(final.retrained)
    while last not in final.versions and last in final.replaced:
        last = final.replaced[last]
    learned = {each for retrain in final.retrained.values() for each in retrain.added}
    learned -= {each for retrain in final.retrained.values() for each in retrain.replaced}
    if lost := sorted(learned - final.versions.get(last, {}).keys() - erased):
        yield f"version {last} of {MODEL} is the last retrain, and lacks the feedback {lost} of those before"


def _of_captures(world: "World") -> Iterator[str]:
    """What is captured is within the bounds of the policy, and every object has its row."""
    plan = world.plan.policy
    assert plan is not None
    rows = world.tables.rows
    ready = {batch for (batch,) in rows("SELECT batch FROM capture_batches WHERE state = 'ready'")}
    if lost := sorted(ready - world.captures.files.keys()):
        yield f"captured inputs are without their objects {lost}"
    if left := sorted(world.captures.files.keys() - ready):
        yield f"objects of captured inputs are left: {left}"
    found = rows("SELECT prediction_id, batch FROM captured_inputs")
    if len(found) > plan.max_captured:
        yield f"{len(found)} inputs are captured, and {plan.max_captured} may be"
    for prediction_id, batch in found:
        if batch not in ready or content_of(prediction_id) not in world.captures.files[batch]["contents"]:
            yield f"captured input {prediction_id} is not in its object {batch}"
