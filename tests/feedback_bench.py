"""Feedback and automatic retraining in one process, with captured inputs that a test chooses."""

from dataclasses import dataclass, field

from sqlalchemy import insert

from headstart_server.database.capture_tables import captured_inputs
from headstart_server.feedback.feedback import AnsweredPrediction, Feedback, FeedbackOutcome
from headstart_server.feedback.feedback_service import CapturedContent, FeedbackService, SentFeedback
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.feedback.retraining import Retraining
from headstart_server.jobs.job import Job, JobError
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.target import Target
from headstart_server.models.feedback_rows import Answer, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy
from workbench import Workbench, pet

#: A policy that retrains whenever there is feedback.
EAGER = RetrainPolicy(alias="stable", min_feedback_count=1, min_interval=0.0)


@dataclass
class FakeCaptured:
    """Captured inputs by model and prediction ID."""

    found: dict[tuple[str, str], CapturedContent] = field(default_factory=dict)

    def find(self, model: str, prediction_id: str) -> CapturedContent | None:
        return self.found.get((model, prediction_id))

    def may_arrive(self, prediction_id: str) -> bool:
        return False


def _row(prediction_id: str, model: str, version: int) -> dict[str, object]:
    """Return the row of a captured input."""
    texts = dict.fromkeys(("batch", "digest", "kind", "media_type"), "")
    numbers = dict.fromkeys(("place", "start", "nbytes", "created", "reasons"), 0)
    return {
        "prediction_id": prediction_id,
        "model": model,
        "number": version,
        **texts,
        **numbers,
        "expires": 1e12,
        "predicted": {},
        "classes": [],
        "direction": b"",
    }


class FeedbackBench:
    """Sends feedback and retrains.

    Args:
        bench: the way of jobs from submission to version.
        limits: of what a tenant stores.
    """

    def __init__(self, bench: Workbench, limits: TenantLimits | None = None) -> None:
        self.bench = bench
        self.captured = FakeCaptured()
        self.store = FeedbackStore(bench.driver.publisher.database, lambda _: limits or TenantLimits())
        self.service = FeedbackService(
            self.store, bench.registry, bench.datasets, bench.pool, captured=self.captured
        )
        self.retraining = Retraining(self.store, bench.registry, bench.datasets, bench.submissions)

    def capture(
        self,
        prediction_id: str,
        word: str,
        place: int,
        *,
        predicted: str | None = None,
        version: int = 1,
        is_random: bool = False,
        model: str = "pets",
    ) -> None:
        """Let an input have been captured."""
        with self.bench.driver.publisher.database.write("captures.write") as connection:
            connection.execute(insert(captured_inputs), _row(prediction_id, model, version))
        self.captured.found[model, prediction_id] = CapturedContent(
            content=pet(word, place).content,
            prediction=AnsweredPrediction(
                version=version,
                predicted=Target.of_label(predicted or word),
                is_random=is_random,
                time=self.bench.driver.clock(),
            ),
        )

    def answer(
        self, prediction_id: str, label: str | Answer, **fields: object
    ) -> tuple[Feedback, FeedbackOutcome]:
        """Answer a prediction with a label, or confirm or reject it."""
        answer = label if isinstance(label, Answer) else Answer.LABEL
        target = Target.of_label(label) if answer is Answer.LABEL else None
        return self.service.send(
            SentFeedback(
                **{
                    "model": "pets",
                    "prediction_id": prediction_id,
                    "answer": answer,
                    "target": target,
                    **fields,
                }
            )
        )

    def label(self, word: str, place: int, label: str, **fields: object) -> tuple[Feedback, FeedbackOutcome]:
        """Label an input without prediction."""
        content = pet(word, place).content
        target = Target.of_label(label)
        return self.service.send(
            SentFeedback(
                **{"model": "pets", "content": content, "answer": Answer.LABEL, "target": target, **fields}
            )
        )

    def set_policy(self, policy: RetrainPolicy | None = EAGER, model: str = "pets") -> None:
        self.bench.registry.update_model(model, {"retrain": policy})

    def retrain(self) -> int:
        """Run the retrain that the policy starts; returns the number of the version."""
        (job,) = self.retraining.run()
        return self.run(job)

    def run(self, job: Job) -> int:
        claimed = self.bench.driver.claim()
        assert claimed.job_id == job.job_id
        return self.bench.run(claimed)

    def fail(self, job: Job) -> None:
        """Let a job fail."""
        claimed = self.bench.driver.claim()
        assert claimed.job_id == job.job_id
        error = JobError(reason="INTERNAL", message="It failed. Try again.")
        self.bench.driver.job_store.runs.fail(claimed, error, claimed.findings)

    def states(self, model: str = "pets") -> dict[str, FeedbackState]:
        """The states of feedback by ID of its example."""
        return {
            each.example_id: each.state
            for each in reversed(self.store.list(model, before=None, limit=10_000))
        }

    def added(self, number: int) -> list[str]:
        """IDs of the examples that a version's fine-tune added to those of its parent."""
        version = self.bench.registry.reader.version("pets", number)
        return sorted(self.bench.ids(version)[: version.manifest.added_count])
