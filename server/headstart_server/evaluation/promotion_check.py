"""Compares a new version with the one that an alias names, and decides whether the alias moves."""

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

#: Most checks of a version whose alias is moved during each check.
MAX_PROMOTION_CHECKS = 5


class PromotionCheck:
    """Judges whether an alias may be moved to a version that is about to be published.

    Args:
        reader: opens a reader of stored contents.
        window: most examples under way between archive and backbone at once.
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
        """Judge a candidate; None where the spec has no gate.

        If the candidate has held-out examples, these are judged on: its own head answered them. Otherwise all
        examples are that either version knows, less those that the fine-tune left out of its parent's. What
        cannot be compared is not promoted; it never fails the job.
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
                # Deleted meanwhile, and the alias with it or moved.
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
        """Compare a successor with the version that it replaces because of erased examples, by their marks.

        The default criteria decide, and nothing depends on the decision.
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
                f"Of version {baseline} it is not known what it was trained on: it is too old.",
            )
        embedder = self._embedder(before.backbone, before.backbone_digest)
        pairs = pair_predictions(
            ComparedHead(head=before.head, tail=before.tail, embedder=embedder, known=known),
            candidate,
            ExampleAccess(reader=self._reader, window=self._window, checkpoint=checkpoint),
            leave_out=candidate.known.left_out,
        )
        return decide_promotion(gate, alias, baseline, compare(_judged_on(pairs)))

    def _embedder(self, backbone: str, digest: str) -> Embedder | None:
        try:
            embedder = self._pool.load(backbone)
        except (BackboneNotFound, BackboneUnavailable):
            return None
        return embedder if embedder.digest == digest else None


def alias_moved_promotion(alias: str, baseline: int) -> Promotion:
    """The decision about an alias that names another version each time the new one has been judged.

    Args:
        baseline: the version that was judged against last.
    """
    return rejected_promotion(
        alias,
        baseline,
        f"Alias '{alias}' was moved {MAX_PROMOTION_CHECKS} times while the version was judged.",
    )


def _judged_on(pairs: Sequence[PairedOutcome]) -> Sequence[PairedOutcome]:
    held_out = [pair for pair in pairs if pair.second.held_out]
    return held_out or pairs
