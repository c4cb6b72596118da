"""A version: one immutable fitted head, and the manifest that records its origin."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.recipe import Auto, Recipe, ResolvedRecipe, recipe_from_json, recipe_json
from headstart_server.learning.metrics.backbone_selection import BackboneSelection
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.retrain_policy import RetrainPolicy
from headstart_server.observability.energy import Energy
from headstart_server.storage.json_values import known


@dataclass(frozen=True, kw_only=True, slots=True)
class TailFacts:
    """Metadata of a version's own tail; `Manifest.files` contains the digest of its weights."""

    blocks: int  # number of last blocks that are the version's own
    cut: str  # name of the backbone's cut that the tail begins at


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Metadata of a version, which suffices to make it again."""

    model: str
    job_id: str
    backbone: str
    backbone_digest: str  # SHA-256 over its weights, architecture and preprocessing
    dataset_digest: str  # SHA-256 over examples and labels
    recipe: ResolvedRecipe
    seed: int
    example_count: int  # number of examples trained on
    class_names: tuple[str, ...]  # the classes, in the order of the head's columns
    metrics: Metrics
    display_name: str  # a title for people
    tags: Mapping[str, str]  # the caller's key-value pairs
    created: float  # time of its creation, in seconds since 1970
    software: str
    runtime: str = ""  # runtime and precision of the backbone
    stop_reason: str = ""  # why the solver stopped: converged, steps or time; empty for a closed form
    fit_seconds: float = 0.0  # how long it took to fit the head
    head_digest: str = ""  # SHA-256 of the head's file
    # SHA-256 of each other file of the version, by name
    files: Mapping[str, str] = field(default_factory=dict)
    parent: int = 0  # number of the version whose examples it was also trained on; 0 for none
    added_count: int = 0  # number of examples in the fine-tune itself
    removed_count: int = 0  # number of the parent's examples that were left out or replaced
    edited_count: int = 0  # number of the parent's examples that were changed
    feedback_count: int = 0  # number of examples that came from feedback with the fine-tune itself
    held_out_fraction: float = 0.0  # fraction of the examples that was held out at random; 0 for none
    # several labels: minimum probability at which each class applies; otherwise empty
    thresholds: tuple[float, ...] = ()
    task: Task = Task.SINGLE_LABEL
    tail: TailFacts | None = None  # metadata of the version's tail; None if it uses the backbone's last view
    note: str = ""  # remark on the training for people; may be empty
    # the recipe of the request, before settings were chosen; None for `auto`
    requested_recipe: Recipe | None = None
    # how the backbone was chosen; None if the fine-tune named it
    backbone_selection: BackboneSelection | None = None
    energy: Energy | None = None  # energy of the run that made it; None if it was not measured

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        # Not `asdict`, which takes ten times as long: few fields are dataclasses.
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in ("tail", "backbone_selection", "energy"):
            if values[name] is not None:
                values[name] = asdict(values[name])
        values |= {"tags": dict(self.tags), "files": dict(self.files)}
        values |= {"recipe": recipe_json(self.recipe), "metrics": self.metrics.to_json()}
        if self.requested_recipe is not None:
            values["requested_recipe"] = recipe_json(self.requested_recipe)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Manifest":
        """Return the manifest of `to_json`; KeyError, TypeError or ValueError if it is invalid."""
        recipe = recipe_from_json(values["recipe"])
        if isinstance(recipe, Auto):
            raise ValueError("Expected the recipe that was used. Received: auto.")
        requested, choice = values.get("requested_recipe"), values.get("backbone_selection")
        energy = values.get("energy")
        return cls(
            **{
                **known(cls, values),
                "recipe": recipe,
                "metrics": Metrics.from_json(values["metrics"]),
                "class_names": tuple(values["class_names"]),
                "thresholds": tuple(values.get("thresholds", ())),
                "task": Task(values.get("task", Task.SINGLE_LABEL)),
                "tail": TailFacts(**values["tail"]) if values.get("tail") else None,
                "requested_recipe": recipe_from_json(requested) if requested else None,
                "backbone_selection": BackboneSelection.from_json(choice) if choice else None,
                "energy": Energy.from_json(energy) if energy else None,
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A published version."""

    model: str
    number: int  # 1 for the first version of a model, then counting up; never reused
    artifact: str  # name of its files in the store
    size_bytes: int
    created: float  # time of its publication, in seconds since 1970
    expires: float | None  # time of its deletion; None for never
    manifest: Manifest
    aliases: tuple[str, ...] = ()
    # the decision on moving an alias to it under a condition; None without a condition
    promotion: Promotion | None = None
    has_examples: bool = False  # whether its examples are kept, so that fine-tunes can continue from it
    is_resident: bool = False  # whether it is in this replica's memory
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficSplit:
    """A version that serves a fraction of the Predicts for an alias."""

    number: int
    fraction: float  # above 0, at most 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A movable name for a version."""

    name: str
    number: int
    etag: str  # changes with every move, and with the shares
    updated: float  # time of its last move, in seconds since 1970
    traffic: tuple[TrafficSplit, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A name that holds versions and aliases."""

    name: str
    created: float  # publication time of its first version, in seconds since 1970
    newest: int  # number of its newest version; 0 if all were deleted
    version_count: int
    aliases: tuple[Alias, ...]
    resident_count: int = 0  # number of its versions in this replica's memory
    display_name: str = ""  # a title for people
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)  # key-value pairs
    capture: CapturePolicy | None = None  # selects inputs of Predict calls for review; None for none
    retrain: RetrainPolicy | None = None  # starts retraining from feedback; None for never


@dataclass(frozen=True, kw_only=True, slots=True)
class Selector:
    """Select a version by number or alias, or by default the newest that no gate rejected."""

    model: str
    number: int | None = None
    alias: str | None = None
