"""Between the messages of the recipes that train networks and their values."""

from headstart.v1 import job_pb2
from headstart_server.learning.heads.recipe import Mlp, Partial


def mlp_of(message: job_pb2.MlpRecipe, views: tuple[str, ...], time_budget: float | None) -> Mlp:
    """The recipe of a message.

    Args:
        message: the message.
        views: its views; () for all.
        time_budget: its time budget in seconds, None for none.
    """
    return Mlp(
        hidden_units=message.hidden_units if message.HasField("hidden_units") else 0,
        dropout=message.dropout if message.HasField("dropout") else None,
        weight_decay=message.weight_decay if message.HasField("weight_decay") else None,
        learning_rate=message.learning_rate if message.HasField("learning_rate") else Mlp().learning_rate,
        max_epochs=message.max_epochs if message.HasField("max_epochs") else Mlp().max_epochs,
        patience=message.patience if message.HasField("patience") else Mlp().patience,
        temperature=message.temperature if message.HasField("temperature") else None,
        folds=message.folds if message.HasField("folds") else 0,
        views=views,
        balanced=message.balanced if message.HasField("balanced") else None,
        time_budget=time_budget,
    )


def mlp_message(recipe: Mlp) -> job_pb2.Recipe:
    """The message of a recipe."""
    message = job_pb2.MlpRecipe(
        hidden_units=recipe.hidden_units or None,
        dropout=recipe.dropout,
        weight_decay=recipe.weight_decay,
        learning_rate=recipe.learning_rate,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        temperature=recipe.temperature,
        folds=recipe.folds or None,
        views=recipe.views,
    )
    if recipe.balanced is not None:
        message.balanced = recipe.balanced
    if recipe.time_budget is not None:
        message.time_budget.FromNanoseconds(round(recipe.time_budget * 1e9))
    return job_pb2.Recipe(mlp=message)


def partial_of(message: job_pb2.PartialRecipe, time_budget: float | None) -> Partial:
    """The recipe of a message.

    Args:
        message: the message.
        time_budget: its time budget in seconds, None for none.
    """
    default = Partial()
    return Partial(
        blocks=message.blocks if message.HasField("blocks") else default.blocks,
        learning_rate=message.learning_rate if message.HasField("learning_rate") else default.learning_rate,
        max_epochs=message.max_epochs if message.HasField("max_epochs") else default.max_epochs,
        patience=message.patience if message.HasField("patience") else default.patience,
        temperature=message.temperature if message.HasField("temperature") else None,
        balanced=message.balanced if message.HasField("balanced") else None,
        time_budget=time_budget,
    )


def partial_message(recipe: Partial) -> job_pb2.Recipe:
    """The message of a recipe."""
    message = job_pb2.PartialRecipe(
        blocks=recipe.blocks,
        learning_rate=recipe.learning_rate,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        temperature=recipe.temperature,
    )
    if recipe.balanced is not None:
        message.balanced = recipe.balanced
    if recipe.time_budget is not None:
        message.time_budget.FromNanoseconds(round(recipe.time_budget * 1e9))
    return job_pb2.Recipe(partial=message)
