"""Fits the successor of a version without erased examples, as a fine-tune of the other examples would."""

import math
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import NAMESPACE_URL, uuid5

import numpy as np

from headstart_server.auth.tenants import tenant_of
from headstart_server.datasets.dataset_store import ArchiveMember, DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.cache import working_for
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.tails import VersionTail
from headstart_server.errors import ExamplesNotKept, VersionNotFound
from headstart_server.evaluation.paired_predictions import ComparedHead
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.examples.dataset import dataset_digest
from headstart_server.learning.examples.stored_example import exclusion_mark
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto, Partial, required_views
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.lru import LruCache
from headstart_server.models.registry import Registry
from headstart_server.models.resident import check_backbone
from headstart_server.models.store import EXAMPLES_FILE, TAIL_FILE, encode_tail
from headstart_server.models.version import Manifest, TailFacts, Version
from headstart_server.models.version_files import EVALUATION_FILE, encode_evaluation
from headstart_server.training.activations import JobActivations
from headstart_server.training.evaluation_result import EvaluationResult, evaluate_fit
from headstart_server.training.extraction import FeatureExtraction, FeatureTable
from headstart_server.training.feature_step import FeatureStep
from headstart_server.training.fit_step import FitStep
from headstart_server.training.job_admission import check_memory
from headstart_server.training.publish_step import PublishStep

#: Maximum fits that are cached during an erasure.
_MAX_FITS = 4
#: Maximum bytes of features that are cached during an erasure.
_MAX_FEATURE_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RebuiltHead:
    """The successor of a version before it is stored."""

    candidate: ComparedHead
    manifest: Manifest
    files: Mapping[str, bytes]
    left_out: Collection[str]  # marks of the examples that were erased


class VersionRebuilder:
    """Fits successors of versions. Thread-safe.

    Args:
        memory_bytes: maximum memory of all jobs of this server; None for no limit.
    """

    def __init__(
        self,
        registry: Registry,
        datasets: DatasetStore,
        pool: BackbonePool,
        *,
        features: FeatureStep,
        fitting: FitStep,
        publishing: PublishStep,
        memory_bytes: int | None = None,
    ) -> None:
        self._registry = registry
        self._datasets = datasets
        self._pool = pool
        self._feature_step = features
        self._fitting = fitting
        self._publishing = publishing
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._fits: LruCache[str, _Fitted] = LruCache(_MAX_FITS)
        self._features: LruCache[str, FeatureTable] = LruCache(_MAX_FEATURE_BYTES, _nbytes)

    def version(self, model: str, number: int) -> Version | None:
        """Return a version; None if it was deleted."""
        with suppress(VersionNotFound):
            return self._registry.reader.version(model, number)
        return None

    def estimated_bytes(self, version: Version) -> int:
        """Return the estimated memory of a fit; 0 if unknown. Raise JobMemoryLimit if it is too large."""
        manifest = version.manifest
        estimate = check_memory(
            manifest.requested_recipe or Auto(),
            [self._pool.metadata(manifest.backbone).views],
            examples=math.ceil(manifest.example_count / (1.0 - manifest.held_out_fraction)),
            outputs=max(1, len(manifest.class_names)),
            limit=self._memory_bytes,
        )
        return estimate or 0

    def rebuild(self, version: Version, checkpoint: Callable[[], None] = lambda: None) -> RebuiltHead:
        """Return the successor of a version. Raise ExampleErasedError if one was erased meanwhile."""
        listed = self._registry.files.examples_alone(version)
        if listed is None:
            raise _not_kept(version, "its list of examples is missing.")
        erased = set(self._datasets.erased(listed.archives))
        kept = _without(listed, erased)
        left_out = {
            exclusion_mark(one.digest) for one in listed.examples if (one.archive, one.member) in erased
        }
        embedder = self._pool.load(version.manifest.backbone, checkpoint)
        check_backbone(self._registry.files.load(version.model, version.number), embedder.digest)
        with working_for(tenant_of(version.model)):
            fitted = self._fit_once(version, kept, embedder, checkpoint)
        return self._result(version, kept, fitted, left_out)

    def forget(self) -> None:
        """Clear cached fits and features: an example that is erased later must not stay in memory."""
        with self._lock:
            for key in self._fits:
                self._fits.pop(key)
            for key in self._features:
                self._features.pop(key)

    def _fit_once(
        self, version: Version, kept: ExampleList, embedder: Embedder, checkpoint: Callable[[], None]
    ) -> "_Fitted":
        """Fit a version, unless a fit with the same examples and settings is cached."""
        key = _fit_key(version, kept, embedder)
        with self._lock:
            found = self._fits.get(key)
        if found is not None:
            return found
        recipe = version.manifest.requested_recipe or Auto()
        with self._feature_step.activations(recipe, f"{version.artifact}.erase") as collected:
            fitted = self._fit(version, kept, embedder, collected, checkpoint)
        # The tail of `partial` belongs to one model.
        if not isinstance(recipe, Partial):
            with self._lock:
                self._fits.add(key, fitted)
        return fitted

    def _fit(
        self,
        version: Version,
        kept: ExampleList,
        embedder: Embedder,
        activations: JobActivations,
        checkpoint: Callable[[], None],
    ) -> "_Fitted":
        manifest = version.manifest
        recipe = manifest.requested_recipe or Auto()
        table = self._table(version, kept, embedder, activations, checkpoint)
        spec = FineTuneSpec(
            model=version.model,
            backbone=manifest.backbone,
            held_out_fraction=manifest.held_out_fraction,
            seed=manifest.seed,
        )
        held_out = table.held_out_mask(spec, checkpoint)
        training = table.part(~held_out)
        head = fit(
            recipe,
            training.views,
            training.targets,
            training.digests,
            seed=manifest.seed,
            modality=table.modality,
            tails=activations.tools(embedder, training.digests, lambda _: None, checkpoint),
            checkpoint=checkpoint,
            matrices=self._fitting.matrices,
        )
        tail = activations.tail(head.tail, version.model)
        apart = table.part(held_out)
        own = activations.own_views(tail, embedder, apart.views, apart.digests, checkpoint)
        analysis = replace(table, indexes=np.arange(len(table.examples))).analysis(head, held_out, checkpoint)
        result = evaluate_fit(head, table, held_out, own=own, checkpoint=checkpoint)
        findings = analysis.findings(seed=manifest.seed, estimated_seconds=0.0, fault_count=0)
        files = {**analysis.files(), **({TAIL_FILE: encode_tail(head.tail)} if head.tail else {})}
        return _Fitted(
            embedder=embedder,
            head=head,
            training=training,
            tail=tail,
            result=result,
            findings=findings,
            files=files,
        )

    def _table(
        self,
        version: Version,
        kept: ExampleList,
        embedder: Embedder,
        activations: JobActivations,
        checkpoint: Callable[[], None],
    ) -> FeatureTable:
        recipe = version.manifest.requested_recipe or Auto()
        with closing(self._datasets.read_listed(kept)) as dataset:
            extraction = FeatureExtraction(
                dataset, required_views(recipe, embedder.info.views), embedder.info.modality
            )
            key = _features_key(version, embedder, extraction)
            with self._lock:
                found = self._features.get(key)
            # The recipe `partial` needs activations, too.
            if found is not None and not isinstance(recipe, Partial):
                return extraction.table(found)
            extraction.run(
                embedder,
                window=self._feature_step.window,
                checkpoint=checkpoint,
                cuts=activations.begin(embedder.info, extraction.content_count),
                taken=lambda digest, row: activations.add(digest, row.views),
            )
            activations.finish()
            if extraction.faults:
                fault = extraction.faults[min(extraction.faults)]
                raise _not_kept(version, fault.message)
            table = extraction.table()
            if _nbytes(table) <= _MAX_FEATURE_BYTES:
                with self._lock:
                    self._features.add(key, table)
            return table

    def _result(
        self, version: Version, kept: ExampleList, fitted: "_Fitted", left_out: Collection[str]
    ) -> RebuiltHead:
        head = fitted.head
        known = replace(kept, outcomes=fitted.result.outcomes)
        manifest = self._manifest(version, kept, fitted)
        candidate = ComparedHead(head=head.head, tail=fitted.tail, embedder=fitted.embedder, known=known)
        findings = replace(fitted.findings, estimated_seconds=version.manifest.fit_seconds)
        evaluation = encode_evaluation(fitted.result.evaluation, findings)
        files = {
            EXAMPLES_FILE: known.to_bytes(),
            EVALUATION_FILE: evaluation,
            **fitted.files,
        }
        return RebuiltHead(candidate=candidate, manifest=manifest, files=files, left_out=left_out)

    def _manifest(self, version: Version, kept: ExampleList, fitted: "_Fitted") -> Manifest:
        head = fitted.head
        return replace(
            successor_manifest(version, kept),
            recipe=head.recipe,
            example_count=len(fitted.training.targets),
            class_names=fitted.training.targets.class_names,
            metrics=fitted.result.evaluation.metrics,
            created=self._publishing.now(),
            software=self._publishing.software,
            runtime=fitted.embedder.runtime,
            stop_reason=head.stop_reason or "",
            thresholds=tuple(head.head.thresholds.tolist()),
            note=head.note,
            tail=None
            if head.tail is None or fitted.tail is None
            else TailFacts(blocks=head.tail.blocks, cut=fitted.tail.cut),
            energy=None,
        )


def successor_manifest(version: Version, kept: ExampleList) -> Manifest:
    """Return the manifest of a version, updated for the examples of its successor."""
    old = version.manifest
    own = [example for example in kept.examples if example.archive == old.job_id]
    return replace(
        old,
        # A retry after a crash gives the same ID, and a version is published once for each.
        job_id=uuid5(NAMESPACE_URL, f"erase:{version.artifact}").hex,
        dataset_digest=dataset_digest(kept.examples),
        added_count=len(own) if old.parent else len(kept.examples),
        feedback_count=sum(example.feedback for example in own) if old.feedback_count else 0,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Fitted:
    embedder: Embedder
    head: FittedHead
    training: FeatureTable
    tail: VersionTail | None
    result: EvaluationResult
    findings: DatasetFindings
    files: Mapping[str, bytes]


def _fit_key(version: Version, kept: ExampleList, embedder: Embedder) -> str:
    manifest = version.manifest
    # All except the locations of the contents.
    fields = kept.to_json()
    examples = [
        fields.get(name) for name in ("id", "target", "held_out", "digest", "kind", "kinds", "weight")
    ]
    settings = (
        tenant_of(version.model),
        embedder.digest,
        manifest.backbone,
        manifest.requested_recipe,
        manifest.held_out_fraction,
        manifest.seed,
    )
    return sha256(repr((settings, examples)).encode()).hexdigest()


def _nbytes(table: FeatureTable) -> int:
    return sum(view.nbytes for view in table.views.values())


def _features_key(version: Version, embedder: Embedder, extraction: FeatureExtraction) -> str:
    """Return the hash of everything that determines the features of a dataset."""
    settings = (tenant_of(version.model), embedder.digest, embedder.runtime, extraction.views)
    return sha256(repr((settings, extraction.usable_digests)).encode()).hexdigest()


def _not_kept(version: Version, problem: str) -> ExamplesNotKept:
    return ExamplesNotKept(
        f"Version {version.number} of model '{version.model}' cannot be fitted again: {problem} Delete the "
        "version, or fine-tune again without the example.",
        metadata={"model": version.model, "version": str(version.number)},
    )


def _without(listed: ExampleList, erased: Collection[ArchiveMember]) -> ExampleList:
    """Return a list without erased examples, which leave no trace in it."""
    kept = [one for one in listed.examples if (one.archive, one.member) not in erased]
    return replace(listed, examples=kept, outcomes=())
