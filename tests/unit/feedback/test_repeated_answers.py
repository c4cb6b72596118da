"""Feedback about a content that was answered often is recorded as quickly as the first."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select

from feedback_bench import FeedbackBench
from headstart_server.database.feedback_tables import feedback as table
from headstart_server.models.feedback_rows import FeedbackState
from postgres import on_both_databases
from workbench import Workbench

MANY = 5000
_POSTGRES_ROWS = (
    "SELECT seq_tup_read + idx_tup_fetch + n_tup_ins + n_tup_upd "
    "FROM pg_stat_xact_user_tables WHERE relname = 'feedback'"
)


def work_of(call: Callable[[], object]) -> int:
    """Return the work of the database in a call: steps of SQLite, or rows of feedback for PostgreSQL."""
    total = 0
    counted = set()

    def step() -> None:
        nonlocal total
        total += 1

    def before(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        nonlocal total
        if connection.dialect.name == "sqlite":
            # Until the end of the call: SQLite looks for rows while they are read.
            cursor.connection.set_progress_handler(step, 1)
            counted.add(cursor.connection)
        elif statement in ("BEGIN", "COMMIT"):
            # The counts of the session include earlier transactions that it has not reported yet.
            with cursor.connection.cursor() as counting:
                count = counting.execute(_POSTGRES_ROWS).fetchone()
                total += (count[0] if count else 0) * (1 if statement == "COMMIT" else -1)

    event.listen(Engine, "before_cursor_execute", before)
    try:
        call()
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        for connection in counted:
            connection.set_progress_handler(None, 0)
    return total


def add_superseded(bench: Workbench, count: int) -> None:
    """Copy a row of superseded feedback."""
    with bench.driver.publisher.database.write() as connection:
        query = select(table).where(table.c.state == FeedbackState.SUPERSEDED.value).limit(1)
        row = dict(connection.execute(query).one()._mapping)
        copies = [
            {**row, "feedback_id": f"copy-{number}", "number": number} for number in range(100, 100 + count)
        ]
        connection.execute(insert(table), copies)


@on_both_databases
@pytest.mark.parametrize("is_prediction", [False, True], ids=["input", "prediction"])
def test_the_work_of_an_answer_does_not_grow_with_the_answers_before(
    bench: Workbench, is_prediction: bool
) -> None:
    feedback = FeedbackBench(bench)
    feedback.capture("p1", "cat", 50, predicted="dog")

    def answer(label: str) -> None:
        if is_prediction:
            feedback.answer("p1", label)
        else:
            feedback.label("cat", 50, label)

    for label in ("cat", "dog"):
        answer(label)
    first = work_of(lambda: answer("cat"))
    add_superseded(bench, MANY)
    assert 0 < work_of(lambda: answer("dog")) < first + 100
    states = [each.state for each in feedback.store.list("pets", before=None, limit=10 * MANY)]
    assert states.count(FeedbackState.PENDING) == 1
