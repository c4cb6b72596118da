"""The recipes a head can be fitted by, their settings, and the views they need."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headstart_server.backbones.backbone import LAST, TAPS
from headstart_server.errors import InvalidField
from headstart_server.learning.rows import Scaling
from headstart_server.learning.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Auto:
    """Chooses by itself: views, scaling and settings of ridge by cross-validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """Ridge on one-hot labels.

    Attributes:
        regularization: above 0; None chooses by out-of-fold log loss.
        temperature: above 0; None chooses by out-of-fold log loss.
        folds: 2 to 20; 0 takes the median number of examples of a class, at least 2 and at most 5.
        views: the backbone's views to fit on, side by side.
        scaling: how features are brought to a common scale.
        balanced: whether each class counts as much as any other; None if the largest has more than three
            times the examples of the smallest.
    """

    regularization: float | None = None
    temperature: float | None = None
    folds: int = 0
    views: tuple[str, ...] = (LAST,)
    scaling: Scaling = Scaling.UNIT
    balanced: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Logistic:
    """Multinomial logistic regression.

    Attributes:
        regularization: above 0; None chooses by out-of-fold log loss.
        temperature: above 0; None chooses by out-of-fold log loss.
        folds: as for `Ridge`.
        views: the backbone's views to fit on, side by side.
        scaling: how features are brought to a common scale.
        balanced: whether the shares of the classes are taken off; None as for `Ridge`.
        time_budget: seconds after which the best so far is taken; None for no limit.
    """

    regularization: float | None = None
    temperature: float | None = None
    folds: int = 0
    views: tuple[str, ...] = (LAST,)
    scaling: Scaling = Scaling.ROOT
    balanced: bool | None = None
    time_budget: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp:
    """A network of one hidden layer on features, each by its deviation.

    Attributes:
        hidden_units: 1 to 4096; 0 chooses.
        dropout: share of the hidden units left out at each step, 0 to 0.9; None chooses.
        weight_decay: of AdamW, 0 to 1; None chooses.
        learning_rate: of AdamW.
        max_epochs: most epochs.
        patience: epochs without a lower loss after which training ends.
        temperature: above 0; None chooses by out-of-fold log loss.
        folds: as for `Ridge`.
        views: the backbone's views to fit on, side by side; () takes all.
        balanced: as for `Ridge`.
        time_budget: seconds after which the best so far is taken; None for no limit.
    """

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
        """How features are brought to a common scale."""
        return Scaling.STANDARD


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """A linear head first, then it and the last blocks of the backbone together.

    Attributes:
        blocks: number of last blocks, 1 to 3.
        learning_rate: of Adam.
        max_epochs: most epochs.
        patience: epochs without a lower loss after which training ends.
        temperature: above 0; None chooses by out-of-fold log loss.
        balanced: as for `Ridge`.
        time_budget: seconds after which the best so far is taken; None for no limit.
        views: the views of the head, chosen when it is carried out; () before.
        scaling: of the head, likewise: `STANDARD` where training was worth it.
        folds: of the cross-validation, likewise.
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


#: A recipe that can be without open choices.
ResolvedRecipe = Ridge | Logistic | Mlp | Partial
Recipe = Auto | ResolvedRecipe

_RESOLVED_RECIPES: tuple[type[ResolvedRecipe], ...] = (Ridge, Logistic, Mlp, Partial)


def required_views(recipe: Recipe, available: Collection[str]) -> tuple[str, ...]:
    """The views that a recipe needs of a backbone that has some."""
    if isinstance(recipe, Auto | Partial) or not recipe.views:
        return tuple(name for name in (TAPS, LAST) if name in available)
    return recipe.views


def quick_recipe(recipe: Recipe) -> Recipe:
    """A recipe that takes seconds, for one that may take minutes: what it finds hardly depends on which."""
    return recipe if isinstance(recipe, Auto | Ridge) else Auto()


def reopened_recipe(recipe: ResolvedRecipe) -> Recipe:
    """The kind of a recipe that was carried out, with its settings to be chosen anew.

    They were chosen for the features of one backbone. Of a ridge regression it is not known whether it was
    asked for or chosen: it becomes `auto`.
    """
    if isinstance(recipe, Partial):
        return Partial(blocks=recipe.blocks)
    return Auto() if isinstance(recipe, Ridge) else type(recipe)()


def check_task(recipe: Recipe, task: Task) -> None:
    """Check that a recipe can fit a head to a task.

    Raises:
        InvalidField: the recipe, or a setting of it, is for other tasks.
    """
    field = f"spec.recipe.{type(recipe).__name__.lower()}"
    if isinstance(recipe, Logistic) and task is Task.REGRESSION:
        raise InvalidField(
            "Expected the recipe auto or ridge for examples with numbers. Received: logistic.", field=field
        )
    if isinstance(recipe, Auto) or task is Task.SINGLE_LABEL:
        return
    if recipe.temperature is not None:
        raise InvalidField(
            "Expected a temperature for examples of one label only. "
            f"Received: {recipe.temperature:g} for {task.value.replace('_', '-')} examples.",
            field=f"{field}.temperature",
        )
    if recipe.balanced:
        raise InvalidField(
            "Expected balanced for examples of one label only. "
            f"Received: balanced for {task.value.replace('_', '-')} examples.",
            field=f"{field}.balanced",
        )


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON values."""
    return {type(recipe).__name__.lower(): asdict(recipe)}


def recipe_from_json(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `recipe_json` wrote.

    Raises:
        KeyError, TypeError or ValueError: the fields are not those of a recipe.
    """
    if "auto" in fields:
        return Auto()
    kind = next((kind for kind in _RESOLVED_RECIPES if kind.__name__.lower() in fields), Ridge)
    settings = dict(fields[kind.__name__.lower()])
    settings["views"] = tuple(settings["views"])
    if kind is not Mlp:
        settings["scaling"] = Scaling(settings["scaling"])
    return kind(**settings)
