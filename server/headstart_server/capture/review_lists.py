"""Lists of captured inputs for review, in pages that stay the same while inputs come and go."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from headstart_server.capture.capture_eraser import LIST_SECONDS
from headstart_server.capture.captured_input import CapturedInput, captured_of
from headstart_server.capture.captured_inputs import CapturedInputs, is_there, select_captured
from headstart_server.capture.ranking import ReviewReason
from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.database.capture_tables import captured_inputs, review_lists
from headstart_server.database.database import Database
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.target import Target
from headstart_server.models import rows
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector

#: Maximum inputs of a list, inputs that it is selected from, and stored lists of a model.
MAX_LISTED, MAX_CANDIDATES, MAX_LISTS = 1000, 5000, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewEntry:
    """A captured input that is listed for review."""

    captured: CapturedInput
    reason: ReviewReason
    value: float  # value of a label for it, relative to the list, 0 to 1
    predicted: Target  # the label that the ranking version predicts
    margin: float | None  # margin of the ranking version; None if it has none
    near_duplicates: int  # number of nearly equal inputs, which are listed last


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewPage:
    """A page of a list."""

    entries: Sequence[ReviewEntry]  # the inputs, by descending value
    version: int  # number of the version that ranked
    following: tuple[str, int] | None  # name of the list and offset of the next page; None on the last page


@dataclass(frozen=True, slots=True)
class _List:
    """A stored ranking: its name, the version that ranked, and the inputs as JSON values."""

    list_id: str
    number: int
    entries: Sequence[Any]


class ReviewLists:
    """Ranks captured inputs, and stores each ranking, so that every replica can return its next pages."""

    def __init__(
        self, database: Database, registry: Registry, captured: CapturedInputs, ranking: ReviewRanking
    ) -> None:
        self._database = database
        self._registry = registry
        self._captured = captured
        self._ranking = ranking

    def page(self, selector: Selector, size: int, after: tuple[str, int] | None) -> ReviewPage:
        """Return up to `size` inputs of a model's list after the last page, or of a new list."""
        if after is not None:
            list_id, start = after
            return self._page(selector.model, self._read(selector.model, list_id), start, size)
        number = self._registry.selected(selector).number
        candidates = self._captured.pending(selector.model, MAX_CANDIDATES)
        listed = self._ranking.ranked(selector.model, number, candidates, MAX_LISTED)
        list_id = self._store(selector.model, number, listed) if len(listed) > size else ""
        return self._page(selector.model, _List(list_id, number, listed), 0, size)

    def _page(self, model: str, ranked: "_List", start: int, size: int) -> ReviewPage:
        """Return a page of the inputs that are still stored; later inputs fill the page."""
        entries: list[ReviewEntry] = []
        end = len(ranked.entries)
        while start < end and len(entries) < size:
            part = ranked.entries[start : start + size - len(entries)]
            start += len(part)
            entries += self._entries(model, part)
        following = (ranked.list_id, start) if start < end else None
        return ReviewPage(entries=entries, version=ranked.number, following=following)

    def _entries(self, model: str, part: Sequence[Any]) -> list[ReviewEntry]:
        ids = [each[0] for each in part]
        with self._database.read() as connection:
            now = self._database.now(connection)
            query = select_captured().where(
                captured_inputs.c.model == model,
                captured_inputs.c.prediction_id.in_(ids),
                captured_inputs.c.reviewed.is_(None),
                is_there(now),
            )
            found = {row.prediction_id: captured_of(row) for row in connection.execute(query)}
        return [
            ReviewEntry(
                captured=found[name],
                reason=ReviewReason(reason),
                value=value,
                predicted=Target.from_json(predicted),
                margin=margin,
                near_duplicates=near,
            )
            for name, reason, value, predicted, margin, near in part
            if name in found
        ]

    def _store(self, model: str, number: int, listed: Sequence[Any]) -> str:
        list_id = uuid.uuid4().hex
        kept = select(review_lists.c.list_id).where(review_lists.c.model == model)
        newest = kept.order_by(review_lists.c.created.desc()).limit(MAX_LISTS - 1)
        with self._database.write("captures.store_list") as connection:
            rows.require_model(connection, model)
            names = list(connection.execute(newest).scalars())
            connection.execute(
                delete(review_lists).where(
                    review_lists.c.model == model, review_lists.c.list_id.not_in(names)
                )
            )
            connection.execute(
                insert(review_lists).values(
                    list_id=list_id,
                    model=model,
                    number=number,
                    created=self._database.now(connection),
                    entries=list(listed),
                )
            )
        return list_id

    def _read(self, model: str, list_id: str) -> "_List":
        with self._database.read() as connection:
            rows.require_model(connection, model)
            now = self._database.now(connection)
            row = connection.execute(
                select(review_lists).where(
                    review_lists.c.list_id == list_id,
                    review_lists.c.model == model,
                    review_lists.c.created >= now - LIST_SECONDS,
                )
            ).one_or_none()
        if row is None:
            raise InvalidField(
                "The page_token is of a review list that no longer exists. Read the first page again.",
                field="page_token",
            )
        return _List(list_id, int(row.number), row.entries)
