"""A review: what keys do, what is shown, and what a failed answer leaves."""

import io
import re
from collections.abc import Iterable

import grpc
import pytest
from PIL import Image

from headstart import ErrorDetails, NotFound
from headstart.cli.prediction.review import Answer, Judgment, Reviewer, ReviewItem
from headstart.cli.prediction.terminal_images import ImageProtocol
from headstart.inputs.task import Task

CLASSES = ("cat", "dog", "bird")


class FakeScreen:
    """Has keys that were pressed before, and keeps what was shown."""

    def __init__(self, keys: Iterable[str], lines: Iterable[str] = ()) -> None:
        self.keys, self.lines, self.pages = list(keys), list(lines), []
        self.size = (80, 40)

    def show(self, text: str) -> None:
        self.pages.append(text)

    def key(self) -> str:
        return self.keys.pop(0)

    def line(self, prompt: str) -> str:
        return self.lines.pop(0)


class FakeSource:
    """Keeps the answers."""

    def __init__(self, content: bytes = b"a text", media_type: str = "text/plain; charset=utf-8") -> None:
        self.sent: list[tuple[str, Answer]] = []
        self.failures: list[Exception] = []
        self._content = content, media_type

    def content(self, item: ReviewItem) -> tuple[bytes, str]:
        return self._content

    def send(self, item: ReviewItem, answer: Answer) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((item.prediction_id, answer))


def item(name: str = "p1", predicted: object = "dog") -> ReviewItem:
    return ReviewItem(
        prediction_id=name,
        predicted=predicted,
        probabilities={"dog": 0.55, "cat": 0.4},
        why="uncertain (margin 0.15)",
        about="version 3",
        is_image=True,
    )


def review(
    screen: FakeScreen,
    source: FakeSource,
    items: Iterable[ReviewItem] = (),
    *,
    task: Task = Task.SINGLE_LABEL,
    class_names: tuple[str, ...] = CLASSES,
) -> Reviewer:
    reviewer = Reviewer(
        screen=screen,
        source=source,
        items=iter(items or [item("p1"), item("p2"), item("p3")]),
        task=task,
        class_names=class_names,
        protocol=ImageProtocol.BLOCKS,
        title="pets",
    )
    reviewer.run()
    return reviewer


def test_digits_label_space_confirms_and_x_rejects() -> None:
    source = FakeSource()
    review(FakeScreen(["1", " ", "x"]), source)
    assert source.sent == [("p1", "cat"), ("p2", Judgment.CONFIRMED), ("p3", Judgment.REJECTED)]


def test_skipping_and_quitting_send_nothing() -> None:
    source = FakeSource()
    reviewer = review(FakeScreen(["s", "right", "q"]), source)
    assert not source.sent
    assert not reviewer.answers


def test_keys_without_a_meaning_wait_for_another() -> None:
    source = FakeSource()
    review(FakeScreen(["4", "0", "z", "enter", "2", "q"]), source)
    assert source.sent == [("p1", "dog")]


def test_backspace_shows_the_input_before_and_its_answer_can_be_replaced() -> None:
    source, screen = FakeSource(), FakeScreen(["1", "backspace", "2", "q"])
    reviewer = review(screen, source)
    assert source.sent == [("p1", "cat"), ("p1", "dog")]
    assert reviewer.answers == {"p1": "dog"}
    assert "answered: cat" in screen.pages[2]


def test_backspace_at_the_first_input_stays_there() -> None:
    source = FakeSource()
    review(FakeScreen(["backspace", "left", "3", "q"]), source)
    assert source.sent == [("p1", "bird")]


def test_a_new_class_is_typed() -> None:
    source = FakeSource()
    review(FakeScreen(["c", "c", "q"], ["  ", "hamster"]), source)
    assert source.sent == [("p1", "hamster")]


def test_any_number_of_classes_are_marked_and_sent_together() -> None:
    source = FakeSource()
    items = [item("p1", ("dog",)), item("p2", ("dog",)), item("p3", ())]
    keys = ["1", "enter", "2", "enter", "c", "3", "enter"]
    review(FakeScreen(keys, ["hamster"]), source, items, task=Task.MULTI_LABEL)
    assert source.sent == [("p1", ("cat", "dog")), ("p2", ()), ("p3", ("bird", "hamster"))]


def test_numbers_are_typed() -> None:
    source, screen = FakeSource(), FakeScreen(["1", "enter", "enter", " ", "q"], ["many", "2.5"])
    review(screen, source, [item("p1", 2.0), item("p2", 3.0)], task=Task.REGRESSION, class_names=())
    assert source.sent == [("p1", 2.5), ("p2", Judgment.CONFIRMED)]
    assert any("'many' is not a number" in page for page in screen.pages)


def test_an_answer_that_fails_is_shown_and_can_be_repeated_or_skipped() -> None:
    source, screen = FakeSource(), FakeScreen(["1", "1", "q"])
    details = ErrorDetails(code=grpc.StatusCode.NOT_FOUND, message="The captured input has expired.")
    source.failures = [NotFound(details)]
    reviewer = review(screen, source)
    assert "The captured input has expired." in screen.pages[1]
    assert source.sent == [("p1", "cat")]
    assert len(reviewer.answers) == 1


def test_an_answer_that_cannot_be_sent_is_shown_and_does_not_end_the_review() -> None:
    source, screen = FakeSource(), FakeScreen(["1", "2", "q"])
    source.failures = [ValueError("The class is not valid Unicode.")]
    reviewer = review(screen, source)
    assert "The class is not valid Unicode." in screen.pages[1]
    assert reviewer.answers == {"p1": "dog"}


def test_the_page_names_the_reason_the_classes_and_their_probabilities() -> None:
    screen = FakeScreen(["q"])
    review(screen, FakeSource())
    page = screen.pages[0]
    for part in ("pets · input 1", "uncertain (margin 0.15) · version 3", "a text"):
        assert part in page
    assert re.search(r"1  cat +40\.0%\n 2\* dog +55\.0%\n 3  bird\n", page)


def test_inputs_and_names_cannot_control_the_terminal() -> None:
    screen = FakeScreen(["q"])
    source = FakeSource("\x1b]0;owned\x07 \x9b2J \u202e fine".encode())
    review(screen, source, class_names=("\x1b[31mcat", "dog"))
    page = screen.pages[0]
    assert "\x1b" not in page
    assert "\x9b" not in page
    assert "\u202e" not in page
    assert "fine" in page


def test_a_predicted_label_of_another_kind_cannot_control_the_terminal() -> None:
    screen = FakeScreen(["q"])
    review(screen, FakeSource(), items=[item(predicted="\x1b[2J")], task=Task.REGRESSION)
    assert "\x1b" not in screen.pages[0]


def test_long_texts_and_many_classes_leave_room_for_the_keys() -> None:
    screen = FakeScreen(["q"])
    names = tuple(f"class {number}" for number in range(50))
    review(screen, FakeSource(b"word " * 100_000), class_names=names)
    lines = screen.pages[0].splitlines()
    assert len(lines) < 40
    assert any("and 41 more" in line for line in lines)
    assert "…" in lines


def test_an_image_is_shown_in_colors() -> None:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(content, "PNG")
    screen = FakeScreen(["q"])
    review(screen, FakeSource(content.getvalue(), "image/png"))
    assert "\x1b[38;2;255;0;0m" in screen.pages[0]
    assert "▀" in screen.pages[0]


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff"])
def test_an_image_that_cannot_be_shown_is_named(content: bytes) -> None:
    screen = FakeScreen(["q"])
    review(screen, FakeSource(content, "image/jpeg"))
    assert "not an image that can be shown" in screen.pages[0]
