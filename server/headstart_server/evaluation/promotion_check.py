"""Compares a new version with the alias's current version, and decides whether the alias moves."""

from collections.abc import Callable, Collection, Sequence

import structlog

from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import (
    ArtifactDamaged,
    BackboneNotFound,
    BackboneUnavailable,
    NoCommonExamples,
    VersionNotFound,
)
from headstart_server.evaluation.paired_predictions import ComparedHead, ExampleAccess, pair_predictions
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.metrics.comparison import PairedOutcome, compare
from headstart_server.learning.metrics.promotion import (
    Promotion,
    PromotionCriteria,
    decide_promotion,
    first_promotion,
    rejected_promotion,
)
from headstart_server.models.registry import Registry
from headstart_server.models.version import Version

log = structlog.get_logger(__name__)

#: Maximum checks of a version if its alias moves during each check.
MAX_PROMOTION_CHECKS = 5


class PromotionCheck:
    """Decides whether an alias may move to a version that is about to be published.

    Args:
        reader: opens a reader of stored contents.
        window: maximum number of examples in flight between archive and backbone.
    """

    def __init__(
        self, registry: Registry, pool: BackbonePool, reader: Callable[[], ArchiveReader], *, window: int
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._reader = reader
        self._window = window

    def decide(
        self,
        spec: FineTuneSpec,
        candidate: ComparedHead,
        checkpoint: Callable[[], None],
    ) -> Promotion | None:
        """Return the decision about a candidate; None if the spec has no promotion criteria.

        If the candidate has held-out examples, they are compared, because its own head predicted them.
        Otherwise all examples of both versions are compared, without examples of the parent that the
        fine-tune left out. A candidate that cannot be compared is not promoted, but the job does not fail.
        """
        if spec.promote_if is None or spec.alias is None:
            return None
        baseline = 0
        for _ in range(MAX_PROMOTION_CHECKS):
            baseline = self._registry.reader.alias_number(spec.model, spec.alias)
            if not baseline:
                return first_promotion(spec.alias)
            try:
                return self._judge(spec.promote_if, spec, baseline, candidate, checkpoint)
            except VersionNotFound:
                # The version was deleted meanwhile, so the alias was deleted or moved.
                continue
            except (ArtifactDamaged, NoCommonExamples) as error:
                log.warning("promotion_check_failed", model=spec.model, alias=spec.alias, error=error.message)
                return rejected_promotion(
                    spec.alias, baseline, f"It could not be compared with version {baseline}: {error.message}"
                )
        return alias_moved_promotion(spec.alias, baseline)

    def judge_replacement(
        self, version: Version, candidate: ComparedHead, left_out: Collection[str]
    ) -> Promotion | None:
        """Compare a successor with the version that it replaces, without the erased examples in `left_out`.

        The default criteria apply. The decision is only reported.
        """
        alias = next(iter(version.aliases), "")
        try:
            before = self._registry.files.load(version.model, version.number)
            known = self._registry.files.examples(version)
            if known is None:
                return None
            compared = ComparedHead(head=before.head, tail=before.tail, embedder=None, known=known)
            access = ExampleAccess(reader=self._reader, window=self._window)
            pairs = pair_predictions(compared, candidate, access, leave_out=left_out)
            return decide_promotion(PromotionCriteria(), alias, version.number, compare(_judged_on(pairs)))
        except (ArtifactDamaged, NoCommonExamples) as error:
            return rejected_promotion(
                alias,
                version.number,
                f"It could not be compared with version {version.number}: {error.message}",
            )

    def _judge(
        self,
        gate: PromotionCriteria,
        spec: FineTuneSpec,
        baseline: int,
        candidate: ComparedHead,
        checkpoint: Callable[[], None],
    ) -> Promotion:
        model, alias = spec.model, spec.alias or ""
        before = self._registry.files.load(model, baseline)
        if before.head.task is not candidate.head.task:
            return rejected_promotion(
                alias,
                baseline,
                f"Version {baseline} predicts another kind of label: {before.head.task} instead of "
                f"{candidate.head.task}.",
            )
        known = self._registry.files.examples(self._registry.reader.version(model, baseline))
        if known is None:
            return rejected_promotion(
                alias,
                baseline,
                f"The training examples of version {baseline} are unknown, because an older release created "
                "it.",
            )
        embedder = self._embedder(before.backbone, before.backbone_digest, checkpoint)
        pairs = pair_predictions(
            ComparedHead(head=before.head, tail=before.tail, embedder=embedder, known=known),
            candidate,
            ExampleAccess(reader=self._reader, window=self._window, checkpoint=checkpoint),
            leave_out=candidate.known.left_out,
        )
        return decide_promotion(gate, alias, baseline, compare(_judged_on(pairs)))

    def _embedder(self, backbone: str, digest: str, checkpoint: Callable[[], None]) -> Embedder | None:
        try:
            embedder = self._pool.load(backbone, checkpoint)
        except (BackboneNotFound, BackboneUnavailable):
            return None
        return embedder if embedder.digest == digest else None


def alias_moved_promotion(alias: str, baseline: int) -> Promotion:
    """Return the rejection for an alias that moved during each comparison.

    Args:
        baseline: the version of the last comparison.
    """
    return rejected_promotion(
        alias,
        baseline,
        f"Alias '{alias}' was moved {MAX_PROMOTION_CHECKS} times while the version was compared.",
    )


def _judged_on(pairs: Sequence[PairedOutcome]) -> Sequence[PairedOutcome]:
    held_out = [pair for pair in pairs if pair.second.held_out]
    return held_out or pairs
