"""Settings of a fine-tune and its recipes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, TypedDict

from headstart.edits import Edits, ExampleEdit, parse_edits
from headstart.inputs.task import Task, TaskName, parse_task

ScalingName: TypeAlias = Literal["unit", "root", "standard"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """The server chooses the recipe and its settings from the examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """One-hot ridge regression in closed form; omitted settings are selected by cross-validation.

    Attributes:
        regularization: strength of the penalty, above 0. None: selected.
        temperature: divisor of the scores before the softmax, above 0. None: selected.
        folds: number of folds of the cross-validation, 2 to 20. None: by the number of examples.
        view: view of the backbone that the head reads. Empty: ``last``, or `views`.
        views: several views, concatenated, instead of `view`.
        scaling: scaling of the features: ``unit`` (each input to length 1), ``root`` (their square roots to
            length 1) or ``standard`` (each feature by its standard deviation). None: ``unit``.
        balanced: whether all classes have the same total weight. None: if the largest class has more than 3
            times the examples of the smallest.
    """

    regularization: float | None = None
    temperature: float | None = None
    folds: int | None = None
    view: str = ""
    views: tuple[str, ...] = ()
    scaling: ScalingName | None = None
    balanced: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """Multinomial logistic regression; omitted settings are selected by cross-validation.

    Attributes:
        regularization: strength of the penalty, above 0. None: selected.
        temperature: divisor of the scores before the softmax, above 0. None: selected.
        folds: number of folds of the cross-validation, 2 to 20. None: by the number of examples.
        views: views of the backbone that the head reads, concatenated. Empty: ``last``.
        scaling: scaling of the features, as for `Ridge`. None: ``root``.
        balanced: whether classes are predicted as if all were equally frequent. None: if the largest class
            has more than 3 times the examples of the smallest.
        time_budget: time after which the best head is used, at most a day. None: no limit.
    """

    regularization: float | None = None
    temperature: float | None = None
    folds: int | None = None
    views: tuple[str, ...] = ()
    scaling: ScalingName | None = None
    balanced: bool | None = None
    time_budget: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp:
    """A network with one hidden layer on the backbone's features; cross-validation selects its epochs.

    Attributes:
        hidden_units: size of the hidden layer, 1 to 4096. None: selected by cross-validation.
        dropout: fraction of hidden units dropped at each step, 0 to 0.9. None: selected.
        weight_decay: weight decay of AdamW, 0 to 1. None: selected.
        learning_rate: learning rate of AdamW, 1e-6 to 1. None: 1e-3.
        max_epochs: maximum number of epochs, 1 to 10000. None: 200.
        patience: number of epochs without improvement after which training stops, 1 to 1000. None: 10.
        temperature: divisor of the scores before the softmax, above 0. None: selected.
        folds: number of folds of the cross-validation, 2 to 20. None: by the number of examples.
        views: views of the backbone that the head reads, concatenated. Empty: all.
        balanced: as for `Ridge`.
        time_budget: time after which the best network is used, at most a day. None: no limit.
    """

    hidden_units: int | None = None
    dropout: float | None = None
    weight_decay: float | None = None
    learning_rate: float | None = None
    max_epochs: int | None = None
    patience: int | None = None
    temperature: float | None = None
    folds: int | None = None
    views: tuple[str, ...] = ()
    balanced: bool | None = None
    time_budget: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """A linear head, then the head and the backbone's last blocks trained together.

    Attributes:
        blocks: number of trained last blocks, 1 to 3. None: 1.
        learning_rate: learning rate of Adam, 1e-7 to 0.1. None: 1e-4.
        max_epochs: maximum number of epochs, 1 to 1000. None: 10.
        patience: number of epochs without improvement after which training stops, 1 to 1000. None: 3.
        temperature: divisor of the scores before the softmax, above 0. None: selected.
        balanced: as for `Ridge`.
        time_budget: time after which the best network is used, at most a day. None: no limit.
    """

    blocks: int | None = None
    learning_rate: float | None = None
    max_epochs: int | None = None
    patience: int | None = None
    temperature: float | None = None
    balanced: bool | None = None
    time_budget: timedelta | None = None


Recipe: TypeAlias = Auto | Ridge | Logistic | Mlp | Partial
RecipeName: TypeAlias = Literal["auto", "ridge", "logistic", "mlp", "partial"]

RECIPES: dict[str, type[Recipe]] = {
    "auto": Auto,
    "ridge": Ridge,
    "logistic": Logistic,
    "mlp": Mlp,
    "partial": Partial,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionGate:
    """The condition of moving an alias: the new version is not worse than its version on the same examples.

    Attributes:
        max_drop: maximum decrease of the accuracy, 0 to 1; for a regression, the maximum relative increase of
            the mean absolute error. None: 0.01.
        max_class_drop: maximum decrease of the recall of any class, 0 to 1. None: 0.1.
        min_class_examples: minimum number of examples of a class whose recall is checked. None: 10.
        significance: maximum p-value of a decrease that counts, above 0 to 1; 1 counts every decrease.
            None: 0.05.
    """

    max_drop: float | None = None
    max_class_drop: float | None = None
    min_class_examples: int | None = None
    significance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneSpec:
    """The request of a fine-tune. Fields as in `SpecSettings`.

    Attributes:
        model: model that receives the version.
        dataset_uri: URI that the server read the examples from; empty if they were sent.
        dataset: dataset of the server that has the examples; empty if they were sent.
        request_id: idempotency key of the request.
    """

    model: str
    backbone: str = ""
    recipe: Recipe = field(default_factory=Auto)
    held_out_fraction: float = 0.0
    seed: int = 0
    display_name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    alias: str = ""
    ttl: timedelta | None = None
    expire_time: datetime | None = None
    max_excluded_fraction: float = 0.0
    task: Task = Task.UNSPECIFIED
    promote_if: PromotionGate | None = None
    parent: int | str | None = None
    edits: tuple[ExampleEdit, ...] = ()
    discard_examples: bool = False
    priority: int = 0
    webhook: str = ""
    backbone_candidates: tuple[str, ...] = ()
    backbone_time_budget: timedelta | None = None
    dataset_uri: str = ""
    dataset: str = ""
    request_id: str = ""


class SpecSettings(TypedDict, total=False):
    """Settings of a fine-tune, except its model; all are optional.

    Attributes:
        backbone: name of the backbone; or ``auto``, which tries several and selects the fastest within one
            standard error of the best. None: the server's default backbone.
        recipe: an `Auto`, `Ridge`, `Logistic`, `Mlp` or `Partial`, or its name. None: ``auto``.
        held_out_fraction: fraction of the examples, 0 to 0.9, held out of training to measure accuracy.
            Default 0: all are trained on, and accuracy is estimated out of fold.
        seed: seed of every random choice. Default 0.
        display_name: title for people, at most 256 bytes.
        tags: key-value pairs, stored with the version.
        alias: alias moved to the new version when the job succeeds. None: no alias is moved.
        ttl: lifetime of the version, a timedelta or seconds. None: until `expire_time`, or unlimited.
        expire_time: time when the version is deleted, a datetime with a time zone. None: by `ttl`, or never.
        max_excluded_fraction: maximum fraction of the examples, 0 to 1, that may be excluded as unusable.
            Default 0: one unusable example fails the job.
        task: kind of label: ``single_label``, ``multi_label`` or ``regression``. None: inferred from the
            first example.
        promote_if: moves `alias` only if the new version is not worse than its version: True, or a
            `PromotionGate` with other margins. None: moved unconditionally.
        parent: number or alias of a version of the same model whose stored examples are trained on, too. An
            example with the ID of one of them replaces it. None: no parent.
        edits: changes of the parent's examples, as `ExampleEdit` values, or as a mapping from the ID or index
            of an example to its new label.
        remove: IDs of the parent's examples that are left out; the short form of such edits.
        discard_examples: True deletes the examples when the job has ended: the version cannot be a parent,
            and its report has no images.
        priority: queued jobs of a higher priority run first, -10 to 10. Default 0.
        webhook: URL that receives a POST at the job's end; the server must allow it. Default: the server's.
        backbone_candidates: backbones that ``auto`` tries. None: up to 4 of the server's.
        backbone_time_budget: time after which ``auto`` tries no further backbone, a timedelta or seconds.
            None: no limit.
        dataset: name of a dataset of the server whose examples are trained on, instead of examples that are
            sent. See `Client.dataset`.
    """

    backbone: str | None
    recipe: Recipe | RecipeName | None
    held_out_fraction: float
    seed: int
    display_name: str
    tags: Mapping[str, str] | None
    alias: str | None
    ttl: timedelta | float | None
    expire_time: datetime | None
    max_excluded_fraction: float
    task: Task | TaskName | None
    promote_if: PromotionGate | bool | None
    parent: int | str | None
    edits: Edits | None
    remove: Collection[str] | None
    discard_examples: bool
    priority: int
    webhook: str
    backbone_candidates: Collection[str] | None
    backbone_time_budget: timedelta | float | None
    dataset: str | None


def make_spec(model: str, settings: SpecSettings, *, request_id: str = "") -> FineTuneSpec:
    """Return the spec of a fine-tune, with defaults for omitted settings."""
    check_names("fine_tune", settings, SpecSettings)
    tags = settings.get("tags")
    if tags is not None and not isinstance(tags, Mapping):
        raise TypeError(
            "tags must be a mapping from str to str, which is kept with the version. Received: "
            f"{type(tags).__qualname__}. To give each example its class, pair them: zip(inputs, classes)"
        )
    for key, value in (tags or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"tags[{key!r}] must be a str, and so must its key. Received: {value!r}")
    arguments: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    arguments["recipe"] = parse_recipe(settings.get("recipe"))
    arguments["backbone_candidates"] = parse_candidates(settings.get("backbone_candidates"))
    arguments["backbone_time_budget"] = parse_budget(settings.get("backbone_time_budget"))
    lifetime, moment = settings.get("ttl"), settings.get("expire_time")
    if lifetime is not None and moment is not None:
        raise ValueError("Give ttl or expire_time, not both.")
    if moment is not None:
        check_time("expire_time", moment)
    if lifetime is not None and not isinstance(lifetime, timedelta):
        arguments["ttl"] = timedelta(seconds=lifetime)
    arguments.pop("remove", None)
    if "task" in arguments:
        arguments["task"] = parse_task(arguments["task"])
    arguments |= _gate(settings) | _parent(settings)
    return FineTuneSpec(model=model, request_id=request_id, **arguments)


def check_names(method: str, settings: Mapping[str, Any], annotated: type) -> None:
    """Check that a method has settings of these names; an error names the most similar ones."""
    names = list(annotated.__annotations__)
    for unknown in sorted(settings.keys() - set(names)):
        similar = get_close_matches(unknown, names, 1)
        remedy = f"Did you mean {similar[0]!r}?" if similar else f"There are {', '.join(names)}."
        if unknown == "labels":
            remedy = "To give each example its class, pair them: zip(inputs, classes)"
        raise TypeError(f"{method} has no setting {unknown!r}. {remedy}")


def check_time(name: str, time: datetime) -> None:
    """Check that a time has a time zone; without one, a local time would be sent as UTC."""
    if not isinstance(time, datetime):
        raise TypeError(f"{name} must be a datetime. Received: {time!r}")
    if time.utcoffset() is None:
        raise ValueError(
            f"{name} must have a time zone, such as UTC, or that of this machine with astimezone(). "
            f"Received: {time!r}"
        )


def parse_candidates(names: Collection[str] | None) -> tuple[str, ...]:
    """Return the names of backbones."""
    if isinstance(names, str) or not all(isinstance(each, str) for each in names or ()):
        raise TypeError(f"backbone_candidates must be a list of names. Received: {names!r}")
    return tuple(names or ())


def parse_budget(budget: timedelta | float | None) -> timedelta | None:
    """Return a duration of a timedelta or seconds."""
    return budget if isinstance(budget, timedelta | None) else timedelta(seconds=budget)


def parse_recipe(recipe: Recipe | str | None) -> Recipe:
    """Return the recipe of a name; None: ``auto``."""
    if not isinstance(recipe, str | None):
        return recipe
    kind = RECIPES.get(recipe or "auto")
    if kind is None:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}. Received: {recipe!r}")
    return kind()


def _gate(settings: SpecSettings) -> dict[str, Any]:
    gate = settings.get("promote_if")
    if gate is not None and gate is not False and not settings.get("alias"):
        raise ValueError("promote_if requires an alias. Pass alias='stable', for example.")
    if isinstance(gate, bool | None):
        return {"promote_if": PromotionGate() if gate else None}
    return {"promote_if": gate}


def _parent(settings: SpecSettings) -> dict[str, Any]:
    parent, edits = settings.get("parent"), parse_edits(settings.get("edits"), settings.get("remove"))
    if isinstance(parent, bool) or not isinstance(parent, int | str | None):
        raise TypeError(f"parent must be a version's number or an alias. Received: {parent!r}")
    if edits and parent is None:
        raise ValueError("edits and remove require a parent. Pass the version that has the examples")
    return {"edits": edits}
