"""The command `headstart review`."""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Protocol

import typer
from rich.text import Text

from headstart.cli.options import VersionArgument
from headstart.cli.output.layout import plural, short_moment
from headstart.cli.prediction.screen import Key, Screen, open_screen, printable
from headstart.cli.prediction.terminal_images import ImageProtocol, detect, encode, forget
from headstart.cli.session import session_of
from headstart.client import Client
from headstart.errors import HeadstartError
from headstart.inputs.task import Task
from headstart.label_values import LabelValue
from headstart.results import ReviewEntry, ReviewReason
from headstart.version_ref import parse_version

#: A class, classes or a number.
Label = str | tuple[str, ...] | float
#: Rows of a page next to its content and classes.
_OTHER_ROWS = 10
_MAX_CLASSES = 9
_MAX_COLUMNS, _MAX_ROWS = 100, 40
_TEXT_ROWS = 24


class Judgment(Enum):
    """An answer without a label."""

    CONFIRMED = "correct"
    REJECTED = "wrong"


Answer = Label | Judgment
_JUDGMENTS = {" ": Judgment.CONFIRMED, "x": Judgment.REJECTED}
_DIGITS = list("123456789")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewItem:
    """An input to review."""

    prediction_id: str  # its ID
    predicted: Label  # the predicted label
    probabilities: Mapping[str, float]  # the probability of each of the most probable classes
    why: str  # reason for its place in the list, for people
    about: str  # further facts, for people
    is_image: bool  # whether it is an image


class ReviewSource(Protocol):
    """The server."""

    def content(self, item: ReviewItem) -> tuple[bytes, str]:
        """Return the content of an input, images as thumbnails, and its media type."""

    def send(self, item: ReviewItem, answer: Answer) -> None:
        """Record an answer, or replace the earlier one; returns once it is durable."""


@dataclass(slots=True)
class Reviewer:
    """A review."""

    screen: Screen  # shows inputs and reads keys
    source: ReviewSource  # has the inputs
    items: Iterator[ReviewItem]  # the inputs, the most valuable first
    task: Task  # the kind of label
    class_names: Sequence[str]  # the classes, in the order of their keys
    protocol: ImageProtocol  # the way to show images
    title: str  # the name of the model
    _seen: list[ReviewItem] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _chosen: set[str] = field(default_factory=set)
    _note: str = ""

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The answers that the server has recorded, by prediction ID."""
        return self._answers

    def run(self) -> None:
        """Review until the inputs end or the user quits."""
        place = 0
        while (item := self._item(place)) is not None:
            place += self._review(item, place)
            if place < 0:
                return

    def _item(self, place: int) -> ReviewItem | None:
        if place == len(self._seen):
            item = next(self.items, None)
            if item is None:
                return None
            self._seen.append(item)
        return self._seen[place]

    def _review(self, item: ReviewItem, place: int) -> int:
        """Show an input until it is answered or left; return the step to the next, below -place to quit."""
        self._chosen = set(item.predicted) if isinstance(item.predicted, tuple) else set()
        shown = self._content(item)
        while True:
            self.screen.show(self._page(item, place, shown))
            self._note = ""
            key = self.screen.key()
            if key in ("q", "Q", Key.ESCAPE):
                return -1 - place
            if key in (Key.BACKSPACE, Key.LEFT):
                return -1 if place else 0
            if key in ("s", Key.RIGHT):
                return 1
            answer = _JUDGMENTS.get(key) or self._label(key)
            if answer is not None and self._sent(item, answer):
                return 1

    def _label(self, key: str) -> Answer | None:
        """Return the label that a key completes; None if it completes none."""
        if self.task is Task.REGRESSION:
            return self._number() if key in ("c", Key.ENTER) else None
        if self.task is Task.MULTI_LABEL and key == Key.ENTER:
            return tuple(name for name in self._names() if name in self._chosen)
        name = ""
        if key == "c":
            name = self.screen.line("class: ").strip()
        elif key in _DIGITS and _DIGITS.index(key) < len(self._keys()):
            name = self._keys()[_DIGITS.index(key)]
        return self._named(name) if name else None

    def _named(self, name: str) -> Answer | None:
        if self.task is not Task.MULTI_LABEL:
            return name
        self._chosen ^= {name}
        return None

    def _number(self) -> Answer | None:
        text = self.screen.line("number: ").strip()
        try:
            return float(text) if text else None
        except ValueError:
            self._note = f"{text[:40]!r} is not a number."
            return None

    def _sent(self, item: ReviewItem, answer: Answer) -> bool:
        try:
            self.source.send(item, answer)
        except (HeadstartError, ValueError) as error:  # such as a typed class that is not valid Unicode
            self._note = str(error)
            return False
        self._answers[item.prediction_id] = answer
        return True

    def _content(self, item: ReviewItem) -> str:
        try:
            content, media_type = self.source.content(item)
        except HeadstartError as error:
            return f"{printable(str(error))}\n"
        columns, rows = self.screen.size
        columns, rows = min(columns, _MAX_COLUMNS), min(rows, _MAX_ROWS)
        rows = max(4, rows - len(self._keys()) - _OTHER_ROWS)
        if media_type.startswith("image/"):
            try:
                return encode(content, self.protocol, columns=columns, rows=rows)
            except ValueError as error:
                return f"{error}\n"
        text = printable(content.decode(errors="replace"))
        lines = [part for line in text.splitlines() for part in (textwrap.wrap(line, columns) or [""])]
        limit = min(rows, _TEXT_ROWS)
        return "\n".join(lines[:limit] + (["…"] if len(lines) > limit else [])) + "\n"

    def _names(self) -> list[str]:
        """The known and the typed classes."""
        return list(dict.fromkeys([*self.class_names, *sorted(self._chosen)]))

    def _keys(self) -> list[str]:
        return [] if self.task is Task.REGRESSION else self._names()[:_MAX_CLASSES]

    def _page(self, item: ReviewItem, place: int, shown: str) -> str:
        done = self._answers.get(item.prediction_id)
        state = "" if done is None else f" · answered: {_text(done)}"
        title = f"{self.title} · input {place + 1} · {len(self._answers)} answered{state}"
        about = " · ".join(filter(None, (item.why, item.about)))
        lines = [printable(title), printable(about), "", shown, *self._rows(item), "", self._help()]
        return forget(self.protocol) + "\n".join([*lines, printable(self._note)])

    def _rows(self, item: ReviewItem) -> list[str]:
        """Return the classes with their keys; for numbers the prediction."""
        if self.task is Task.REGRESSION:
            return [f"predicted: {printable(_text(item.predicted))}"]
        rows = [self._class_line(number, name, item) for number, name in enumerate(self._keys(), 1)]
        if more := len(self._names()) - len(rows):
            rows.append(f"    and {more} more: press c and type the name")
        return rows

    def _class_line(self, number: int, name: str, item: ReviewItem) -> str:
        predicted = item.predicted if isinstance(item.predicted, tuple) else (item.predicted,)
        mark = "*" if (name in self._chosen if self.task is Task.MULTI_LABEL else name in predicted) else " "
        probability = item.probabilities.get(name)
        share = "" if probability is None else f"{probability:7.1%}"
        return f" {number}{mark} {printable(name)[:60]:<30} {share}".rstrip()

    def _help(self) -> str:
        answers = "1-9 class · c type a class"
        if self.task is Task.MULTI_LABEL:
            answers = "1-9 mark a class · c type a class · enter send the marks"
        elif self.task is Task.REGRESSION:
            answers = "enter type a number"
        judgments = "space the prediction is correct · x it is wrong"
        return f"{answers} · {judgments}\ns skip · backspace back · q quit"


def _text(label: Answer) -> str:
    if isinstance(label, Judgment):
        return label.value
    if isinstance(label, tuple):
        return ", ".join(label) or "no class"
    return label if isinstance(label, str) else f"{label:g}"


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
    """Label captured inputs one at a time, the most valuable first.

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
