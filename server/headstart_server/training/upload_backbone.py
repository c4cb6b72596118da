"""The backbone of an upload: named, the default for the first example, or selected by the job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.backbones.contract.machine import available_bytes
from headstart_server.datasets.parents import Parent
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.modality import kind_of
from headstart_server.errors import BackboneNotFound
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import DatasetSummary
from headstart_server.learning.heads.recipe import Recipe
from headstart_server.training.candidates import Candidates, can, check_known_recipe, check_trainable_here
from headstart_server.training.job_admission import check_memory


@dataclass(frozen=True, slots=True)
class NamedBackbone:
    """A backbone that the caller named, the parent's, or the default for the first example."""

    info: BackboneInfo

    def infos(self, pool: BackbonePool) -> Sequence[BackboneInfo]:
        """Return the backbones that the job may use, with what the pool knows about them by now."""
        del pool
        return [self.info]

    def named_in(self, spec: FineTuneSpec) -> FineTuneSpec:
        """Return the spec with this backbone."""
        return replace(spec, backbone=self.info.name)


@dataclass(frozen=True, slots=True)
class UnnamedBackbone:
    """The default backbone for the content of the first example, before that example arrives."""

    def infos(self, pool: BackbonePool) -> Sequence[BackboneInfo]:
        """Return no backbones."""
        del pool
        return []

    def named_in(self, spec: FineTuneSpec) -> FineTuneSpec:
        """Return the spec unchanged."""
        return spec

    def meant_by(self, content: Content, pool: BackbonePool, recipe: Recipe) -> NamedBackbone:
        """Return the default backbone for a content."""
        info = pool.request(pool.default_for(content).name)
        check_known_recipe(info, recipe)
        return NamedBackbone(info)


@dataclass(frozen=True, slots=True)
class SelectedBackbone:
    """A backbone that the job selects among candidates."""

    candidates: Candidates
    found: tuple[BackboneInfo, ...] = ()  # the candidates, cheapest first; empty before the kind is known

    def infos(self, pool: BackbonePool) -> Sequence[BackboneInfo]:
        """Return the backbones that the job may use, with what the pool knows about them by now."""
        return [pool.metadata(info.name) for info in self.found]

    def named_in(self, spec: FineTuneSpec) -> FineTuneSpec:
        """Return the spec with the candidates, once they are known."""
        names = tuple(info.name for info in self.found)
        return replace(spec, backbone_candidates=names) if names else spec

    def like(self, default: BackboneInfo, kind: str) -> "SelectedBackbone":
        """Return the selection for a kind of content: image, text or tensor."""
        return replace(self, found=tuple(self.candidates.like(default, kind)))


BackboneChoice = NamedBackbone | UnnamedBackbone | SelectedBackbone


class UploadBackbone:
    """The backbone of one upload, which the caller names or the examples determine.

    Args:
        memory_bytes: maximum memory of all jobs of this server; None for no limit.
    """

    def __init__(self, pool: BackbonePool, choice: BackboneChoice, memory_bytes: int | None) -> None:
        self._pool = pool
        self._choice = choice
        self._memory_bytes = memory_bytes

    @property
    def info(self) -> BackboneInfo:
        """The backbone, or the candidate that is likely the cheapest."""
        known = self._infos()
        if not known:
            raise ValueError("Add an input before you read its backbone.")
        return known[0]

    def named_in(self, spec: FineTuneSpec) -> FineTuneSpec:
        """Return the spec with the backbone or the candidates, if they are known."""
        return self._choice.named_in(spec)

    def settle(self, first: Content, recipe: Recipe) -> str | None:
        """Determine the backbone by the content of the first example if the caller named none.

        Returns:
            Its name if this example determined it; None if it was known, or if the job selects it.
        """
        match self._choice:
            case UnnamedBackbone() as unnamed:
                self._choice = named = unnamed.meant_by(first, self._pool, recipe)
                return named.info.name
            case SelectedBackbone(found=()) as selected:
                # The job detects unavailable candidates.
                self._choice = selected.like(self._pool.default_for(first), kind_of(first))
        return None

    def settle_like(self, parent: Parent | None) -> None:
        """Find the candidates for the content of the parent's examples, if the job selects its backbone."""
        if parent is None or not parent.examples or not isinstance(self._choice, SelectedBackbone):
            return
        kind = parent.examples[0].kind
        try:
            default = self._pool.metadata(parent.backbone)
        except BackboneNotFound:
            # This server no longer has it.
            default = self._pool.default_for_kind(kind)
        self._choice = self._choice.like(default, kind)

    def check_loaded(self) -> None:
        """Raise Loading, and load the backbone, if it is not loaded: no thread may wait for it."""
        if known := self._infos():
            self._pool.get(known[0].name)

    def estimated_bytes(self, recipe: Recipe, summary: DatasetSummary) -> int | None:
        """Return the estimated memory of the job, None if unknown, and check that this server has it."""
        return check_memory(
            recipe,
            [info.views for info in self._infos()],
            examples=summary.example_count,
            outputs=max(1, len(summary.class_counts)),
            further_classes=summary.further_classes,
            limit=self._memory_bytes,
        )

    def _infos(self) -> Sequence[BackboneInfo]:
        return self._choice.infos(self._pool)


class UploadBackbones:
    """Finds the backbones of uploads.

    Args:
        memory_bytes: maximum memory of all jobs of this server; None for no limit.
    """

    def __init__(
        self,
        pool: BackbonePool,
        memory_bytes: int | None,
    ) -> None:
        self.pool = pool
        self._memory_bytes = memory_bytes

    def of(self, spec: FineTuneSpec) -> UploadBackbone:
        """Return the backbone of a spec, as known before the examples are sent."""
        return self._upload_backbone(self._choice(spec))

    def of_repeated(self) -> UploadBackbone:
        """Return the backbone of a repeated call, whose job is returned even if its backbone was removed."""
        return self._upload_backbone(UnnamedBackbone())

    def _upload_backbone(self, choice: BackboneChoice) -> UploadBackbone:
        return UploadBackbone(self.pool, choice, self._memory_bytes)

    def _choice(self, spec: FineTuneSpec) -> BackboneChoice:
        check_trainable_here(spec.recipe)
        if spec.selects_backbone:
            return SelectedBackbone(Candidates(self.pool, spec, available_bytes))
        if spec.backbone:
            info = self.pool.request(spec.backbone)
            check_known_recipe(info, spec.recipe)
            return NamedBackbone(info)
        if not any(can(each, spec.recipe) for each in self.pool.all_metadata()):
            check_known_recipe(self.pool.request(""), spec.recipe)
        return UnnamedBackbone()
