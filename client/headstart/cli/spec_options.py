"""The options of a fine-tune's spec, and what they are made into."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer

from headstart.spec import Auto, Logistic, Mlp, Partial, PromotionGate, Recipe, Ridge

__all__ = [
    "AliasOption",
    "BackboneOption",
    "BalancedOption",
    "BlocksOption",
    "CandidateOption",
    "ChooseWithinOption",
    "DiscardOption",
    "DisplayNameOption",
    "DropoutOption",
    "FoldsOption",
    "HeldOutOption",
    "HiddenUnitsOption",
    "LabelOption",
    "LearningRateOption",
    "LifetimeOption",
    "MaxClassDropOption",
    "MaxDropOption",
    "MaxDroppedOption",
    "MaxEpochsOption",
    "ParentOption",
    "PatienceOption",
    "PriorityOption",
    "PromoteOption",
    "RecipeChoice",
    "RecipeOption",
    "RegularizationOption",
    "RemoveOption",
    "RequestIdOption",
    "ScalingChoice",
    "ScalingOption",
    "SeedOption",
    "SignificanceOption",
    "TaskChoice",
    "TaskOption",
    "TemperatureOption",
    "TimeBudgetOption",
    "ViewOption",
    "WeightDecayOption",
    "gate_of",
    "labels_of",
    "lifetime_of",
    "parent_of",
    "recipe_of",
]


class RecipeChoice(StrEnum):
    """The recipes there are."""

    AUTO = "auto"
    RIDGE = "ridge"
    LOGISTIC = "logistic"
    MLP = "mlp"
    PARTIAL = "partial"


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SETTINGS = "Settings of recipes"
_KINDS: dict[RecipeChoice, type[Recipe]] = {
    RecipeChoice.AUTO: Auto,
    RecipeChoice.RIDGE: Ridge,
    RecipeChoice.LOGISTIC: Logistic,
    RecipeChoice.MLP: Mlp,
    RecipeChoice.PARTIAL: Partial,
}

BackboneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--backbone", "-b", help="The backbone, or auto to have it chosen. Default: the server's default."
    ),
]
CandidateOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="BACKBONE",
        help="One of those that --backbone auto tries; may be given more than once. Default: up to 4.",
    ),
]
ChooseWithinOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="When --backbone auto tries no further one. Default: no limit."),
]
HeldOutOption: TypeAlias = Annotated[
    float,
    typer.Option(
        min=0, max=0.9, help="The share kept out of training to measure accuracy; 0: measured out of fold."
    ),
]
SeedOption: TypeAlias = Annotated[int, typer.Option(min=0, help="Seeds every random choice.")]
DisplayNameOption: TypeAlias = Annotated[str, typer.Option(help="A title for people.", show_default=False)]
LabelOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Kept with the version; may be given more than once."),
]
AliasOption: TypeAlias = Annotated[
    str | None, typer.Option("--alias", "-a", help="An alias to move to the new version.")
]
LifetimeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="How long the version is kept, such as 90s, 15m, 12h or 30d. Default: for ever.",
    ),
]
MaxDroppedOption: TypeAlias = Annotated[
    float, typer.Option(min=0, max=1, help="The share of unusable examples that may be dropped.")
]
_LATER = "Later versions"


class TaskChoice(StrEnum):
    """The kinds of thing that can be learned."""

    SINGLE_LABEL = "single-label"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"


TaskOption: TypeAlias = Annotated[
    TaskChoice | None, typer.Option(help="What is learned. Default: what the first example shows.")
]
PromoteOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--promote-if-not-worse",
        help="Move --alias only if the new version is not worse than the one it names, on the same examples.",
        rich_help_panel=_LATER,
    ),
]
MaxDropOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="By how much the accuracy may fall for that; means --promote-if-not-worse. Default: 0.01.",
        rich_help_panel=_LATER,
    ),
]
MaxClassDropOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="By how much the recall of any class may fall; means --promote-if-not-worse. Default: 0.1.",
        rich_help_panel=_LATER,
    ),
]
SignificanceOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Keep the alias only if chance explains a fall with at most this probability; 1 counts every "
        "fall; means --promote-if-not-worse. Default: 0.05.",
        rich_help_panel=_LATER,
    ),
]
ParentOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION",
        help="A version by its number or alias, whose examples are trained on too without being sent again.",
        rich_help_panel=_LATER,
    ),
]
RemoveOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID",
        help="An example of the parent to leave out; may be given more than once.",
        rich_help_panel=_LATER,
    ),
]
DiscardOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--discard-examples",
        help="Keep no examples: the version can be no parent, and its report has no pictures.",
        rich_help_panel=_LATER,
    ),
]
PriorityOption: TypeAlias = Annotated[
    int, typer.Option(min=-10, max=10, help="Queued jobs of a higher priority run first.")
]
WebhookOption: TypeAlias = Annotated[
    str, typer.Option(metavar="URL", help="Told of the job's end; one that the server allows.")
]
RequestIdOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Makes it safe to repeat: the same id gives the same job.")
]


class ScalingChoice(StrEnum):
    """How features may be scaled."""

    UNIT = "unit"
    ROOT = "root"
    STANDARD = "standard"


RecipeOption: TypeAlias = Annotated[
    RecipeChoice | None, typer.Option(help="How the head is fitted. Default: auto.")
]
RegularizationOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Above 0. Default: chosen.", rich_help_panel=_SETTINGS)
]
TemperatureOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Above 0. Default: chosen.", rich_help_panel=_SETTINGS)
]
FoldsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="2 to 20. Default: by the number of examples.", rich_help_panel=_SETTINGS)
]
ViewOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="The backbone's view; may be given more than once. Default: last.", rich_help_panel=_SETTINGS
    ),
]
ScalingOption: TypeAlias = Annotated[
    ScalingChoice | None,
    typer.Option(
        help="How features are scaled. Default: unit for ridge, root for logistic.", rich_help_panel=_SETTINGS
    ),
]
BalancedOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--balanced/--not-balanced",
        help="Whether each class counts the same. Default: if sizes differ more than threefold.",
        rich_help_panel=_SETTINGS,
    ),
]
TimeBudgetOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="When to take the best so far; logistic, mlp and partial. Default: no limit.",
        rich_help_panel=_SETTINGS,
    ),
]
HiddenUnitsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="mlp: 1 to 4096. Default: chosen.", rich_help_panel=_SETTINGS)
]
DropoutOption: TypeAlias = Annotated[
    float | None, typer.Option(help="mlp: 0 to 0.9. Default: chosen.", rich_help_panel=_SETTINGS)
]
WeightDecayOption: TypeAlias = Annotated[
    float | None, typer.Option(help="mlp: 0 to 1. Default: chosen.", rich_help_panel=_SETTINGS)
]
BlocksOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="partial: last blocks that are trained, 1 to 3. Default: 1.", rich_help_panel=_SETTINGS
    ),
]
LearningRateOption: TypeAlias = Annotated[
    float | None,
    typer.Option(help="mlp and partial. Default: 1e-3 and 1e-4.", rich_help_panel=_SETTINGS),
]
MaxEpochsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="mlp and partial. Default: 200 and 10.", rich_help_panel=_SETTINGS)
]
PatienceOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="mlp and partial: epochs without a better loss after which it ends. Default: 10 and 3.",
        rich_help_panel=_SETTINGS,
    ),
]


def recipe_of(choice: RecipeChoice | None, **settings: Any) -> Recipe:
    """The recipe; without a name the first that takes the settings given, auto if there are none.

    Args:
        choice: its name.
        settings: by their names; None for what is not given.

    Raises:
        typer.BadParameter: the recipe named has no such setting, or no recipe has all of them.
    """
    given = _given(**settings)
    if choice is RecipeChoice.AUTO and given:
        raise typer.BadParameter(
            "auto chooses its settings by itself; use ridge to set them", param_hint="--recipe"
        )
    takers = [one for one in RecipeChoice if given.keys() <= _KINDS[one].__dataclass_fields__.keys()]
    if choice is None and takers:
        choice = takers[0]
    if choice not in takers:
        raise _refusal(choice, given)
    if choice is RecipeChoice.RIDGE and len(given.get("views", ())) == 1:
        (given["view"],) = given.pop("views")
    return _KINDS[choice](**given)


def _given(**settings: Any) -> dict[str, Any]:
    """The settings that are there, as the recipes name and take them."""
    view, scaling = settings.pop("view", None), settings.pop("scaling", None)
    settings |= {
        "views": tuple(view) if view else None,
        "scaling": scaling.value if scaling else None,
        "time_budget": lifetime_of(settings.get("time_budget"), "--time-budget"),
    }
    return {name: value for name, value in settings.items() if value is not None}


def _refusal(choice: RecipeChoice | None, given: dict[str, Any]) -> typer.BadParameter:
    if choice is None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        return typer.BadParameter(f"no recipe takes all of {options}", param_hint="--recipe")
    wrong = next(name for name in given if name not in _KINDS[choice].__dataclass_fields__)
    takers = [one.value for one in RecipeChoice if wrong in _KINDS[one].__dataclass_fields__]
    option = "view" if wrong == "views" else wrong.replace("_", "-")
    only = " and ".join(", ".join(takers).rsplit(", ", 1))
    return typer.BadParameter(
        f"{choice.value} has no such setting; only {only} {'takes' if len(takers) == 1 else 'take'} it",
        param_hint=f"--{option}",
    )


def gate_of(
    wanted: bool,
    max_drop: float | None,
    max_class_drop: float | None,
    significance: float | None,
    alias: str | None,
) -> PromotionGate | None:
    """The gate; a margin means that one is wanted.

    Raises:
        typer.BadParameter: there is no alias that it could be about.
    """
    if not wanted and max_drop is None and max_class_drop is None and significance is None:
        return None
    if alias is None:
        raise typer.BadParameter("name the alias to move, with --alias", param_hint="--promote-if-not-worse")
    return PromotionGate(max_drop=max_drop, max_class_drop=max_class_drop, significance=significance)


def parent_of(version: str | None, removed: list[str] | None) -> int | str | None:
    """A version by its number or alias.

    Raises:
        typer.BadParameter: examples are to be left out of no parent.
    """
    if version is None and removed:
        raise typer.BadParameter(
            "name the version they are left out of, with --parent", param_hint="--remove"
        )
    return int(version) if version is not None and version.isdecimal() else version


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    """Key-value pairs from KEY=VALUE.

    Raises:
        typer.BadParameter: one has no key or no equals sign.
    """
    labels = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"expected KEY=VALUE. Received: {pair}", param_hint="--label")
        labels[key] = value
    return labels


def lifetime_of(text: str | None, option: str = "--ttl") -> timedelta | None:
    """A duration from a number with a unit; seconds without one.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(f"expected a number with s, m, h or d. Received: {text}", param_hint=option)
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
