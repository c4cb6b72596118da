"""What is there before a simulation begins: versions, and the model of the data loop with its policies."""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from fakes import make_manifest
from headstart_server.database.dataset_tables import archive_uses
from headstart_server.database.tables import models
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_log import ErasedMembers
from headstart_server.jobs import stored
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models import feedback_rows
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.retrain_policy import RetrainPolicy
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from histories.history import Operation
from histories.stored_data import MODEL as DATA_MODEL
from histories.stored_data import content_of
from simulation.callers import ALIAS, MODEL
from simulation.data_callers import ALIAS as DATA_ALIAS
from simulation.data_callers import CLASSES
from simulation.data_replica import head, manifest_of
from simulation.database import SimulatedDatabase, Transactions
from simulation.storage import SimulatedFolder

if TYPE_CHECKING:
    from simulation.world import World

#: Seconds since 1970 when a simulation begins, by the database's clock.
BEGIN = 1_700_000_000.0
#: The job of the first version, and the dataset that it stands for.
BASE = "base"
#: Failed retrains in a row after which the policy stops.
MAX_FAILURES = 3
#: Examples of each class of the first version.
_EACH = 3


class Undisturbed(Transactions):
    """Transactions in which nothing goes wrong."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def now(self) -> float:
        return self._world.database_now()


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """What is stored, read and written while nothing goes wrong."""

    database: SimulatedDatabase
    versions: VersionStore
    datasets: DatasetStore


def quiet(world: "World") -> Quiet:
    """Return what is stored, for the beginning and the end of a simulation."""
    database = SimulatedDatabase(world.tables, Undisturbed(world))

    def folder(bucket: object) -> SimulatedFolder:
        return SimulatedFolder(bucket, lambda _: None, world.clock, world.scratch / "quiet")  # type: ignore[arg-type]

    return Quiet(
        database=database,
        versions=VersionStore(folder(world.bucket)),
        datasets=DatasetStore(folder(world.archives), DatasetLimits(), ErasedMembers(database).among),
    )


def publish_versions(world: "World") -> None:
    """Publish the versions of the model that has no data loop, and its alias."""
    execute, count = world.tables.raw.execute, world.plan.versions
    execute("UPDATE counters SET value = 1")
    execute(
        "INSERT INTO models (name, created, next_number, changed) VALUES (?, ?, ?, 1)",
        (MODEL, BEGIN, count + 1),
    )
    for number in range(1, count + 1):
        artifact = f"first{number}.1"
        execute(
            "INSERT INTO versions (model, number, job_id, artifact, size_bytes, created, manifest) "
            "VALUES (?, ?, ?, ?, 2, ?, ?)",
            (MODEL, number, f"first{number}", artifact, BEGIN, _manifest(number)),
        )
        world.bucket.files[artifact] = {"head": b"h", "manifest": b"m"}
        world.bucket.written[artifact] = 0.0
    execute(
        "INSERT INTO tenant_usage (tenant, version_count, version_bytes, example_bytes) VALUES ('', ?, ?, 0)",
        (count, 2 * count),
    )
    execute("INSERT INTO aliases VALUES (?, ?, 1, 1, ?)", (MODEL, ALIAS, BEGIN))


@cache
def _manifest(number: int) -> str:
    return json.dumps(make_manifest(MODEL, f"first{number}").to_json())


def publish_first(world: "World") -> None:
    """Publish a version of the model, and set its policies."""
    plan = world.plan.policy
    assert plan is not None
    here = quiet(world)
    labels = {f"{BASE}-{place}": CLASSES[place % len(CLASSES)] for place in range(_EACH * len(CLASSES))}
    writer = here.datasets.writer(BASE)
    writer.add(
        [
            Example(content=content_of(each), target=Target.of_label(label), id=each)
            for each, label in labels.items()
        ]
    )
    examples = writer.finish_batch()
    files = {EXAMPLES_FILE: ExampleList(examples=examples).to_bytes()}
    manifest, size = here.versions.write(f"{BASE}.1", head(), manifest_of(BASE), files)
    registry = Registry(here.database, here.versions, ResidentVersions(1 << 20))
    with here.database.write("jobs.succeed") as connection:
        registry.insert(
            connection,
            artifact=f"{BASE}.1",
            size_bytes=size,
            manifest=manifest,
            expires=None,
            alias=DATA_ALIAS,
        )
        connection.execute(archive_uses.insert(), {"holder": BASE, "archive": BASE})
        stored.note_archive(connection, BASE, "", writer.nbytes)
        policy = RetrainPolicy(
            alias=DATA_ALIAS,
            min_feedback_count=plan.min_feedback_count,
            max_delay=2.0,
            min_interval=0.0,
            max_failures=MAX_FAILURES,
        )
        capture = CapturePolicy(random_fraction=1.0, max_count=plan.max_captured, ttl=plan.capture_seconds)
        values = {"retrain": policy.to_json(), "capture": capture.to_json()}
        connection.execute(models.update().where(models.c.name == DATA_MODEL), values)
        feedback_rows.add_state(connection, DATA_MODEL)
    _note_first(world, labels)


def _note_first(world: "World", labels: dict[str, str]) -> None:
    """Add the calls that could have made the first version."""
    times = {"server": "", "called": -1.0, "returned": -0.5}
    sent = {"batch": 0, "examples": labels}
    world.history.add(Operation(kind="WriteExamples", key=BASE, sent=sent, result=1, **times))
    sent = {"request_id": BASE, "parent": None, "dataset": BASE, "edits": {}}
    world.history.add(Operation(kind="FineTune", key=DATA_MODEL, sent=sent, result=BASE, **times))
