"""The settings of recipes for --set NAME=VALUE, with types from the recipes."""

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from headstart.spec import RECIPES, Recipe


class RecipeChoice(StrEnum):
    """The names of the recipes."""

    AUTO = "auto"
    RIDGE = "ridge"
    LOGISTIC = "logistic"
    MLP = "mlp"
    PARTIAL = "partial"


_HELP: Mapping[str, str] = {
    "regularization": "above 0",
    "temperature": "divides scores before the softmax, above 0",
    "folds": "of the cross-validation, 2 to 20",
    "views": "of the backbone, side by side, such as last,taps",
    "scaling": "unit, root or standard",
    "balanced": "true gives each class the same weight",
    "time_budget": "such as 90s; then the best head so far is used",
    "hidden_units": "1 to 4096",
    "dropout": "0 to 0.9",
    "weight_decay": "0 to 1",
    "learning_rate": "1e-6 to 1",
    "max_epochs": "1 to 10000",
    "patience": "epochs without a better loss before training ends",
    "blocks": "last blocks of the backbone to train, 1 to 3",
}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def settings_help() -> str:
    """Return a line for each setting: its meaning and its recipes."""
    return "\n".join(
        f"  {name:<15} {text} ({', '.join(_recipes_with(name))})" for name, text in _HELP.items()
    )


def recipe_of(choice: RecipeChoice | None, pairs: list[str] | None) -> Recipe:
    """Return the recipe with settings from NAME=VALUE.

    Without a name, it is the first recipe that has all the settings, or auto without settings.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, value = _setting(pair)
        if name in values:
            raise _bad(f"{name} is set twice. Give it once")
        values[name] = value
    if choice is RecipeChoice.AUTO and values:
        raise _bad("auto chooses its settings. Name another recipe, such as --recipe ridge")
    if choice is None:
        choice = next((each for each in RecipeChoice if values.keys() <= _settings_of(each)), None)
    if choice is None:
        raise _bad(f"no recipe has all of {', '.join(values)}")
    for name in values.keys() - _settings_of(choice):
        only = ", ".join(_recipes_with(name))
        raise _bad(f"{choice.value} does not have the setting {name}; {only} {_verb(only)}")
    kind = RECIPES[choice.value]
    if "view" in kind.__dataclass_fields__ and len(values.get("views", ())) == 1:
        (values["view"],) = values.pop("views")
    return kind(**values)


def duration_of(text: str | None, option: str) -> timedelta | None:
    """Return a duration of a number with a unit; seconds without a unit."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd]?)", text)
    if match is None:
        raise typer.BadParameter(f"expected a number with s, m, h or d. Received: {text}", param_hint=option)
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def _setting(pair: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise _bad(f"expected NAME=VALUE, such as folds=5. Received: {pair}")
    name = "views" if name == "view" else name
    if name not in _HELP:
        near = get_close_matches(name, _HELP, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"The settings are {', '.join(_HELP)}."
        raise _bad(f"no recipe has the setting {name}. {remedy}")
    return name, _parsed(name, value.strip(), _kind_of(name))


def _parsed(name: str, text: str, kind: Any) -> Any:
    if kind is timedelta:
        return duration_of(text, f"--set {name}")
    try:
        if kind is bool:
            return _BOOLEANS[text.lower()]
        if kind in (int, float):
            return kind(text)
    except (KeyError, ValueError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise _bad(f"{name} must be {expected}. Received: {text!r}") from None
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise _bad(f"{name} must be one of {', '.join(get_args(kind))}. Received: {text!r}")
        return text
    names = tuple(each.strip() for each in text.split(","))
    if not all(names):
        raise _bad(f"{name} must be names with commas between them. Received: {text!r}")
    return names


def _kind_of(name: str) -> Any:
    hint = get_type_hints(RECIPES[_recipes_with(name)[0]])[name]
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    return hint


def _settings_of(choice: RecipeChoice) -> set[str]:
    return {each.name for each in fields(RECIPES[choice.value])} - {"view"}


def _recipes_with(name: str) -> list[str]:
    return [each.value for each in RecipeChoice if name in _settings_of(each)]


def _verb(names: str) -> str:
    return "do" if "," in names else "does"


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--set")
