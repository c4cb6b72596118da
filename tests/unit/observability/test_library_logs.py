"""Records of libraries in the structured log."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from headstart_server.observability.telemetry import LibraryLogs


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logger(clock: Clock) -> Iterator[logging.Logger]:
    structlog.reset_defaults()
    logger = logging.Logger("library")
    logger.addHandler(LibraryLogs(10.0, clock))
    yield logger
    structlog.reset_defaults()


def test_the_same_text_is_written_once_in_a_while_with_its_count(
    logger: logging.Logger, clock: Clock
) -> None:
    with capture_logs() as lines:
        for place in range(500):
            logger.warning("Invalid request %s", place)
        logger.error("another text")
        clock.seconds = 11.0
        logger.warning("Invalid request %s", "again")
    assert [line["message"] for line in lines] == [
        "Invalid request 0",
        "another text",
        "Invalid request again",
    ]
    assert lines[0]["log_level"] == "warning"
    assert lines[1]["logger"] == "library"
    assert [line.get("repeated") for line in lines] == [None, None, 499]


def test_records_are_known_up_to_a_number(logger: logging.Logger) -> None:
    with capture_logs() as lines:
        for place in range(2000):
            logger.warning(f"text {place}")
    assert len(lines) == 2000
    (handler,) = logger.handlers
    assert isinstance(handler, LibraryLogs)
    assert len(handler._known) <= 256


def test_a_record_whose_arguments_do_not_fit_and_an_error_are_written(logger: logging.Logger) -> None:
    with capture_logs() as lines:
        logger.warning("%d of %d", *["a"])
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")
    assert lines[0]["message"] == "%d of %d"
    assert lines[1]["exc_info"][0] is ValueError
