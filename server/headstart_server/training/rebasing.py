"""Fits versions again on other backbones, from their retained examples."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.edited_examples import EditedExamples
from headstart_server.datasets.parents import Parent, retained_examples
from headstart_server.embedding.modality import check_kind
from headstart_server.errors import InvalidField
from headstart_server.jobs.job import Job
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.heads.recipe import Auto, Recipe, reopened_recipe
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector, Version
from headstart_server.training.submission_service import SubmissionService, check_request_id

_INSTEAD = "It cannot be rebased: send all examples with a fine-tune on the other backbone."


@dataclass(frozen=True, kw_only=True, slots=True)
class RebaseSpec:
    """The specification of a rebase."""

    source: Selector  # selects the version that is fitted again
    backbone: str  # name of the new backbone; `auto` for one of the candidates
    alias: str | None = None  # moved if the new version is not worse than the current one; None for none
    backbone_candidates: tuple[str, ...] = ()  # as in `FineTuneSpec`
    backbone_time_budget: float | None = None  # as in `FineTuneSpec`
    recipe: Recipe | None = None  # how the head is fitted; None for the old version's recipe
    # permitted loss when the alias is moved
    gate: PromotionCriteria = field(default_factory=PromotionCriteria)
    gate_given: bool = False
    priority: int = 0  # as in `FineTuneSpec`
    webhook: str | None = field(default=None, repr=False)  # as in `FineTuneSpec`

    def fine_tune(self) -> FineTuneSpec:
        """The spec of the job, as far as the request defines it."""
        if not self.backbone:
            raise InvalidField(
                "The backbone is missing. Name the backbone to train the version on, or auto.",
                field="backbone",
            )
        if self.gate_given and self.alias is None:
            raise InvalidField(
                "promote_if requires an alias. Set alias, or omit promote_if.",
                field="promote_if",
            )
        spec = FineTuneSpec(
            model=self.source.model,
            backbone=self.backbone,
            recipe=self.recipe or Auto(),
            alias=self.alias,
            promote_if=None if self.alias is None else self.gate,
            parent_version=self.source.number,
            parent_alias=self.source.alias,
            backbone_candidates=self.backbone_candidates,
            backbone_time_budget=self.backbone_time_budget,
            priority=self.priority,
            webhook=self.webhook,
        )
        try:
            return spec.check()
        except InvalidField as error:
            # The request names its fields without a spec, and the parent by another name.
            field = (error.field or "").removeprefix("spec.")
            error.field = field.replace("parent_", "source.") if field != "model" else "source.model"
            raise


class RebaseService:
    """Accepts rebases: fine-tune jobs that continue from a version without additional examples."""

    def __init__(self, submissions: SubmissionService, registry: Registry) -> None:
        self._submissions = submissions
        self._registry = registry

    def accept(self, spec: RebaseSpec, request_id: str, tenant: str = "", principal: str = "") -> Job:
        """Accept a rebase.

        Args:
            request_id: the caller's ID; empty for none.
            tenant: the caller's tenant; empty for none.
            principal: name of the calling principal; empty without an access file.

        Returns:
            The job; the earlier one if the request ID was accepted before.
        """
        self._submissions.admission.check_open()
        check_request_id(request_id)
        # A repeated call: the version that it names may be deleted by now.
        requested = spec.fine_tune()
        repeated = bool(request_id) and (self._submissions.admission.earlier(request_id, tenant) is not None)
        parent, full = None, requested
        # A repeated call: its backbone may be removed, too.
        is_named = not requested.selects_backbone and not repeated
        info = self._submissions.backbones.pool.request(requested.backbone) if is_named else None
        if not repeated:
            version = self._registry.selected(spec.source)
            parent = inherited(self._registry, self._submissions.datasets, version, _INSTEAD)
            full = _like(requested, version, keeps_recipe=spec.recipe is None)
            if info is not None and parent.examples:
                check_kind(info, parent.examples[0].kind, "backbone")
        request_json = {
            **requested.to_json(),
            "rebase": True,
            **({"recipe": None} if spec.recipe is None else {}),
        }
        upload = self._submissions.upload(
            full,
            request_id,
            request_json=request_json,
            parent=parent,
            repeated=repeated,
            tenant=tenant,
            principal=principal,
        )
        with closing(upload):
            return upload.accept()


def inherited(registry: Registry, datasets: DatasetStore, version: Version, instead: str) -> Parent:
    """Return a version with its examples as a parent; examples that it held out of training are marked."""
    kept = retained_examples(registry, version, instead)
    erased = set(datasets.erased(kept.archives))
    examples = marked(kept)
    return Parent(
        number=version.number,
        backbone=version.manifest.backbone,
        task=version.manifest.task,
        edited=EditedExamples(
            examples=[each for each in examples if (each.archive, each.member) not in erased],
            left_out=[each for each in examples if (each.archive, each.member) in erased],
        ),
    )


def _like(requested: FineTuneSpec, version: Version, *, keeps_recipe: bool) -> FineTuneSpec:
    """Return the requested spec, with the fields that the new version takes from the old one."""
    manifest = version.manifest
    recipe = requested.recipe
    if keeps_recipe:
        recipe = manifest.requested_recipe or reopened_recipe(manifest.recipe)
    return replace(
        requested,
        recipe=recipe,
        seed=manifest.seed,
        display_name=manifest.display_name,
        tags=manifest.tags,
        task=manifest.task,
        parent_version=version.number,
        parent_alias=None,
    )


def marked(kept: ExampleList) -> Sequence[StoredExample]:
    """Return the examples with held-out ones marked, so that both versions are measured on the same ones."""
    if not kept.outcomes:
        return kept.examples
    return [
        example._replace(held_out=example.held_out or (outcome is not None and outcome.held_out))
        for example, outcome in zip(kept.examples, kept.outcomes, strict=True)
    ]
