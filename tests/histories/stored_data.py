"""Datasets, versions with edits and erasures, as database and files have them after a run."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, bindparam, select

from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import dataset_batches, datasets, erasure_versions, erasures
from headstart_server.database.feedback_tables import feedback
from headstart_server.database.tables import jobs, versions
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ArtifactDamaged
from headstart_server.jobs.erased_members import erased_members
from headstart_server.learning.examples.dataset import DatasetLimits
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from headstart_server.models.version import Manifest

#: The model that is fine-tuned with edits, one version after another.
MODEL = "edited"
# Built once: the simulation executes them for each seed.
_DATASETS, _BATCHES = select(datasets), select(dataset_batches)
_VERSIONS = select(versions).where(versions.c.model == bindparam("model"))
_ENDED = select(jobs).where(jobs.c.model == bindparam("model"), jobs.c.result.is_not(None))
_JOBS = select(jobs).where(jobs.c.job_id.in_(bindparam("job_ids", expanding=True)))
_REBUILT = select(erasure_versions, erasures.c.example_id).where(
    erasure_versions.c.model == bindparam("model"),
    erasure_versions.c.erasure_id == erasures.c.erasure_id,
    erasure_versions.c.result.is_not(None),
)


def content_of(example_id: str) -> bytes:
    """Return the content of an example, which no other one contains."""
    return f"quick:<{example_id}>".encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalDataset:
    """A dataset after the run.

    Attributes:
        state: its state.
        example_count: the number of examples that it counts.
        class_counts: the number of examples by class that it counts.
        next_batch: the number of batches that it counts.
        batches: the label of each example by its ID, by batch.
    """

    state: str
    example_count: int
    class_counts: Mapping[str, int]
    next_batch: int
    batches: Mapping[int, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrained:
    """What a version of a retrain was made of.

    Attributes:
        parent: the number of its parent.
        added: the labels of its feedback by example ID.
        replaced: the IDs of examples of earlier feedback about the same contents.
    """

    parent: int
    added: Mapping[str, str]
    replaced: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalData:
    """What the clients of datasets, edits and erasures left.

    Attributes:
        datasets: by name.
        versions: label and weight of each example by its ID, by the number of the version.
        published: the number of the version that each job published, by the ID of the job.
        replaced: the number of the successor of each version that an erasure replaced.
        unreadable: the IDs of examples that are not erased and whose content is missing or damaged.
        contents: the bytes of each file of an archive, by the name of the file.
        retrained: the retrains that published versions, by the numbers of the versions.
        skipped: the versions that erasures with rebuild skipped, as pairs of the example and the number.
    """

    datasets: Mapping[str, FinalDataset]
    versions: Mapping[int, Mapping[str, tuple[str, float]]]
    published: Mapping[str, int]
    replaced: Mapping[int, int]
    unreadable: Sequence[str]
    contents: Mapping[str, bytes]
    retrained: Mapping[int, Retrained] = field(default_factory=dict)
    skipped: Collection[tuple[str, int]] = ()


def read(database: Database, artifacts: Path, model: str) -> FinalData:
    """Return the datasets, and the versions of a model."""
    contents = {path.name: path.read_bytes() for path in sorted((artifacts / "datasets").iterdir())}
    return read_stored(
        database,
        VersionStore(artifacts / "versions"),
        DatasetStore(artifacts / "datasets", DatasetLimits()),
        model,
        contents,
    )


def read_stored(
    database: Database,
    versions_of: VersionStore,
    store: DatasetStore,
    model: str,
    contents: Mapping[str, bytes],
) -> FinalData:
    """Return the datasets, and the versions of a model, as the rooms of the server read them."""
    with database.snapshot() as connection:
        lists = _version_lists(connection, versions_of, model)
        batches = _batch_lists(connection)
        found = connection.execute(_DATASETS).all()
        replaced = dict(replacements(connection, model))
        ended = connection.execute(_ENDED, {"model": model})
        published = {row.job_id: int(row.result["version"]) for row in ended if row.result}
        listed = [*lists.values(), *(each for parts in batches.values() for each in parts.values())]
        examples = {(one.archive, one.member): one for part in listed for one in part}
        gone = set(erased_members(connection, {archive for archive, _ in examples}))
        retrained = dict(_retrained(connection, published))
        rebuilt = connection.execute(_REBUILT, {"model": model}).all()
    return FinalData(
        datasets={
            row.name: FinalDataset(
                state=row.state,
                example_count=int(row.example_count),
                class_counts=row.class_counts,
                next_batch=int(row.next_batch),
                batches={
                    number: {one.id: one.target.label for one in part}
                    for number, part in batches[row.dataset_id].items()
                },
            )
            for row in found
        },
        versions={
            number: {one.id: (one.target.label, one.weight) for one in part} for number, part in lists.items()
        },
        published=published,
        replaced=replaced,
        unreadable=sorted(
            one.id for place, one in examples.items() if place not in gone and not _is_readable(store, one)
        ),
        contents=contents,
        retrained=retrained,
        skipped={(row.example_id, int(row.number)) for row in rebuilt if not row.result.get("number")},
    )


def replacements(connection: Connection, model: str) -> Iterator[tuple[int, int]]:
    """Yield the versions of a model that erasures replaced, each with its successor."""
    for row in connection.execute(_REBUILT, {"model": model}):
        if row.result.get("number"):
            yield int(row.number), int(row.result["number"])


def _retrained(connection: Connection, published: Mapping[str, int]) -> Iterator[tuple[int, Retrained]]:
    for row in connection.execute(_JOBS, {"job_ids": sorted(published)}):
        if row.payload.get("trigger") == "retrain":
            learned = connection.execute(select(feedback).where(feedback.c.job_id == row.job_id)).all()
            added = {each.example_id: Target.from_json(each.target).label for each in learned}
            same = feedback.c.digest.in_([each.digest for each in learned])
            replaced = connection.execute(select(feedback.c.example_id).where(same)).scalars()
            yield (
                published[row.job_id],
                Retrained(
                    parent=int(row.payload["spec"]["parent_version"]),
                    added=added,
                    replaced=frozenset(replaced).difference(added),
                ),
            )


def _version_lists(
    connection: Connection, store: VersionStore, model: str
) -> dict[int, Sequence[StoredExample]]:
    found = {}
    for row in connection.execute(_VERSIONS, {"model": model}):
        content = store.read_file(row.artifact, Manifest.from_json(row.manifest), EXAMPLES_FILE)
        assert content is not None
        found[int(row.number)] = ExampleList.from_bytes(content).examples
    return found


def _batch_lists(connection: Connection) -> Mapping[str, Mapping[int, Sequence[StoredExample]]]:
    found: dict[str, dict[int, Sequence[StoredExample]]] = defaultdict(dict)
    for row in connection.execute(_BATCHES):
        found[row.dataset_id][int(row.number)] = ExampleList.from_bytes(bytes(row.listed)).examples
    return found


def _is_readable(store: DatasetStore, example: StoredExample) -> bool:
    try:
        return content_digest(store.read(example)) == example.digest
    except ArtifactDamaged:
        return False
