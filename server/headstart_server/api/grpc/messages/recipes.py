"""Conversions between messages of recipes and their values, whose fields have the same names."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from headstart.v1 import job_pb2
from headstart_server.api.grpc.messages.encode import numbers_of
from headstart_server.errors import InvalidField
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, Ridge

_KINDS: Mapping[str, type[Recipe]] = {"ridge": Ridge, "logistic": Logistic, "mlp": Mlp, "partial": Partial}
_SCALINGS = numbers_of(Scaling, job_pb2.FeatureScaling)


def recipe_of(message: job_pb2.Recipe) -> Recipe:
    """Return the recipe of a message; the check of its spec checks the ranges."""
    name = message.WhichOneof("recipe")
    if name not in _KINDS:
        return Auto()
    path = f"spec.recipe.{name}"
    given: dict[str, Any] = {each.name: value for each, value in getattr(message, name).ListFields()}
    if "view" in given:
        view = given.pop("view")
        if "views" in given:
            raise InvalidField(
                f"Expected either view or views. Received: view {view!r} and {len(given['views'])} views.",
                field=f"{path}.views",
            )
        given["views"] = [view]
    if "views" in given:
        given["views"] = tuple(given["views"])
    if "scaling" in given:
        given["scaling"] = _scaling_of(given["scaling"], f"{path}.scaling")
    if "time_budget" in given:
        given["time_budget"] = given["time_budget"].seconds + given["time_budget"].nanos / 1e9
    return _KINDS[name](**given)


def recipe_message(recipe: Recipe) -> job_pb2.Recipe:
    """Return the message of a recipe; a setting that fitting selects is unset."""
    name = type(recipe).__name__.lower()
    message = job_pb2.Recipe()
    settings = getattr(message, name)
    settings.SetInParent()
    for each in fields(recipe):
        value = getattr(recipe, each.name)
        if value is None or value == each.default == 0 or each.name not in settings.DESCRIPTOR.fields_by_name:
            continue
        if isinstance(recipe, Ridge) and each.name == "views" and len(value) == 1:
            settings.view = value[0]
        elif each.name == "views":
            settings.views.extend(value)
        elif each.name == "time_budget":
            settings.time_budget.FromNanoseconds(round(value * 1e9))
        else:
            setattr(settings, each.name, _SCALINGS[value] if isinstance(value, Scaling) else value)
    return message


def _scaling_of(number: int, field: str) -> Scaling:
    for scaling, known in _SCALINGS.items():
        if known == number:
            return scaling
    raise InvalidField(f"Expected a scaling of 1 to {len(_SCALINGS)}. Received: {number}.", field=field)
