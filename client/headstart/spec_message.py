"""The spec of a fine-tune and its message, both ways."""

from headstart.answers.enums import read_enum
from headstart.network_recipes import mlp_message, partial_message, read_mlp, read_partial
from headstart.spec import (
    Auto,
    FineTuneSpec,
    Logistic,
    Mlp,
    Partial,
    PromotionGate,
    Recipe,
    Ridge,
    ScalingName,
)
from headstart.task import Task
from headstart.v1 import comparison_pb2, input_pb2
from headstart.v1 import job_pb2 as pb

__all__ = ["gate_message", "read_recipe", "read_spec", "recipe_message", "spec_message"]

_SCALINGS: dict[pb.FeatureScaling, ScalingName] = {
    pb.FEATURE_SCALING_UNIT: "unit",
    pb.FEATURE_SCALING_ROOT: "root",
    pb.FEATURE_SCALING_STANDARD: "standard",
}


def spec_message(spec: FineTuneSpec, *, validate_only: bool = False) -> pb.FineTuneSpec:
    """Writes a spec as a message."""
    message = pb.FineTuneSpec(
        model=spec.model,
        backbone=spec.backbone,
        recipe=recipe_message(spec.recipe),
        held_out_share=spec.held_out_share,
        seed=spec.seed,
        display_name=spec.display_name,
        labels=spec.labels,
        alias=spec.alias,
        request_id=spec.request_id,
        validate_only=validate_only,
        max_dropped_share=spec.max_dropped_share,
        task=f"TASK_{spec.task}",
        promote_if=gate_message(spec.promote_if),
        removed_example_ids=spec.remove,
        discard_examples=spec.discard_examples,
        priority=spec.priority,
        webhook=spec.webhook,
        backbone_candidates=spec.backbone_candidates,
        dataset_uri=spec.dataset_uri,
    )
    if isinstance(spec.parent, int):
        message.parent_version = spec.parent
    elif spec.parent is not None:
        message.parent_alias = spec.parent
    if spec.time_to_live is not None:
        message.time_to_live.FromTimedelta(spec.time_to_live)
    if spec.backbone_time_budget is not None:
        message.backbone_time_budget.FromTimedelta(spec.backbone_time_budget)
    return message


def read_spec(message: pb.FineTuneSpec) -> FineTuneSpec:
    """Reads a spec from its message."""
    return FineTuneSpec(
        model=message.model,
        backbone=message.backbone,
        recipe=read_recipe(message.recipe),
        held_out_share=message.held_out_share,
        seed=message.seed,
        display_name=message.display_name,
        labels=dict(message.labels),
        alias=message.alias,
        time_to_live=message.time_to_live.ToTimedelta() if message.HasField("time_to_live") else None,
        max_dropped_share=message.max_dropped_share,
        task=read_enum(message.task, input_pb2.Task.DESCRIPTOR, Task),
        promote_if=_read_gate(message.promote_if) if message.HasField("promote_if") else None,
        parent=getattr(message, parent) if (parent := message.WhichOneof("parent")) else None,
        remove=tuple(message.removed_example_ids),
        discard_examples=message.discard_examples,
        priority=message.priority,
        webhook=message.webhook,
        backbone_candidates=tuple(message.backbone_candidates),
        backbone_time_budget=message.backbone_time_budget.ToTimedelta()
        if message.HasField("backbone_time_budget")
        else None,
        dataset_uri=message.dataset_uri,
        request_id=message.request_id,
    )


def read_recipe(message: pb.Recipe) -> Recipe:
    """Reads a recipe from its message; one that this client does not know yet reads as `Auto`."""
    kind = message.WhichOneof("recipe")
    if kind == "logistic":
        return _read_logistic(message.logistic)
    if kind == "mlp":
        return read_mlp(message.mlp)
    if kind == "partial":
        return read_partial(message.partial)
    if kind != "ridge":
        return Auto()
    ridge = message.ridge
    return Ridge(
        regularization=ridge.regularization if ridge.HasField("regularization") else None,
        temperature=ridge.temperature if ridge.HasField("temperature") else None,
        folds=ridge.folds,
        view=ridge.view,
        views=tuple(ridge.views),
        scaling=_SCALINGS.get(ridge.scaling),
        balanced=ridge.balanced if ridge.HasField("balanced") else None,
    )


def recipe_message(recipe: Recipe) -> pb.Recipe:
    """Writes a recipe as a message."""
    if isinstance(recipe, Auto):
        return pb.Recipe(auto=pb.AutoRecipe())
    if isinstance(recipe, Logistic):
        return _logistic_message(recipe)
    if isinstance(recipe, Mlp):
        return mlp_message(recipe)
    if isinstance(recipe, Partial):
        return partial_message(recipe)
    message = pb.Recipe(
        ridge=pb.RidgeRecipe(
            regularization=recipe.regularization,
            temperature=recipe.temperature,
            folds=recipe.folds,
            view=recipe.view,
            views=recipe.views,
            scaling=_scaling_number(recipe.scaling),
        )
    )
    if recipe.balanced is not None:
        message.ridge.balanced = recipe.balanced
    return message


def _read_logistic(message: pb.LogisticRecipe) -> Logistic:
    return Logistic(
        regularization=message.regularization if message.HasField("regularization") else None,
        temperature=message.temperature if message.HasField("temperature") else None,
        folds=message.folds,
        views=tuple(message.views),
        scaling=_SCALINGS.get(message.scaling),
        balanced=message.balanced if message.HasField("balanced") else None,
        time_budget=message.time_budget.ToTimedelta() if message.HasField("time_budget") else None,
    )


def _logistic_message(recipe: Logistic) -> pb.Recipe:
    message = pb.Recipe(
        logistic=pb.LogisticRecipe(
            regularization=recipe.regularization,
            temperature=recipe.temperature,
            folds=recipe.folds,
            views=recipe.views,
            scaling=_scaling_number(recipe.scaling),
        )
    )
    if recipe.balanced is not None:
        message.logistic.balanced = recipe.balanced
    if recipe.time_budget is not None:
        message.logistic.time_budget.FromTimedelta(recipe.time_budget)
    return message


def _scaling_number(name: ScalingName | None) -> pb.FeatureScaling:
    if name is None:
        return pb.FEATURE_SCALING_UNSPECIFIED
    for number, known in _SCALINGS.items():
        if known == name:
            return number
    raise ValueError(f"scaling must be one of {', '.join(_SCALINGS.values())}. Received: {name!r}")


def gate_message(gate: PromotionGate | None) -> comparison_pb2.PromotionGate | None:
    """Writes a gate as a message; None for None."""
    if gate is None:
        return None
    return comparison_pb2.PromotionGate(
        max_drop=gate.max_drop,
        max_class_drop=gate.max_class_drop,
        min_class_examples=gate.min_class_examples,
        significance=gate.significance,
    )


def _read_gate(message: comparison_pb2.PromotionGate) -> PromotionGate:
    return PromotionGate(
        max_drop=message.max_drop if message.HasField("max_drop") else None,
        max_class_drop=message.max_class_drop if message.HasField("max_class_drop") else None,
        min_class_examples=message.min_class_examples,
        significance=message.significance if message.HasField("significance") else None,
    )
