"""The options of a fine-tune's spec, and what they are made into."""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

from headstart.spec import Auto, Recipe, Ridge

__all__ = [
    "AliasOption",
    "BackboneOption",
    "DisplayNameOption",
    "FoldsOption",
    "HeldOutOption",
    "LabelOption",
    "LifetimeOption",
    "MaxDroppedOption",
    "RecipeChoice",
    "RecipeOption",
    "RegularizationOption",
    "RequestIdOption",
    "SeedOption",
    "TemperatureOption",
    "ViewOption",
    "labels_of",
    "lifetime_of",
    "recipe_of",
]


class RecipeChoice(StrEnum):
    """The recipes there are."""

    AUTO = "auto"
    RIDGE = "ridge"


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_RIDGE = "Ridge recipe"

BackboneOption: TypeAlias = Annotated[
    str | None, typer.Option("--backbone", "-b", help="The backbone. Default: the server's default.")
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
RequestIdOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Makes it safe to repeat: the same id gives the same job.")
]
RecipeOption: TypeAlias = Annotated[
    RecipeChoice | None, typer.Option(help="How the head is fitted. Default: auto.")
]
RegularizationOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Above 0. Default: chosen.", rich_help_panel=_RIDGE)
]
TemperatureOption: TypeAlias = Annotated[
    float | None, typer.Option(help="Above 0. Default: chosen.", rich_help_panel=_RIDGE)
]
FoldsOption: TypeAlias = Annotated[
    int | None, typer.Option(help="2 to 20. Default: by the number of examples.", rich_help_panel=_RIDGE)
]
ViewOption: TypeAlias = Annotated[
    str | None, typer.Option(help="The backbone's view. Default: last.", rich_help_panel=_RIDGE)
]


def recipe_of(
    choice: RecipeChoice | None,
    regularization: float | None,
    temperature: float | None,
    folds: int | None,
    view: str | None,
) -> Recipe:
    """The recipe; a setting of ridge means ridge.

    Raises:
        typer.BadParameter: auto is named and a setting of ridge is given.
    """
    tuned = any(setting is not None for setting in (regularization, temperature, folds, view))
    if choice is RecipeChoice.AUTO and tuned:
        raise typer.BadParameter(
            "auto chooses its settings by itself; use ridge to set them", param_hint="--recipe"
        )
    if choice is RecipeChoice.RIDGE or tuned:
        return Ridge(
            regularization=regularization, temperature=temperature, folds=folds or 0, view=view or ""
        )
    return Auto()


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


def lifetime_of(text: str | None) -> timedelta | None:
    """A duration from a number with a unit; seconds without one.

    Raises:
        typer.BadParameter: it is none.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(
            f"expected a number with s, m, h or d. Received: {text}", param_hint="--time-to-live"
        )
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
