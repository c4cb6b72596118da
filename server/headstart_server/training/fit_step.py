"""The step of a fine-tune that fits the head, or reuses the fit of an earlier attempt."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from zipfile import BadZipFile

import numpy as np

from headstart_server.backbones.contract.tail_training import TailEpoch
from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import ArtifactDamaged
from headstart_server.jobs.job import JobStep
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.recipe import Partial
from headstart_server.learning.heads.ridge import NUMPY
from headstart_server.models.store import TAIL_FILE, VersionStore, decode_tail, encode_tail
from headstart_server.models.version import Manifest
from headstart_server.training.activations import JobActivations
from headstart_server.training.extraction import FeatureTable
from headstart_server.training.progress import ProgressReporter

#: Name of the file with the out-of-fold outputs, the mask of counted ones, and the fingerprint.
OUTPUTS_FILE = "outputs.npz"


def fingerprint(embedder: Embedder, table: FeatureTable) -> str:
    """Return the hash of the backbone and the examples of a fit.

    The next attempt at a job may have others: an example was erased, or another release prepared the
    backbone.
    """
    targets = table.targets
    hashed = sha256(repr((embedder.digest, embedder.runtime, targets.class_names)).encode())
    for digest in table.digests:
        hashed.update(digest.encode())
    for numbers in (targets.matrix, targets.weights):
        hashed.update(np.ascontiguousarray(numbers).data)
    return hashed.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FitCheckpoint:
    """A fit of an earlier attempt."""

    fitted: FittedHead
    seconds: float


class FitCheckpoints:
    """Store and read fits as folders of the version store that no version's row names."""

    def __init__(self, versions: VersionStore) -> None:
        self._versions = versions

    def write(self, artifact: str, fitted: FittedHead, manifest: Manifest, mark: str) -> None:
        """Store a fit and its fingerprint under a name, with the manifest of the future version."""
        outputs = io.BytesIO()
        arrays: dict[str, Any] = {
            "counted": fitted.counted,
            "thresholds": fitted.thresholds,
            "interval": fitted.interval,
            "fingerprint": mark,
        }
        if fitted.outputs is not None:
            arrays["outputs"] = fitted.outputs
        np.savez(outputs, **arrays)
        files = {OUTPUTS_FILE: outputs.getvalue()}
        if fitted.tail is not None:
            files[TAIL_FILE] = encode_tail(fitted.tail)
        self._versions.write(artifact, fitted.head, manifest, files)

    def read(self, artifact: str, mark: str) -> FitCheckpoint | None:
        """Return a stored fit; None if it is missing, damaged, or has another fingerprint."""
        try:
            manifest = self._versions.read_manifest(artifact)
            head = self._versions.read(artifact, manifest)
            content = self._versions.read_file(artifact, manifest, OUTPUTS_FILE) or b""
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if str(arrays["fingerprint"]) != mark:
                    return None
                counted, outputs = arrays["counted"], arrays.get("outputs")
                thresholds, interval = arrays["thresholds"], arrays["interval"]
            tail = None
            if isinstance(manifest.recipe, Partial):
                weights = self._versions.read_file(artifact, manifest, TAIL_FILE)
                tail = None if weights is None else decode_tail(weights, manifest.recipe.blocks)
        except (ArtifactDamaged, BadZipFile, EOFError, KeyError, ValueError):
            return None
        fitted = FittedHead(
            head=head,
            recipe=manifest.recipe,
            metrics=manifest.metrics,
            stop_reason=StopReason(manifest.stop_reason) if manifest.stop_reason else None,
            outputs=outputs,
            thresholds=thresholds,
            interval=interval,
            counted=counted,
            tail=tail,
            note=manifest.note,
        )
        return FitCheckpoint(fitted=fitted, seconds=manifest.fit_seconds)

    def discard(self, artifact: str) -> None:
        """Remove a stored fit, if it exists."""
        self._versions.discard(artifact)


#: Minimum seconds of a fit that is stored: repeating a shorter one is cheaper than writing it.
STAGE_SECONDS = 1.0


class FitStep:
    """Fits heads, and stores slow fits for the next attempt at their job."""

    def __init__(self, versions: VersionStore, matrices: Matrices = NUMPY) -> None:
        self.matrices = matrices
        self._checkpoints = FitCheckpoints(versions)

    def fit(
        self,
        embedder: Embedder,
        table: FeatureTable,
        activations: JobActivations,
        progress: ProgressReporter,
        manifest: Callable[[FitCheckpoint], Manifest],
    ) -> FitCheckpoint:
        """Return a fitted head and the seconds that it took; store it with the manifest."""
        with progress.step(JobStep.FIT):
            found = self._earlier(embedder, table, progress)
            fitted = self._fit(embedder, table, activations, progress) if found is None else found.fitted
        seconds = progress.seconds(JobStep.FIT)
        if found is not None:
            return FitCheckpoint(fitted=fitted, seconds=found.seconds or seconds)
        made = FitCheckpoint(fitted=fitted, seconds=seconds)
        if seconds >= STAGE_SECONDS:
            self._store(made, manifest(made), fingerprint(embedder, table), progress)
        return made

    def _earlier(
        self, embedder: Embedder, table: FeatureTable, progress: ProgressReporter
    ) -> FitCheckpoint | None:
        staged = progress.staged
        if staged is None:
            return None
        mark = fingerprint(embedder, table)
        found = progress.retry_until_available(lambda: self._checkpoints.read(staged, mark))
        if found is None:
            # It may be the fit of an example that was erased.
            self._checkpoints.discard(staged)
            progress.staged = None
        return found

    def _fit(
        self, embedder: Embedder, table: FeatureTable, activations: JobActivations, progress: ProgressReporter
    ) -> FittedHead:
        spec = progress.job.spec
        progress.report(JobStep.FIT, 0, 0, force=True)

        def report(epoch: TailEpoch) -> None:
            epochs = spec.recipe.max_epochs if isinstance(spec.recipe, Partial) else 0
            noun = "epoch" if epoch.number == 1 else "epochs"
            message = f"Out-of-fold loss {epoch.loss:.4g} after {epoch.number} {noun}."
            progress.report(JobStep.FIT, epoch.number, epochs, message=message)

        fitted = fit(
            spec.recipe,
            table.views,
            table.targets,
            table.digests,
            seed=spec.seed,
            modality=table.modality,
            tails=activations.tools(embedder, table.digests, report, progress.checkpoint),
            checkpoint=progress.checkpoint,
            matrices=self.matrices,
        )
        if fitted.note:
            progress.report(JobStep.FIT, 1, 1, message=fitted.note, force=True)
        return fitted

    def _store(self, made: FitCheckpoint, manifest: Manifest, mark: str, progress: ProgressReporter) -> None:
        artifact = f"{progress.job.job_id}.{progress.job.attempt}.fit"
        progress.retry_until_available(lambda: self._checkpoints.write(artifact, made.fitted, manifest, mark))
        progress.staged = artifact
        progress.report(JobStep.FIT, 1, 1, message=made.fitted.note, force=True)
