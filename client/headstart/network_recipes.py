"""The recipes that train networks and their messages, both ways."""

from headstart.spec import Mlp, Partial
from headstart.v1 import job_pb2 as pb

__all__ = ["mlp_message", "partial_message", "read_mlp", "read_partial"]


def read_mlp(message: pb.MlpRecipe) -> Mlp:
    """Reads a recipe from its message."""
    return Mlp(
        hidden_units=message.hidden_units,
        dropout=message.dropout if message.HasField("dropout") else None,
        weight_decay=message.weight_decay if message.HasField("weight_decay") else None,
        learning_rate=message.learning_rate if message.HasField("learning_rate") else None,
        max_epochs=message.max_epochs,
        patience=message.patience,
        temperature=message.temperature if message.HasField("temperature") else None,
        folds=message.folds,
        views=tuple(message.views),
        balanced=message.balanced if message.HasField("balanced") else None,
        time_budget=message.time_budget.ToTimedelta() if message.HasField("time_budget") else None,
    )


def mlp_message(recipe: Mlp) -> pb.Recipe:
    """Writes a recipe as a message."""
    message = pb.MlpRecipe(
        hidden_units=recipe.hidden_units,
        dropout=recipe.dropout,
        weight_decay=recipe.weight_decay,
        learning_rate=recipe.learning_rate,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        temperature=recipe.temperature,
        folds=recipe.folds,
        views=recipe.views,
    )
    if recipe.balanced is not None:
        message.balanced = recipe.balanced
    if recipe.time_budget is not None:
        message.time_budget.FromTimedelta(recipe.time_budget)
    return pb.Recipe(mlp=message)


def read_partial(message: pb.PartialRecipe) -> Partial:
    """Reads a recipe from its message."""
    return Partial(
        blocks=message.blocks,
        learning_rate=message.learning_rate if message.HasField("learning_rate") else None,
        max_epochs=message.max_epochs,
        patience=message.patience,
        temperature=message.temperature if message.HasField("temperature") else None,
        balanced=message.balanced if message.HasField("balanced") else None,
        time_budget=message.time_budget.ToTimedelta() if message.HasField("time_budget") else None,
    )


def partial_message(recipe: Partial) -> pb.Recipe:
    """Writes a recipe as a message."""
    message = pb.PartialRecipe(
        blocks=recipe.blocks,
        learning_rate=recipe.learning_rate,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        temperature=recipe.temperature,
    )
    if recipe.balanced is not None:
        message.balanced = recipe.balanced
    if recipe.time_budget is not None:
        message.time_budget.FromTimedelta(recipe.time_budget)
    return pb.Recipe(partial=message)
