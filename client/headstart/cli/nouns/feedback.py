"""The commands `headstart feedback` and `headstart model retrain`."""

from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text as Line

from headstart.calls.feedback_calls import FeedbackSettings
from headstart.cli.help import noun
from headstart.cli.options import ModelArgument
from headstart.cli.output.feedback_tables import feedback_listing, feedback_table, retrain_view, summary_view
from headstart.cli.output.formats import LIST
from headstart.cli.session import session_of
from headstart.cli.training.recipe_settings import duration_of
from headstart.inputs.inputs import Text
from headstart.inputs.task import Task
from headstart.label_values import LabelValue
from headstart.results import FeedbackState, RetrainPolicy, UnknownClasses

feedback = noun("feedback", "Send, list and summarize feedback on predictions.")


class StateChoice(StrEnum):
    """A state of feedback."""

    PENDING = "pending"
    TRAINING = "training"
    LEARNED = "learned"
    SUPERSEDED = "superseded"
    RECORDED = "recorded"


class UnknownClassesChoice(StrEnum):
    """Handling of feedback with new classes."""

    ALLOW = "allow"
    REJECT = "reject"


@feedback.command("send")
def send(
    context: typer.Context,
    *,
    model: ModelArgument,
    prediction_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The ID of the prediction.", show_default=False)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="The true class or number; repeatable for several classes.", show_default=False),
    ] = None,
    confirmed: Annotated[bool, typer.Option("--confirmed", help="The prediction is correct.")] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="The prediction is wrong, and the label is unknown.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="An image, .txt or .npy file, instead of an ID.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="A text as the input, instead of an ID.", show_default=False)
    ] = None,
    request_id: Annotated[
        str | None, typer.Option(help="An ID that makes it safe to repeat the command.", show_default=False)
    ] = None,
) -> None:
    """Send the true label of a prediction or of an input, or judge a prediction.

    Example: `headstart feedback send pets 3f2a... --label cat`
    """
    session = session_of(context)
    settings = FeedbackSettings(confirmed=confirmed, rejected=rejected)
    subjects = [each for each in (prediction_id, file, text) if each is not None]
    if len(subjects) != 1:
        raise typer.BadParameter("Give the ID of a prediction, --input FILE or --text TEXT: one of them.")
    if bool(label) + confirmed + rejected != 1:
        raise typer.BadParameter("Give one of --label, --confirmed and --rejected.")
    if prediction_id is None:
        settings["input"] = Text(text) if text is not None else cast(Path, file)
    if request_id is not None:
        settings["request_id"] = request_id
    with session.client() as client:
        if label:
            settings["label"] = _label(client.get_version(model).task, label)
        sent = client.send_feedback(model, prediction_id, **settings)
    line = f"{sent.outcome.capitalize()}: feedback {sent.feedback.feedback_id}, {sent.feedback.state.lower()}"
    session.show(session.response("SendFeedback"), Line(line))


@feedback.command("list", formats=LIST)
def list_feedback(
    context: typer.Context,
    model: ModelArgument,
    state: Annotated[
        list[StateChoice] | None, typer.Option(help="Only feedback in this state; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of rows.")] = 50,
) -> None:
    """List feedback, the newest first.

    Example: `headstart feedback list pets --state pending`
    """
    session = session_of(context)
    states = [FeedbackState(each.upper()) for each in state or ()]
    with session.client() as client:
        found = list(islice(client.feedback(model, states=states), limit))
    session.show(session.response("ListFeedback", limit), feedback_table(found), feedback_listing(found))


@feedback.command("summary")
def show_summary(
    context: typer.Context,
    model: ModelArgument,
    window: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Only feedback of this last time, such as 30d."),
    ] = None,
) -> None:
    """Show the accuracy in production by version, week and class, and the state of the retraining.

    Example: `headstart feedback summary pets --window 30d`
    """
    session = session_of(context)
    with session.client() as client:
        summary = client.feedback_summary(model, window=duration_of(window, "--window"))
    session.show(session.response("GetFeedbackSummary"), summary_view(model, summary))


def retrain(
    context: typer.Context,
    *,
    model: ModelArgument,
    alias: Annotated[
        str | None, typer.Option(help="The alias that moves to better versions.", show_default=False)
    ] = None,
    min_feedback: Annotated[
        int | None, typer.Option(min=1, help="Retrain after this number of feedback.", show_default=False)
    ] = None,
    max_delay: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Retrain this long after the first feedback.")
    ] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Retrain below this accuracy in production.")
    ] = None,
    min_interval: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The minimum time between two retrains.")
    ] = None,
    unknown_classes: Annotated[
        UnknownClassesChoice | None, typer.Option(help="Learn new classes, or reject feedback with them.")
    ] = None,
    webhook: Annotated[
        str, typer.Option(metavar="URL", help="Notified of the end of each retrain.", show_default=False)
    ] = "",
    max_failures: Annotated[
        int | None, typer.Option(min=1, help="Stop after this number of failures in a row.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End the automatic retraining.")] = False,
) -> None:
    """Set when feedback trains the next version of an alias. The policy is replaced as a whole.

    Example: `headstart model retrain pets --alias stable --min-feedback 20`
    """
    if off == (alias is not None):
        raise typer.BadParameter("Give either --alias or --off.")
    policy = RetrainPolicy(
        alias=alias or "",
        min_feedback_count=min_feedback,
        max_delay_duration=duration_of(max_delay, "--max-delay"),
        min_accuracy=min_accuracy,
        min_interval_duration=duration_of(min_interval, "--min-interval"),
        unknown_classes=None if unknown_classes is None else UnknownClasses(unknown_classes.upper()),
        webhook=webhook,
        max_failures=max_failures,
    )
    if off and policy != RetrainPolicy(alias=""):
        raise typer.BadParameter("--off ends the retraining. Remove the other options.")
    session = session_of(context)
    with session.client() as client:
        updated = client.update_model(model, retrain=None if off else policy)
    session.show(session.response("UpdateModel"), retrain_view(updated))


def _label(task: Task, texts: list[str]) -> LabelValue:
    """Return the label that texts stand for; an empty text alone is no class of several."""
    if task is Task.MULTI_LABEL:
        return tuple(filter(None, texts))
    if len(texts) > 1:
        raise typer.BadParameter("This model predicts one label. Give --label once.")
    if task is not Task.REGRESSION:
        return texts[0]
    try:
        return float(texts[0])
    except ValueError:
        raise typer.BadParameter(f"This model predicts numbers. Received: --label {texts[0]!r}") from None
