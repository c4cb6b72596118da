"""The recipes that heads are fitted by, their settings, and the views they need.

The contract documents the settings. None and 0 leave a choice open, which fitting resolves.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from headstart_server.backbones.contract.backbone import LAST, TAPS
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """Selects views, scaling and settings of ridge by cross-validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """Ridge on one-hot labels."""

    regularization: float | None = None
    temperature: float | None = None
    folds: int = 0
    views: tuple[str, ...] = (LAST,)
    scaling: Scaling = Scaling.UNIT
    balanced: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """Multinomial logistic regression."""

    regularization: float | None = None
    temperature: float | None = None
    folds: int = 0
    views: tuple[str, ...] = (LAST,)
    scaling: Scaling = Scaling.ROOT
    balanced: bool | None = None
    time_budget: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp:
    """A network with one hidden layer on standardized features; `views` () selects all."""

    hidden_units: int = 0
    dropout: float | None = None
    weight_decay: float | None = None
    learning_rate: float = 1e-3
    max_epochs: int = 200
    patience: int = 10
    temperature: float | None = None
    folds: int = 0
    views: tuple[str, ...] = ()
    balanced: bool | None = None
    time_budget: float | None = None

    @property
    def scaling(self) -> Scaling:
        """The scaling of the features."""
        return Scaling.STANDARD


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """A linear head first, then the head and the last blocks of the backbone together.

    Fitting resolves `views`, `scaling` (`STANDARD` if the blocks were trained) and `folds`.
    """

    blocks: int = 1
    learning_rate: float = 1e-4
    max_epochs: int = 10
    patience: int = 3
    temperature: float | None = None
    balanced: bool | None = None
    time_budget: float | None = None
    views: tuple[str, ...] = ()
    scaling: Scaling = Scaling.STANDARD
    folds: int = 0


#: A recipe without open choices.
ResolvedRecipe = Ridge | Logistic | Mlp | Partial
Recipe = Auto | ResolvedRecipe

#: Ranges beyond which the solver or the softmax would overflow.
REGULARIZATIONS = (1e-9, 1e9)
TEMPERATURES = (1e-6, 1e6)
#: Range of time budgets in seconds.
TIME_BUDGETS = (0.001, 86_400.0)
#: The range of each numeric setting. Settings that the caller leaves open are not checked.
_RANGES: Mapping[str, tuple[float, float]] = {
    "regularization": REGULARIZATIONS,
    "temperature": TEMPERATURES,
    "folds": (2, 20),
    "time_budget": TIME_BUDGETS,
    "hidden_units": (1, 4096),
    "dropout": (0.0, 0.9),
    "weight_decay": (0.0, 1.0),
    "patience": (1, 1000),
    "blocks": (1, 3),
}
#: The ranges of settings that depend on the recipe.
_RANGES_BY_RECIPE: Mapping[type, Mapping[str, tuple[float, float]]] = {
    Mlp: {"learning_rate": (1e-6, 1.0), "max_epochs": (1, 10_000)},
    Partial: {"learning_rate": (1e-7, 0.1), "max_epochs": (1, 1000)},
}

_RESOLVED_RECIPES: tuple[type[ResolvedRecipe], ...] = (Ridge, Logistic, Mlp, Partial)


def setting_ranges(kind: type[Recipe]) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of each number that a caller may set in a kind of recipe."""
    ranges = {**_RANGES, **_RANGES_BY_RECIPE.get(kind, {})}
    names = {each.name for each in fields(kind)} - ({"folds"} if kind is Partial else set())
    return {name: each for name, each in ranges.items() if name in names}


def check_settings(recipe: Recipe) -> None:
    """Check the ranges of the settings that are given."""
    for name, (low, high) in setting_ranges(type(recipe)).items():
        value = getattr(recipe, name)
        is_open = value is None or (value == 0 and name in ("folds", "hidden_units"))
        # Written so that NaN fails.
        if not is_open and not low <= value <= high:
            field = f"spec.recipe.{type(recipe).__name__.lower()}.{name}"
            raise InvalidField(f"Expected {field} from {low:g} to {high:g}. Received: {value}.", field=field)


def required_views(recipe: Recipe, available: Collection[str]) -> tuple[str, ...]:
    """Return the views that a recipe needs of a backbone."""
    if isinstance(recipe, Auto | Partial) or not recipe.views:
        return tuple(name for name in (TAPS, LAST) if name in available)
    return recipe.views


def quick_recipe(recipe: Recipe) -> Recipe:
    """Return a recipe that takes seconds: findings hardly depend on the recipe."""
    return recipe if isinstance(recipe, Auto | Ridge) else Auto()


def reopened_recipe(recipe: ResolvedRecipe) -> Recipe:
    """Return the kind of a resolved recipe with its settings open again.

    Its settings were selected for the features of one backbone. A ridge regression may have been requested or
    selected, so it becomes `auto`.
    """
    if isinstance(recipe, Partial):
        return Partial(blocks=recipe.blocks)
    return Auto() if isinstance(recipe, Ridge) else type(recipe)()


def check_task(recipe: Recipe, task: Task) -> None:
    """Check that a recipe can fit a head to a task."""
    field = f"spec.recipe.{type(recipe).__name__.lower()}"
    if isinstance(recipe, Logistic) and task is Task.REGRESSION:
        raise InvalidField(
            "Expected the recipe auto or ridge for examples with numbers. Received: logistic.", field=field
        )
    if isinstance(recipe, Auto) or task is Task.SINGLE_LABEL:
        return
    if recipe.temperature is not None:
        raise InvalidField(
            f"temperature requires single-label examples, not {task.value.replace('_', '-')} examples. "
            "Omit it.",
            field=f"{field}.temperature",
        )
    if recipe.balanced:
        raise InvalidField(
            f"balanced requires single-label examples, not {task.value.replace('_', '-')} examples. Omit it.",
            field=f"{field}.balanced",
        )


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values."""
    return {type(recipe).__name__.lower(): asdict(recipe)}


def recipe_from_json(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe of `recipe_json`; KeyError, TypeError or ValueError if a field is invalid."""
    if "auto" in fields:
        return Auto()
    kind = next((kind for kind in _RESOLVED_RECIPES if kind.__name__.lower() in fields), Ridge)
    settings = dict(fields[kind.__name__.lower()])
    settings["views"] = tuple(settings["views"])
    if kind is not Mlp:
        settings["scaling"] = Scaling(settings["scaling"])
    return kind(**settings)
