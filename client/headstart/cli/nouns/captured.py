"""The commands `headstart captured` and `headstart model capture`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.help import noun
from headstart.cli.options import ModelArgument
from headstart.cli.output.feedback_tables import policy_view, review_listing, review_table, status_view
from headstart.cli.output.formats import LIST
from headstart.cli.session import session_of
from headstart.cli.training.recipe_settings import duration_of
from headstart.results import CapturePolicy

captured = noun("captured", "List the inputs that a model captured for review, and read them.")


@captured.command("list", formats=LIST)
def list_captured(
    context: typer.Context,
    model: ModelArgument,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of inputs.")] = 20,
) -> None:
    """List captured inputs without feedback, the most valuable to label first.

    Example: `headstart captured list pets`
    """
    session = session_of(context)
    with session.client() as client:
        entries = list(islice(client.review(model), limit))
    session.show(session.response("ListReview", limit), review_table(entries), review_listing(entries))


@captured.command("status")
def show_status(context: typer.Context, model: ModelArgument) -> None:
    """Show how much a model has captured, and how much was lost.

    Example: `headstart captured status pets`
    """
    session = session_of(context)
    with session.client() as client:
        status = client.capture_status(model)
    session.show(session.response("GetCaptureStatus").get("status", {}), status_view(model, status))


@captured.command("show")
def show_captured(
    context: typer.Context,
    *,
    model: ModelArgument,
    prediction_id: Annotated[
        str, typer.Argument(metavar="ID", help="The ID of the prediction.", show_default=False)
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The file for the content.", show_default=False),
    ],
    thumbnail: Annotated[
        int | None, typer.Option(metavar="PIXELS", help="64, 128, 256 or 512: save a thumbnail.")
    ] = None,
) -> None:
    """Save the content of a captured input to a file.

    Example: `headstart captured show pets 3f2a... --output cat.jpg`
    """
    session = session_of(context)
    with session.client() as client:
        found = client.captured_input(model, prediction_id, thumbnail_size=thumbnail)
    output.write_bytes(found.content)
    response = session.response("GetCapturedInput")
    document = {"capturedInput": response.get("capturedInput"), "path": str(output)}
    session.show(document, Text(f"{found.media_type}, {len(found.content)} bytes: written to {output}"))


def capture_inputs(
    context: typer.Context,
    *,
    model: ModelArgument,
    random: Annotated[float, typer.Option(min=0, max=1, help="Fraction that is captured at random.")] = 0.0,
    margin: Annotated[float, typer.Option(min=0, max=1, help="Capture up to this margin.")] = 0.0,
    typicality: Annotated[float, typer.Option(min=0, max=1, help="Capture up to this typicality.")] = 0.0,
    rare_class: Annotated[
        float, typer.Option(min=0, max=1, help="Capture classes below this fraction of the examples.")
    ] = 0.0,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Capture where the alias shadow predicts another label.")
    ] = False,
    max_count: Annotated[int | None, typer.Option(min=1, help="The maximum number of inputs.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="The maximum size of the inputs.")] = None,
    ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long an input is kept, such as 7d.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End the capture.")] = False,
) -> None:
    """Set which inputs of Predict calls a model captures for review. The policy is replaced as a whole.

    Example: `headstart model capture pets --random 0.01 --margin 0.2`
    """
    policy = CapturePolicy(
        random_fraction=random,
        max_margin=margin,
        max_typicality=typicality,
        rare_class_fraction=rare_class,
        shadow_disagreement=shadow,
        max_count=max_count,
        max_bytes=max_bytes,
        ttl=duration_of(ttl, "--ttl"),
    )
    if off and policy != CapturePolicy():
        raise typer.BadParameter("--off ends the capture. Remove the other options.")
    if not off and not (random or margin or typicality or rare_class or shadow):
        raise typer.BadParameter(
            "Give --random, --margin, --typicality, --rare-class or --shadow, or end the capture with --off."
        )
    session = session_of(context)
    with session.client() as client:
        updated = client.update_model(model, capture=None if off else policy)
    session.show(session.response("UpdateModel"), policy_view(model, updated.capture))
