"""The command `headstart model`."""

from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.confirmation import confirm, deleted_model
from headstart.cli.help import noun
from headstart.cli.nouns.captured import capture_inputs
from headstart.cli.nouns.feedback import retrain
from headstart.cli.options import ModelArgument
from headstart.cli.output.formats import LIST
from headstart.cli.output.listings import model_listing, traffic_listing
from headstart.cli.output.model_tables import model_table, model_view, traffic_table
from headstart.cli.session import session_of
from headstart.cli.training.recipe_settings import duration_of

models = noun("model", "List, show and delete models, show their traffic, and capture inputs.")
models.command("capture")(capture_inputs)
models.command("retrain")(retrain)


@models.command("list", formats=LIST)
def list_models(context: typer.Context) -> None:
    """List the models and what they store.

    Example: `headstart model list`
    """
    session = session_of(context)
    with session.client() as client:
        listed, usage = client.models(), client.usage()
    session.show(session.response("ListModels"), model_table(listed, usage), model_listing(listed))


@models.command("show")
def show_model(
    context: typer.Context,
    model: ModelArgument,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of versions, newest first.")] = 20,
) -> None:
    """Show a model with its versions, aliases and metrics.

    Example: `headstart model show pets`
    """
    session = session_of(context)
    with session.client() as client:
        description = client.get_model(model, max_versions=limit)
    session.show(session.response("GetModel"), model_view(description))


@models.command("traffic", formats=LIST)
def show_traffic(
    context: typer.Context,
    model: ModelArgument,
    window: Annotated[
        str, typer.Option(metavar="DURATION", help="The length of the window, which ends now.")
    ] = "1h",
) -> None:
    """Show the predictions of each version: calls, errors, unknown inputs, latency and drift.

    Example: `headstart model traffic pets --window 1d`
    """
    session = session_of(context)
    with session.client() as client:
        traffic = client.traffic(model, window=duration_of(window, "--window"))
    session.show(session.response("GetTraffic"), traffic_table(traffic), traffic_listing(model, traffic))


@models.command("delete")
def delete_model(
    context: typer.Context,
    model: ModelArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the question.")] = False,
) -> None:
    """Delete a model. The question names the versions, aliases and examples that are deleted with it.

    Example: `headstart model delete pets`
    """
    session = session_of(context)
    with session.client() as client:
        if not yes:
            confirm(f"delete {deleted_model(client.get_model(model))}", skip=False)
        client.delete_model(model, force=True)
    session.show(session.response("DeleteModel"), Text(f"Deleted model {model} with all its versions."))
