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
from histories.history import History


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalFeedback:
    """Feedback after the run.

    Attributes:
        model: the model.
        state: its state.
        learned: the version that learned it; None for none.
        versions: the versions whose fine-tunes added its example to those of their parents.
    """

    model: str
    state: str
    learned: int | None
    versions: Sequence[int]


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
        published = connection.execute(select(versions)).all()
        retrains = [
            FinalRetrain(job_id=row.job_id, model=row.model, created=row.created, finished=row.finished)
            for row in connection.execute(select(jobs))
            if row.payload.get("trigger") == "retrain"
        ]
    added: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in published:
        manifest = Manifest.from_json(row.manifest)
        content = store.read_file(row.artifact, manifest, EXAMPLES_FILE)
        assert content is not None
        listed = ExampleList.from_bytes(content)
        for example in listed.examples[: manifest.feedback_count]:
            added[row.model, example.id].append(int(row.number))
    final = {
        row.feedback_id: FinalFeedback(
            model=row.model,
            state=row.state,
            learned=None if row.learned is None else int(row.learned),
            versions=sorted(added[row.model, row.example_id]),
        )
        for row in found
    }
    return final, retrains


def violations(
    history: History, final: Mapping[str, FinalFeedback], retrains: Sequence[FinalRetrain]
) -> Iterator[str]:
    """Yield every broken promise about feedback on different contents, once all retrains have ended."""
    by_request: dict[str, set[str]] = defaultdict(set)
    for op in history.of("SendFeedback"):
        if not op.is_ok:
            continue
        by_request[op.sent["request_id"]].add(op.result)
        if op.result not in final:
            yield f"acknowledged feedback {op.result} is lost"
    for request_id, found in by_request.items():
        if len(found) > 1:
            yield f"request {request_id} recorded feedback {', '.join(sorted(found))}"
    for feedback_id, each in final.items():
        if each.state != "learned":
            yield f"feedback {feedback_id} is {each.state} and was not learned"
        if list(each.versions) != [each.learned]:
            yield (
                f"feedback {feedback_id} is {each.state} by version {each.learned}, and an added example of "
                f"versions {list(each.versions)}"
            )
    yield from overlaps(retrains)


def overlaps(retrains: Sequence[FinalRetrain]) -> Iterator[str]:
    """Yield the retrains that began while another one of the same model was under way."""
    last: dict[str, FinalRetrain] = {}
    for retrain in sorted(retrains, key=lambda each: each.created):
        before = last.get(retrain.model)
        if before is not None and (before.finished is None or before.finished > retrain.created):
            yield f"retrains {before.job_id} and {retrain.job_id} of {retrain.model} were under way together"
        last[retrain.model] = retrain
