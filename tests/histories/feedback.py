"""Feedback, and the versions that learned it, as database and files have it after a run."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from headstart_server.database.database import Database
from headstart_server.database.feedback_tables import feedback
from headstart_server.database.tables import jobs, versions
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from headstart_server.models.version import Manifest
from histories.history import History, Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalFeedback:
    """Feedback after the run.

    Attributes:
        model: the model.
        state: its state.
        learned: the version that learned it; None for none.
        versions: the versions whose fine-tunes added its example to those of their parents.
        example: the ID of its example; empty for that of the feedback.
        is_replaced: whether later feedback is about the same content.
    """

    model: str
    state: str
    learned: int | None
    versions: Sequence[int]
    example: str = ""
    is_replaced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalRetrain:
    """A retrain after the run: from its acceptance to its end, in seconds since 1970."""

    job_id: str
    model: str
    created: float
    finished: float | None


def read(database: Database, store: VersionStore) -> tuple[dict[str, FinalFeedback], list[FinalRetrain]]:
    """Return the feedback by ID, and the retrains."""
    with database.snapshot() as connection:
        found = connection.execute(select(feedback)).all()
        trained = [row for row in connection.execute(select(jobs)) if row.payload.get("trigger") == "retrain"]
    retrains = [
        FinalRetrain(job_id=row.job_id, model=row.model, created=row.created, finished=row.finished)
        for row in trained
    ]
    published = {row.job_id: int(row.result["version"]) for row in trained if row.result}
    added: dict[tuple[str, str], set[int]] = defaultdict(set)
    for model, _, listed in _lists(database, store):
        for example in listed.examples:
            # It is in the archive of the job that added it, in descendants and successors, too.
            if example.feedback and example.archive in published:
                added[model, example.id].add(published[example.archive])
    newest: dict[tuple[str, str], int] = {}
    for row in sorted(found, key=lambda each: each.number):
        newest[row.model, row.digest] = row.number
    final = {
        row.feedback_id: FinalFeedback(
            model=row.model,
            state=row.state,
            learned=None if row.learned is None else int(row.learned),
            versions=sorted(added[row.model, row.example_id]),
            example=row.example_id,
            is_replaced=row.number < newest[row.model, row.digest],
        )
        for row in found
    }
    return final, retrains


def versions_of_examples(database: Database, store: VersionStore, model: str) -> dict[str, list[int]]:
    """Return the versions of a model that list each example, by its ID."""
    found: dict[str, list[int]] = defaultdict(list)
    for name, number, listed in _lists(database, store):
        for example in listed.examples if name == model else ():
            found[example.id].append(number)
    return found


def _lists(database: Database, store: VersionStore) -> Iterator[tuple[str, int, ExampleList]]:
    with database.snapshot() as connection:
        rows = connection.execute(select(versions)).all()
    for row in rows:
        content = store.read_file(row.artifact, Manifest.from_json(row.manifest), EXAMPLES_FILE)
        assert content is not None
        yield row.model, int(row.number), ExampleList.from_bytes(content)


def violations(
    history: History,
    final: Mapping[str, FinalFeedback],
    retrains: Sequence[FinalRetrain],
    *,
    may_wait: bool = False,
) -> Iterator[str]:
    """Yield every broken promise about feedback, once all retrains have ended.

    Args:
        may_wait: whether feedback may be pending, because the policy has stopped after failures.
    """
    erased = {op.key for op in history.of("EraseExample") if op.outcome is not Outcome.FAILED}
    by_request: dict[str, set[str]] = defaultdict(set)
    for op in history.of("SendFeedback"):
        if not op.is_ok or (op.sent.get("example") or op.result) in erased:
            continue
        by_request[op.sent["request_id"]].add(op.result)
        if op.result not in final:
            yield f"acknowledged feedback {op.result} is lost"
    for request_id, found in by_request.items():
        if len(found) > 1:
            yield f"request {request_id} recorded feedback {', '.join(sorted(found))}"
    for feedback_id, each in final.items():
        is_superseded = each.is_replaced and each.state == "superseded"
        waits = is_superseded or (may_wait and each.state == "pending")
        if each.state != "learned" and not waits:
            yield f"feedback {feedback_id} is {each.state} and was not learned"
        if list(each.versions) != ([] if waits else [each.learned]):
            yield (
                f"feedback {feedback_id} is {each.state} by version {each.learned}, and an added example of "
                f"versions {list(each.versions)}"
            )
    yield from _of_erased(history, final)
    yield from overlaps(retrains)


def _of_erased(history: History, final: Mapping[str, FinalFeedback]) -> Iterator[str]:
    """Nothing is left of feedback once the erasure of its example was acknowledged."""
    erased = {op.key for op in history.of("EraseExample") if op.is_ok}
    for feedback_id, each in final.items():
        example_id = each.example or feedback_id
        if example_id in erased:
            yield f"feedback {feedback_id} of the erased example {example_id} is {each.state}"


def erased_violations(history: History, listed: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Yield the versions that list feedback whose example was erased with a rebuild.

    Args:
        listed: the versions that list each example, by its ID.
    """
    for op in history.of("EraseExample"):
        numbers = listed.get(op.key, ())
        if op.is_ok and op.sent["rebuild"] and numbers:
            yield f"versions {sorted(numbers)} have the erased example {op.key}"


def overlaps(retrains: Sequence[FinalRetrain]) -> Iterator[str]:
    """Yield the retrains that began while another one of the same model was under way."""
    last: dict[str, FinalRetrain] = {}
    for retrain in sorted(retrains, key=lambda each: each.created):
        before = last.get(retrain.model)
        if before is not None and (before.finished is None or before.finished > retrain.created):
            yield f"retrains {before.job_id} and {retrain.job_id} of {retrain.model} were under way together"
        last[retrain.model] = retrain
