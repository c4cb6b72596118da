"""The backbone of an upload: named, meant by the first example, or selected by the job."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.heads.recipe import Recipe
from headstart_server.training.candidates import Candidates, check_known_recipe


@dataclass(frozen=True, slots=True)
class NamedBackbone:
    """A backbone that the caller named, that the parent has, or that the first example meant."""

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
    """The default backbone for the content of the first example, which has not come yet."""

    def infos(self, pool: BackbonePool) -> Sequence[BackboneInfo]:
        """Return no backbones."""
        del pool
        return []

    def named_in(self, spec: FineTuneSpec) -> FineTuneSpec:
        """Return the spec as it is."""
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
        """Return the spec with the candidates."""
        return replace(spec, backbone_candidates=tuple(info.name for info in self.found))

    def like(self, default: BackboneInfo, kind: str) -> "SelectedBackbone":
        """Return the selection for a kind of content: image, text or tensor."""
        return replace(self, found=tuple(self.candidates.like(default, kind)))


UploadBackbone = NamedBackbone | UnnamedBackbone | SelectedBackbone
