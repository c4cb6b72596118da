"""The command `headstart review`."""

import os
from typing import Annotated

import typer
from rich.text import Text

from headstart.cli.options import VersionArgument
from headstart.cli.output.layout import plural, short_moment
from headstart.cli.prediction.reviewer import Answer, Judgment, Reviewer, ReviewItem
from headstart.cli.session import session_of
from headstart.cli.terminal.images import ImageProtocol, detect
from headstart.cli.terminal.screen import open_screen
from headstart.client import Client
from headstart.label_values import LabelValue
from headstart.results import ReviewEntry, ReviewReason
from headstart.version_ref import parse_version

__all__ = ["review"]

_THUMBNAIL = 512
_WHY = {
    ReviewReason.UNCERTAIN: "the version is uncertain",
    ReviewReason.NOVEL: "unlike the training examples",
    ReviewReason.DISAGREEMENT: "versions disagree",
    ReviewReason.RARE_CLASS: "a rare class",
    ReviewReason.REPRESENTATIVE: "like many other inputs",
}


def review(
    context: typer.Context,
    *,
    model: VersionArgument,
    images: Annotated[
        ImageProtocol | None,
        typer.Option(
            help="The way to show images. Default: the best one that the terminal is known to support.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Label captured inputs one at a time, those that teach the model the most first.

    Keys: 1 to 9 choose a class, c types another one, space confirms the prediction, x rejects it, s skips the
    input, backspace returns to the previous one, and q quits. Each answer is feedback, stored immediately.

    Example: `headstart review pets`
    """
    session = session_of(context)
    ref = parse_version(model)
    with session.client() as client, open_screen() as screen:
        version = client.get_version(model)
        reviewer = Reviewer(
            screen=screen,
            source=_Source(client, ref.model),
            items=map(_item, client.review(ref.model, version=ref.version, alias=ref.alias)),
            task=version.task,
            class_names=version.class_names,
            protocol=images or detect(os.environ),
            title=ref.model,
        )
        reviewer.run()
    count = len(reviewer.answers)
    text = f"{plural(count, 'answer')} recorded. Show the effect: headstart feedback summary {ref.model}"
    session.show({"model": ref.model, "answered": count}, Text(text))


class _Source:
    """The server."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model

    def content(self, item: ReviewItem) -> tuple[bytes, str]:
        """As `ReviewSource.content`."""
        size = _THUMBNAIL if item.is_image else None
        found = self._client.captured_input(self._model, item.prediction_id, thumbnail_size=size)
        return found.content, found.media_type

    def send(self, item: ReviewItem, answer: Answer) -> None:
        """As `ReviewSource.send`."""
        if answer is Judgment.CONFIRMED:
            self._client.send_feedback(self._model, item.prediction_id, confirmed=True)
        elif answer is Judgment.REJECTED:
            self._client.send_feedback(self._model, item.prediction_id, rejected=True)
        else:
            self._client.send_feedback(self._model, item.prediction_id, label=answer)


def _item(entry: ReviewEntry) -> ReviewItem:
    captured = entry.captured_input
    about = [f"version {captured.version}", short_moment(captured.create_time)]
    if entry.near_duplicate_count:
        about.append(plural(entry.near_duplicate_count, "similar input"))
    margin = "" if entry.margin is None else f" (margin {entry.margin:.2f})"
    return ReviewItem(
        prediction_id=captured.prediction_id,
        predicted=_plain(captured.predicted),
        probabilities={each.name: each.probability for each in captured.classes},
        why=f"{_WHY.get(entry.reason, 'captured')}{margin}",
        about=" · ".join(about),
        is_image=captured.media_type.startswith("image/"),
    )


def _plain(label: LabelValue) -> str | tuple[str, ...] | float:
    return label if isinstance(label, str | tuple | float) else ""
