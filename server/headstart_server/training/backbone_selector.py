"""The first step of a job with the backbone `auto`: candidates are tried, and one is selected."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import numpy as np
import structlog

from headstart_server.datasets.dataset_store import Dataset, DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.dataset_features import serving_seconds
from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import (
    BackboneNotFound,
    Draining,
    HeadstartError,
    ServiceUnavailable,
    UnusableExamplesError,
    redacted_message,
)
from headstart_server.jobs.job import JobStep
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import quick_recipe, required_views
from headstart_server.learning.metrics.backbone_selection import (
    BackboneCandidate,
    BackboneSelection,
    CandidateOutcome,
    CandidateRanking,
    rank_candidates,
)
from headstart_server.learning.metrics.comparison import is_right
from headstart_server.learning.metrics.outcomes import LabeledOutputs
from headstart_server.training.candidates import check_recipe, megabytes
from headstart_server.training.extraction import FeatureExtraction, FeatureTable, check_faults
from headstart_server.training.progress import ProgressReporter
from headstart_server.training.selection_checkpoint import CandidateTrial, SelectionCheckpoint

log = structlog.get_logger(__name__)

#: Inputs that measure the serving time, and runs of each. The fastest run of each counts, because it depends
#: least on other work of the machine.
PROBES, PROBE_RUNS = 5, 3
#: A candidate is skipped after so many crashes of its process: one candidate must not fail the job.
MAX_DEATHS = 2
#: Completed fraction of a candidate once its features are computed.
_FEATURES_PART = 0.9


class BackboneSelector:
    """Chooses the backbone of one job. Used by one thread.

    Each candidate's features are computed on the train lane and stay in the cache, so that the fine-tune on
    the selected one runs no pass. Candidates are compared by closed-form heads, fitted on the examples that
    are not held out and measured out of fold.

    Args:
        window: maximum examples in flight between archive and backbone.
    """

    def __init__(
        self,
        progress: ProgressReporter,
        *,
        pool: BackbonePool,
        datasets: DatasetStore,
        matrices: Matrices,
        window: int,
    ) -> None:
        self._job = job = progress.job
        self._spec = job.spec
        self._pool = pool
        self._datasets = datasets
        self._progress = progress
        self._matrices = matrices
        self._window = window
        self._checkpoint = progress.checkpoint
        self._clock = progress.clock
        self._recipe = quick_recipe(job.spec.recipe)
        self._found = SelectionCheckpoint(dataset="")
        self._began = self._clock()

    def select(self) -> BackboneSelection:
        """Try the candidates that no earlier attempt has tried, and select one.

        An earlier selection stays, unless an example was erased since or the backbone has another digest.

        Raises:
            UnusableExamplesError, EmptyDataset, TooFewClasses or InvalidField: the examples cannot be used.
            JobCancelledError or JobLostError: raised by the checkpoint or the job store.
        """
        if self._job.choosing is not None:
            self._found = SelectionCheckpoint.from_json(self._job.choosing)
        job_id = self._job.job_id
        with closing(self._progress.retry_until_available(lambda: self._datasets.open(job_id))) as dataset:
            digest = _digest(dataset)
            if self._found.dataset != digest or any(map(self._has_changed, self._needed)):
                # The results are of other examples, or of other features.
                self._found = SelectionCheckpoint(dataset=digest)
            if self._found.choice is not None:
                return self._found.choice
            known = {trial.candidate.backbone for trial in self._found.trials}
            for place, name in enumerate(self._spec.backbone_candidates):
                if name not in known:
                    self._store(self._trial(dataset, name, place))
            choice = self._decided(dataset)
        self._found = replace(self._found, choice=choice)
        count = len(choice.candidates)
        self._report(count, f"Took {choice.backbone}. {choice.reason}", force=True, write=True)
        return choice

    @property
    def _needed(self) -> Iterator[CandidateTrial]:
        """The trials of earlier attempts that this one uses: of the selected candidate, or of all."""
        choice = self._found.choice
        for trial in self._scored:
            if choice is None or choice.backbone == trial.candidate.backbone:
                yield trial

    def _has_changed(self, trial: CandidateTrial) -> bool:
        """Return whether a candidate has another digest now, or cannot be loaded."""
        try:
            return self._loaded(trial.candidate.backbone).digest != trial.digest
        except _UnfitError:
            return True

    def _trial(self, dataset: Dataset, name: str, place: int) -> CandidateTrial:
        started = self._clock()
        outcome, why = CandidateOutcome.NOT_TRIED, self._reason_to_stop()
        if not why:
            try:
                self._begin(name, place)
                return self._tried(dataset, self._loaded(name), place, started)
            except _TimeOverError:
                why = f"The time budget of {self._spec.backbone_time_budget:g} s ended while it was tried."
            except _UnfitError as error:
                outcome, why = CandidateOutcome.FAILED, str(error)
            except (MemoryError, RuntimeError):
                outcome, why = CandidateOutcome.FAILED, self._broken(name)
        candidate = BackboneCandidate(
            backbone=name,
            outcome=outcome,
            message=why,
            megabytes=self._megabytes(name),
            seconds=self._clock() - started,
        )
        return CandidateTrial(candidate=candidate)

    def _begin(self, name: str, place: int) -> None:
        """Record that a candidate is tried, unless it crashed servers before."""
        if self._found.trying != name:
            self._found = replace(self._found, trying=name, crashes=self._job.crashes)
        elif self._job.crashes - self._found.crashes >= MAX_DEATHS:
            raise _UnfitError(f"The server died {MAX_DEATHS} times while it was tried.")
        self._report(place, f"{name} is being loaded.", force=True, write=True)

    def _loaded(self, name: str) -> Embedder:
        try:
            embedder = self._pool.load(name, self._checkpoint)
            check_recipe(embedder.info, self._spec.recipe)
        except (Draining, ServiceUnavailable):
            # The server is stopping, or a service does not answer: another attempt will try it.
            raise
        except HeadstartError as error:
            # A stop of the job is not the candidate's fault.
            self._checkpoint()
            # Every caller who may train can read it.
            message = redacted_message(error.reason, error.message, {"backbone": name})
            raise _UnfitError(message) from error
        except Exception as error:
            raise _UnfitError(self._broken(name)) from error
        return embedder

    def _tried(self, dataset: Dataset, embedder: Embedder, place: int, started: float) -> CandidateTrial:
        name = embedder.info.name
        extraction = FeatureExtraction(
            dataset, required_views(self._recipe, embedder.info.views), embedder.info.modality
        )

        def report(done: int, total: int) -> None:
            part = _FEATURES_PART * done / total if total else 0.0
            self._report(place, f"{name}: {done} of {total} examples.", part=part)

        extraction.run(embedder, window=self._window, checkpoint=self._check, progress=report)
        self._check_faults(extraction, len(dataset))
        table = extraction.table()
        seconds = self._serving_seconds(dataset, embedder, extraction.usable)
        trained = table.part(~table.held_out_mask(self._spec, self._check))
        fitted = fit(
            self._recipe,
            trained.views,
            trained.targets,
            trained.digests,
            seed=self._spec.seed,
            modality=table.modality,
            checkpoint=self._check,
            matrices=self._matrices,
        )
        return CandidateTrial(
            candidate=BackboneCandidate(
                backbone=name,
                outcome=CandidateOutcome.TRIED,
                milliseconds=seconds * 1e3,
                megabytes=megabytes(embedder.info),
                seconds=self._clock() - started,
            ),
            scores=_scores(fitted, trained, len(dataset)),
            digest=embedder.digest,
        )

    def _megabytes(self, name: str) -> float:
        """Return the size of a candidate that was not tried; 0 if it is unknown."""
        try:
            return megabytes(self._pool.metadata(name))
        except HeadstartError:
            return 0.0

    def _check_faults(self, extraction: FeatureExtraction, count: int) -> None:
        try:
            check_faults(self._spec, extraction.faults, count)
        except UnusableExamplesError as error:
            if self._scored:
                raise _UnfitError(error.message) from error
            # The examples are probably invalid: other backbones would report the same, as slowly.
            raise

    def _serving_seconds(self, dataset: Dataset, embedder: Embedder, usable: Sequence[int]) -> float:
        """Return the seconds of decoding and passing one input on its own, averaged over some inputs.

        The inputs are the same for each candidate.
        """
        first = {dataset.examples[index].digest: index for index in reversed(usable)}
        chosen = sorted(first.values())[:PROBES]
        contents = [dataset.read(index) for index in chosen]
        runs = [serving_seconds(embedder, contents, self._check) for _ in range(PROBE_RUNS)]
        return float(np.min(runs, axis=0).mean())

    def _decided(self, dataset: Dataset) -> BackboneSelection:
        trials = self._found.trials
        tried = self._scored
        if not tried:
            raise BackboneNotFound(
                "No candidate backbone could be tried: "
                + " ".join(f"{trial.candidate.backbone}: {trial.candidate.message}" for trial in trials)
            )
        ranking = rank_candidates(
            [np.asarray(trial.scores, np.float64) for trial in tried],
            [trial.candidate.milliseconds for trial in tried],
            np.array([example.weight for example in dataset.examples], np.float64),
        )
        standings = {
            trial.candidate.backbone: _standing(trial.candidate, ranking, place, self._job.task)
            for place, trial in enumerate(tried)
        }
        names = [trial.candidate.backbone for trial in tried]
        return BackboneSelection(
            backbone=names[ranking.chosen],
            reason=_reason(ranking, names, self._job.task),
            candidates=tuple(standings.get(each.candidate.backbone, each.candidate) for each in trials),
            time_budget=self._spec.backbone_time_budget,
            example_count=ranking.example_count,
        )

    # The time budget

    @property
    def _scored(self) -> list[CandidateTrial]:
        return [trial for trial in self._found.trials if trial.scores is not None]

    @property
    def _seconds(self) -> float:
        """Seconds spent, including earlier attempts."""
        return self._found.seconds + self._clock() - self._began

    def _is_over(self) -> bool:
        budget = self._spec.backbone_time_budget
        return budget is not None and bool(self._scored) and self._seconds >= budget

    def _check(self) -> None:
        """Check for a stop, and for the end of the time budget after the first candidate."""
        self._checkpoint()
        if self._is_over():
            raise _TimeOverError

    def _reason_to_stop(self) -> str:
        if self._is_over():
            return f"The time budget of {self._spec.backbone_time_budget:g} s was used up."
        if any(trial.scores is not None and not np.isfinite(trial.scores).any() for trial in self._scored):
            return "The examples are too few to distinguish it from the previous one by cross-validation."
        return ""

    # Progress

    def _store(self, trial: CandidateTrial) -> None:
        """Store the result of a candidate, after which the next attempt continues."""
        self._found = replace(self._found, trials=(*self._found.trials, trial))
        tried = trial.candidate
        message = f"{tried.backbone}: {tried.message or f'{tried.milliseconds:.1f} ms for each input.'}"
        self._report(len(self._found.trials), message, force=True, write=True)

    def _report(
        self, done: int, message: str, *, part: float = 0.0, force: bool = False, write: bool = False
    ) -> None:
        count = len(self._spec.backbone_candidates)
        choosing = None
        if write:
            choosing = replace(self._found, seconds=self._seconds).to_json()
        self._progress.report(
            JobStep.SELECT_BACKBONE,
            done,
            count,
            message=message,
            part=(done + part) / count,
            force=force,
            choosing=choosing,
        )

    def _broken(self, name: str) -> str:
        """Return the message for a candidate that raised an unexpected error."""
        # A stop of the server is not the candidate's fault.
        self._checkpoint()
        fault = uuid.uuid4().hex
        log.exception("backbone_candidate_failed", job_id=self._job.job_id, backbone=name, fault=fault)
        return f"It could not be loaded or run; the server's log has id {fault}."


class _UnfitError(Exception):
    """A candidate cannot be tried; the message has the reason."""


class _TimeOverError(Exception):
    """The time budget is used up."""


def _digest(dataset: Dataset) -> str:
    names = [(example.digest, example.target.to_json()) for example in dataset.examples]
    return sha256(json.dumps(names).encode()).hexdigest()


def _scores(fitted: FittedHead, table: FeatureTable, count: int) -> Float32:
    """Return the scores of a head's out-of-fold predictions for `count` examples; NaN without one."""
    scores = np.full(count, np.nan, np.float32)
    if fitted.outputs is None:
        return scores
    answered = LabeledOutputs(targets=table.targets, outputs=fitted.outputs, thresholds=fitted.thresholds)
    for index, example, outcome, counts in zip(
        table.indexes.tolist(), table.examples, answered.outcomes(), fitted.counted.tolist(), strict=True
    ):
        if counts and table.targets.task is Task.REGRESSION:
            scores[index] = -outcome.loss
        elif counts:
            scores[index] = is_right(example.target, outcome)
    return scores


def _standing(
    candidate: BackboneCandidate, ranking: CandidateRanking, place: int, task: Task
) -> BackboneCandidate:
    standing = ranking.standings[place]
    if standing is None:
        return candidate
    is_number = task is Task.REGRESSION
    return replace(
        candidate,
        accuracy=None if is_number else standing.score,
        mean_absolute_error=-standing.score if is_number else None,
        standard_error=standing.error,
        gap=standing.gap,
        gap_standard_error=standing.gap_standard_error,
    )


def _reason(ranking: CandidateRanking, names: Sequence[str], task: Task) -> str:
    standing = ranking.standings[ranking.chosen]
    if len(names) == 1:
        return "No other backbone was tried."
    if standing is None:
        return "It takes the fewest milliseconds; the examples are too few to tell the backbones apart."
    if ranking.chosen == ranking.best:
        return "It is the best, and no cheaper one is within one standard error of it."
    form = ".3g" if task is Task.REGRESSION else ".1%"
    gap = f"{standing.gap:{form}} ± {standing.gap_standard_error:{form}} on {ranking.example_count} examples"
    return (
        "It is the cheapest of those within one standard error of the best, "
        f"{names[ranking.best]}: behind by {gap}."
    )
