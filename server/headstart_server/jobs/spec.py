"""The specification of a fine-tune, and the ranges of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.example_checks import has_control_characters
from headstart_server.learning.examples.example_edit import ExampleEdit, checked_edits
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.recipe import (
    TIME_BUDGETS,
    Auto,
    Recipe,
    check_settings,
    check_task,
    recipe_from_json,
    recipe_json,
)
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.names import check_alias_name, check_full_name
from headstart_server.storage.json_values import known

#: Backbone name that requests a selection among candidates.
AUTO = "auto"
#: Maximum candidates of a spec.
MAX_CANDIDATES = 16
#: Maximum edits of one fine-tune.
MAX_EDITS = 100_000
#: Seconds of a hundred years. The times of the contract end with the year 9999.
MAX_TTL = 3_155_760_000.0
PRIORITIES = (-10, 10)


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneSpec:
    """The specification of a fine-tune."""

    model: str  # the model that gets a new version
    backbone: str  # name of the backbone; `auto` selects one of the candidates
    recipe: Recipe = field(default_factory=Auto)
    held_out_fraction: float = 0.0  # fraction of the examples held out to measure accuracy, 0 to 0.9
    seed: int = 0  # seeds every random choice
    display_name: str = ""  # a title for users
    tags: Mapping[str, str] = field(default_factory=dict)  # free key-value pairs
    alias: str | None = None  # the alias to move on success; None moves no alias
    ttl: float | None = None  # seconds after which the version expires; None for never
    # when the version is deleted, in seconds since 1970; None for never, or by `ttl`
    expire_time: float | None = None
    max_excluded_fraction: float = 0.0  # maximum fraction of examples excluded for faults, 0 to 1
    priority: int = 0  # jobs of higher priority run first, -10 to 10
    task: Task | None = None  # the kind of task; None to take it from the first example
    promote_if: PromotionCriteria | None = None  # conditions for moving the alias; None moves it always
    # number of the parent version, whose examples are also trained on; None without a parent
    parent_version: int | None = None
    # an alias of the parent version, until it is resolved; None without one
    parent_alias: str | None = None
    edits: tuple[ExampleEdit, ...] = ()  # changes of the parent's examples
    discard_examples: bool = False  # whether the examples are removed when the job has ended
    # for `auto`: names of the candidates; () for the default ones
    backbone_candidates: tuple[str, ...] = ()
    # for `auto`: seconds after which no further candidate is tried; None means unlimited
    backbone_time_budget: float | None = None
    # URL that is notified of the job's end; None for the server's URL
    webhook: str | None = field(default=None, repr=False)
    dataset_uri: str | None = None  # location of its examples' list; None if sent with the call
    # full name of the dataset with its examples; None if they are sent with the call
    dataset: str | None = None

    @property
    def selects_backbone(self) -> bool:
        """Whether the backbone is selected from candidates."""
        return self.backbone == AUTO

    @property
    def has_parent(self) -> bool:
        """Whether it has a parent version."""
        return self.parent_version is not None or self.parent_alias is not None

    def check(self) -> "FineTuneSpec":
        """Return the spec with normalized labels of edits; raise InvalidField if a value is invalid."""
        check_full_name(self.model, "spec.model")
        if self.alias is not None:
            check_alias_name(self.alias, "spec.alias")
        self._check_dataset()
        _check_range("spec.held_out_fraction", self.held_out_fraction, 0.0, 0.9)
        _check_range("spec.max_excluded_fraction", self.max_excluded_fraction, 0.0, 1.0)
        _check_range("spec.priority", self.priority, *PRIORITIES)
        if self.ttl is not None:
            _check_range("spec.ttl", self.ttl, 1.0, MAX_TTL)
        _check_bytes("spec.display_name", self.display_name, 0, 256)
        if has_control_characters(self.display_name):
            raise InvalidField(
                f"Expected a display_name without control characters. Received: {self.display_name!r}.",
                field="spec.display_name",
            )
        if len(self.tags) > 64:
            raise InvalidField(f"Expected at most 64 tags. Received: {len(self.tags)}.", field="spec.tags")
        for key, value in self.tags.items():
            _check_bytes("spec.tags", key, 1, 63)
            _check_bytes(f"spec.tags[{key!r}]", value, 0, 256)
        check_settings(self.recipe)
        if self.task is not None:
            check_task(self.recipe, self.task)
        self._check_parent()
        self._check_choosing()
        if self.promote_if is not None:
            self.promote_if.check("spec.promote_if")
            if self.alias is None:
                raise InvalidField(
                    "promote_if requires an alias. Set alias, or omit promote_if.",
                    field="spec.promote_if",
                )
        return replace(self, edits=checked_edits(self.edits)) if self.edits else self

    def _check_dataset(self) -> None:
        if self.dataset is None:
            return
        check_full_name(self.dataset, "spec.dataset", "dataset")
        if self.dataset_uri is not None:
            raise InvalidField(
                "The spec has both a dataset and a dataset_uri. Send one of them.", field="spec.dataset"
            )

    def _check_parent(self) -> None:
        if self.parent_version is not None and self.parent_version < 1:
            raise InvalidField(
                f"Expected a parent_version of 1 or more. Received: {self.parent_version}.",
                field="spec.parent_version",
            )
        if self.parent_alias is not None:
            check_alias_name(self.parent_alias, "spec.parent_alias")
        if self.edits and not self.has_parent:
            raise InvalidField(
                f"{len(self.edits)} edits need a parent. Set parent_version or parent_alias.",
                field="spec.edits",
            )
        if len(self.edits) > MAX_EDITS:
            raise InvalidField(
                f"Expected at most {MAX_EDITS} edits. Received: {len(self.edits)}.", field="spec.edits"
            )

    def _check_choosing(self) -> None:
        names, budget = self.backbone_candidates, self.backbone_time_budget
        for field_, given in (
            ("backbone_candidates", bool(names)),
            ("backbone_time_budget", budget is not None),
        ):
            if given and not self.selects_backbone:
                raise InvalidField(
                    f"Expected {field_} with the backbone {AUTO!r} only. Received: {self.backbone!r}.",
                    field=f"spec.{field_}",
                )
        if len(names) > MAX_CANDIDATES:
            raise InvalidField(
                f"Expected at most {MAX_CANDIDATES} backbone_candidates. Received: {len(names)}.",
                field="spec.backbone_candidates",
            )
        if len(set(names)) < len(names) or not all(names) or AUTO in names:
            raise InvalidField(
                "Expected backbone_candidates that name backbones, each once. "
                f"Received: {', '.join(names)[:200]!r}.",
                field="spec.backbone_candidates",
            )
        if budget is not None:
            _check_range("spec.backbone_time_budget", budget, *TIME_BUDGETS)

    def droppable(self, count: int) -> int:
        """Return how many of `count` examples may be excluded for faults."""
        # 0.29 * 100 falls short of 29 by a rounding error.
        return int(self.max_excluded_fraction * count + 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        # `asdict` would take ten times as long, and few fields are dataclasses.
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        values |= {"recipe": recipe_json(self.recipe), "tags": dict(self.tags)}
        values["promote_if"] = None if self.promote_if is None else self.promote_if.to_json()
        return {**values, "edits": [edit.to_json() for edit in self.edits]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FineTuneSpec":
        """Return the spec that `to_json` wrote, in this or a newer release."""
        given = {**known(cls, values), "recipe": recipe_from_json(values["recipe"])}
        if given.get("task"):
            given["task"] = Task(given["task"])
        if given.get("promote_if"):
            given["promote_if"] = PromotionCriteria.from_json(given["promote_if"])
        given["backbone_candidates"] = tuple(given.get("backbone_candidates", ()))
        given["edits"] = tuple(map(ExampleEdit.from_json, given.get("edits", ())))
        return cls(**given)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN fails.
    if not low <= value <= high:
        raise InvalidField(f"Expected {name} from {low:g} to {high:g}. Received: {value}.", field=name)


def _check_bytes(name: str, value: str, low: int, high: int) -> None:
    size = len(value.encode())
    if not low <= size <= high:
        raise InvalidField(f"Expected {low} to {high} bytes in {name}. Received: {size}.", field=name)
