"""Calls what executes SQL of named datasets, feedback and the policies of models."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from sqlalchemy import select

from fakes import JobDriver, Publisher
from headstart_server.auth.permissions import Scope
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.database.capture_tables import captured_inputs
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.dataset_catalog import DatasetCatalog
from headstart_server.datasets.dataset_rows import Batch
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.datasets.example_finder import FoundExample
from headstart_server.feedback.feedback import AnsweredPrediction, NewFeedback
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.jobs import stored
from headstart_server.jobs.job_counts import DataCounts
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.models import feedback_rows
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.feedback_rows import Answer, ChosenFeedback, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy
from scale.dataset import Sizes

Operation = Callable[[], object]

_TENANT = "t5"
_POLICY = RetrainPolicy(alias="live", min_feedback_count=1, min_interval=0.0)


class Rooms:
    """Operations on a database that `fill` filled.

    Args:
        publisher: the database.
        driver: submits jobs.
        eraser: notes what is erased.
        sizes: how large the database is.
        limits: returns the limits of a tenant.
    """

    def __init__(
        self,
        publisher: Publisher,
        driver: JobDriver,
        eraser: ExampleEraser,
        sizes: Sizes,
        limits: Callable[[str], TenantLimits],
    ) -> None:
        self._publisher = publisher
        self._driver = driver
        self._eraser = eraser
        self._sizes = sizes
        self._random = random.Random(2)
        self._catalog = DatasetCatalog(publisher.database)
        self._answered = 0
        self._feedback = FeedbackStore(publisher.database, limits)

    def operations(self) -> Iterator[tuple[str, Operation]]:
        """Yield each operation with its name."""
        catalog = self._catalog
        for scope in (None, Scope(tenant=_TENANT), Scope(tenant="absent")):
            yield f"datasets {scope}", lambda scope=scope: catalog.listed(after="", limit=101, scope=scope)
        yield "write a dataset", self._write_dataset
        yield "erase from a dataset", self._erase_from_dataset
        yield "measure an archive of a dataset", self._measure_dataset
        yield "delete a dataset", lambda: catalog.delete(self._write_dataset()[0])
        yield "delete abandoned datasets", lambda: catalog.delete_abandoned(1.0)
        yield "set policies", lambda: self._set_policies(self._model())
        yield "feedback", self._read_feedback
        yield "replace feedback", self._replace_feedback
        yield "learn feedback", self._learn
        yield "give feedback back", lambda: self._driver.job_store.queue.cancel(self._retrain())
        yield "fail to retrain", lambda: self._feedback.note_failure(self._model(), "INTERNAL", "no")
        yield "leave feedback out", self._leave_out
        yield "erase feedback", self._erase_feedback

    # Named datasets

    def _write_dataset(self) -> tuple[str, StoredExample]:
        """Return the name and the only example of a new dataset that is ready."""
        catalog, database = self._catalog, self._publisher.database
        name, archive = f"{_TENANT}/{self._new()}", self._new()
        example = StoredExample(
            target=Target.of_label("cat"),
            id=self._new(),
            held_out=False,
            digest=self._new(),
            kind="text",
            archive=archive,
        )
        batch = Batch(
            number=0,
            archive=archive,
            nbytes=10,
            digest="digest",
            checksum=bytes(32),
            modality=Modality.TEXT,
            examples=[example],
            columns=dataset_rows.list_columns([example]),
        )
        catalog.create(name, {"display_name": "", "description": "", "tags": {}})
        with database.write() as connection:
            dataset = dataset_rows.find(connection, name, lock=True)
            dataset_rows.batches_by_id(connection, dataset.dataset_id, [dataset_rows.id_digest(example.id)])
            dataset_rows.add_batch(connection, dataset, batch, database.now(connection))
            stored.note_archive(connection, archive, _TENANT, batch.nbytes)
            dataset_rows.batch_identity(connection, dataset.dataset_id, 0)
        catalog.update(name, {"description": "of animals"})
        catalog.finish(name)
        catalog.examples(name)
        return name, example

    def _erase_from_dataset(self) -> None:
        _, example = self._write_dataset()
        with self._publisher.database.read() as connection:
            for scope in (None, Scope(tenant=_TENANT)):
                list(dataset_rows.examples_with_id(connection, example.id, scope))
        self._eraser._note(FoundExample(places={(example.archive, 0): example.digest}))

    def _measure_dataset(self) -> None:
        _, example = self._write_dataset()
        with self._publisher.database.write() as connection:
            stored.measure(connection, example.archive, 5)
        DataCounts(self._publisher.database).refresh()

    # Policies and feedback

    def _set_policies(self, model: str) -> None:
        details = {"capture": CapturePolicy(random_fraction=0.1, ttl=60.0), "retrain": _POLICY}
        self._publisher.registry.update_model(model, details)

    def _answer(self, model: str, digest: str, label: str) -> str:
        """Record a label of a content; return the ID of the feedback."""
        found, _ = self._feedback.add(
            NewFeedback(
                feedback_id=self._new(),
                model=model,
                request_id=self._new(),
                request_hash="h",
                principal="",
                answer=Answer.LABEL,
                target=Target.of_label(label),
                prediction=AnsweredPrediction(prediction_id=self._captured(model), version=1),
                digest=digest,
                kind="text",
                nbytes=10,
            )
        )
        return found.feedback_id

    def _leave_out(self) -> None:
        model = self._model()
        self._feedback.leave_out(model, [self._answer(model, self._new(), "cat")], ())

    def _captured(self, model: str) -> str:
        """Return the ID of a captured input of a model, another one each time."""
        query = select(captured_inputs.c.prediction_id).where(captured_inputs.c.model == model)
        with self._publisher.database.read() as connection:
            found = list(connection.execute(query).scalars())
        self._answered += 1
        return str(found[self._answered % len(found)])

    def _read_feedback(self) -> None:
        feedback, model = self._feedback, self._model()
        feedback.replayed(model, "none", "h")
        feedback.list(model, before=None, limit=101)
        feedback.list(model, states=[FeedbackState.PENDING], before=10**9, limit=101)
        feedback.pending(model, 100)
        feedback.retrain_state(model)
        feedback.counts(model)
        feedback.counts(model, 3600.0)
        feedback.answers_of(model, 1)
        feedback.ready()

    def _replace_feedback(self) -> None:
        model, digest = self._model(), self._new()
        for label in ("cat", "dog"):
            self._answer(model, digest, label)

    def _retrain(self) -> str:
        """Submit a retrain of a model; return the ID of the job."""
        model, job_id = self._model(), self._new()
        self._set_policies(model)
        _, state = self._feedback.retrain_state(model)
        found = [self._answer(model, self._new(), "cat") for _ in range(3)]
        chosen = ChosenFeedback(
            feedback_ids=found,
            last_version=state.last_version,
            last_baseline=state.last_baseline,
            baseline=1,
        )
        submission = self._driver.submission(job_id, tenant="big", model=model, nbytes=10)
        self._driver.job_store.queue.submit(replace(submission, feedback=chosen))
        return job_id

    def _learn(self) -> None:
        job_id = self._retrain()
        with self._publisher.database.write() as connection:
            feedback_rows.learn(connection, job_id, 2)

    def _erase_feedback(self) -> None:
        feedback_id = self._answer(self._model(), self._new(), "cat")
        self._eraser._note(FoundExample(feedback_ids=[feedback_id]))

    # Arguments

    def _new(self) -> str:
        return f"new-{self._random.randrange(1 << 60):x}"

    def _model(self) -> str:
        return self._sizes.model(self._random.randrange(self._sizes.models))
