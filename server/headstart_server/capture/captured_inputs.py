"""Finds captured inputs and reads their contents, on any replica."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, func, select, update

from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.capture.batches import BatchFiles
from headstart_server.capture.captured_input import CapturedInput, captured_of, not_found_error
from headstart_server.database.capture_tables import (
    EXPIRES,
    IS_NOT_ERASED,
    READY,
    capture_batches,
    capture_gaps,
    captured_inputs,
)
from headstart_server.database.database import Database
from headstart_server.database.locks import batched
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.stored_example import decode
from headstart_server.models import rows
from headstart_server.storage.thumbnail_store import ThumbnailStore, check_side

#: Attempts to find a content, because it moves to another object when its neighbor is erased.
_TRIES = 3
#: Maximum predictions that one statement searches for.
_AT_ONCE = 500
#: The columns of a captured input.
COLUMNS = (*(column for column in captured_inputs.c if column.name != EXPIRES.name), EXPIRES)


def is_there(now: float) -> ColumnElement[bool]:
    """Return the condition that a row of `captured_inputs`, joined with its batch, counts."""
    return and_(capture_batches.c.state == READY, now < EXPIRES)


def select_captured(*columns: Any) -> Select[Any]:
    """Return a query of captured inputs, joined with their batches."""
    return select(*(columns or COLUMNS)).join(
        capture_batches, capture_batches.c.batch == captured_inputs.c.batch
    )


# Built once: building a statement takes longer than executing it.
_REVIEWED = (
    update(captured_inputs)
    .where(
        captured_inputs.c.model == bindparam("captured"),
        captured_inputs.c.prediction_id == bindparam("id"),
        IS_NOT_ERASED,
    )
    .values(reviewed=bindparam("now"))
)


def mark_reviewed(connection: Connection, model: str, prediction_id: str, now: float) -> bool:
    """Mark an input as reviewed, in the transaction of its feedback; return whether it is stored."""
    values = {"captured": model, "id": prediction_id, "now": now}
    return bool(connection.execute(_REVIEWED, values).rowcount)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureStatus:
    """The state of the capture of a model."""

    captured_count: int = 0  # number of captured inputs
    captured_bytes: int = 0  # bytes of captured inputs with their features
    pending_count: int = 0  # number of captured inputs without feedback
    queue_full: int = 0  # predictions that were not considered because a queue was full
    storage_failed: int = 0  # selected inputs that were lost because the storage was full or unavailable
    quota_full: int = 0  # selected inputs that were lost because the tenant's quota was full
    last_gap: float | None = None  # time when an input was last lost; None if none was


class CapturedInputs:
    """Finds and reads captured inputs. Models have their full names.

    Args:
        settle: stores what waits in this process.
        may_arrive: returns whether another process may still store the input of a prediction.
    """

    def __init__(
        self,
        database: Database,
        files: BatchFiles,
        settle: Callable[[], object] = lambda: None,
        may_arrive: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._database = database
        self._files = files
        self._settle = settle
        self.may_arrive = may_arrive

    def find(self, model: str, prediction_id: str) -> CapturedInput | None:
        """Return the captured input of a prediction; None if none is stored.

        An input is stored within a second after its prediction; on the replica that predicted it is found at
        any time.
        """
        found = self._find(model, prediction_id)
        if found is None:
            self._settle()
            found = self._find(model, prediction_id)
        return found

    def _find(self, model: str, prediction_id: str) -> CapturedInput | None:
        with self._database.read() as connection:
            now = self._database.now(connection)
            query = select_captured().where(
                captured_inputs.c.prediction_id == prediction_id,
                captured_inputs.c.model == model,
                is_there(now),
            )
            row = connection.execute(query).one_or_none()
        return None if row is None else captured_of(row)

    def content(self, captured: CapturedInput) -> bytes | None:
        """Return the stored bytes of a captured input; None if it was erased or has expired meanwhile."""
        found: CapturedInput | None = captured
        for _ in range(_TRIES):
            if found is None:
                return None
            content = self._files.content(found.batch, found.start, found.nbytes, found.digest)
            if content is not None:
                return content
            found = self.find(captured.model, captured.prediction_id)
        return None

    def input_of(self, captured: CapturedInput) -> Content | None:
        """Return the input as a backbone takes it; None and errors as for `content`."""
        content = self.content(captured)
        return None if content is None else decode(captured.kind, content)

    def require(self, model: str, prediction_id: str) -> CapturedInput:
        """Return a captured input; raise an error if the model is missing, or the input is not stored."""
        with self._database.read() as connection:
            rows.require_model(connection, model)
        captured = self.find(model, prediction_id)
        if captured is None:
            raise not_found_error(model, prediction_id)
        return captured

    def get(self, model: str, prediction_id: str) -> tuple[CapturedInput, bytes]:
        """Return a captured input and its stored bytes; raise as `require`."""
        captured = self.require(model, prediction_id)
        content = self.content(captured)
        if content is None:
            raise not_found_error(model, prediction_id)
        return captured, content

    def stored(self, prediction_ids: Collection[str]) -> set[str]:
        """Return the predictions whose inputs are stored."""
        found = set[str]()
        with self._database.read() as connection:
            now = self._database.now(connection)
            for part in batched(sorted(prediction_ids), _AT_ONCE):
                among = captured_inputs.c.prediction_id.in_(part)
                query = select_captured(captured_inputs.c.prediction_id).where(among, is_there(now))
                found.update(connection.execute(query).scalars())
        return found

    def unchanged(self, batches: Collection[str]) -> set[str]:
        """Return the batches that are still stored, without those that have an erased input."""
        found = set[str]()
        with self._database.read() as connection:
            for part in batched(sorted(batches), _AT_ONCE):
                query = select(capture_batches.c.batch).where(
                    capture_batches.c.batch.in_(part),
                    capture_batches.c.state == READY,
                    capture_batches.c.dirty == 0,
                )
                found.update(connection.execute(query).scalars())
        return found

    def pending(self, model: str, limit: int) -> Sequence[Row[Any]]:
        """Return rows of the newest inputs without feedback, each with the `features` of its batch."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            query = select_captured(*COLUMNS, capture_batches.c.features).where(
                captured_inputs.c.model == model, captured_inputs.c.reviewed.is_(None), is_there(now)
            )
            newest = query.order_by(captured_inputs.c.created.desc(), captured_inputs.c.prediction_id)
            return connection.execute(newest.limit(limit)).all()

    def status_of(self, model: str) -> CaptureStatus:
        """Return the state of the capture of a model; raise ModelNotFound if there is no such model."""
        with self._database.read() as connection:
            rows.require_model(connection, model)
        return self.status(model)

    def status(self, model: str) -> CaptureStatus:
        """Return the state of the capture of a model; all counts are 0 if it does not exist."""
        with self._database.read() as connection:
            now = self._database.now(connection)
            counts = select_captured(
                func.count().label("all"),
                func.count().filter(captured_inputs.c.reviewed.is_(None)).label("pending"),
            ).where(captured_inputs.c.model == model, is_there(now))
            counted = connection.execute(counts).one()
            size = select(func.sum(capture_batches.c.nbytes)).where(
                capture_batches.c.model == model, capture_batches.c.state == READY
            )
            nbytes = int(connection.execute(size).scalar() or 0)
            gap = connection.execute(select(capture_gaps).where(capture_gaps.c.model == model)).one_or_none()
        return CaptureStatus(
            captured_count=int(counted.all),
            captured_bytes=nbytes,
            pending_count=int(counted.pending),
            queue_full=0 if gap is None else int(gap.queue_full),
            storage_failed=0 if gap is None else int(gap.storage_failed),
            quota_full=0 if gap is None else int(gap.quota_full),
            last_gap=None if gap is None else gap.last,
        )


class CapturedThumbnails:
    """Thumbnails of captured images of at most `max_pixels`, each made once and stored within a limit."""

    def __init__(self, inputs: CapturedInputs, store: ThumbnailStore, *, max_pixels: int) -> None:
        self._inputs = inputs
        self._store = store
        self._max_pixels = max_pixels

    def get(self, model: str, prediction_id: str, side: int) -> tuple[CapturedInput, bytes]:
        """Return a captured input and its thumbnail.

        Args:
            side: the longer side of the thumbnail in pixels.

        Raises:
            CapturedInputNotFound: it was erased, or has expired.
            InvalidField: it is not an image, or the side is not one of those of thumbnails.
        """
        check_side(side)
        captured = self._inputs.require(model, prediction_id)
        made = self._store.get(prediction_id, side, lambda: self._made(captured, side))
        if self._inputs.find(model, prediction_id) is None:
            # It was erased while the thumbnail was made, and after the thumbnails were removed.
            self.remove([prediction_id])
            raise not_found_error(model, prediction_id)
        return captured, made

    def remove(self, prediction_ids: Collection[str]) -> None:
        """Remove the thumbnails of some captured inputs."""
        self._store.remove(prediction_ids)

    def remove_gone(self) -> int:
        """Remove the thumbnails of inputs that are no longer stored; return the number of these inputs."""
        images = self._store.images
        gone = images - self._inputs.stored(images)
        self.remove(gone)
        return len(gone)

    def _made(self, captured: CapturedInput, side: int) -> bytes:
        content = self._inputs.content(captured)
        if content is None:
            raise not_found_error(captured.model, captured.prediction_id)
        made = thumbnail(decode(captured.kind, content), max_pixels=self._max_pixels, side=side)
        if made is None:
            raise InvalidField(
                "The captured input is not an image, so it has no thumbnail. Read the content without "
                "thumbnail_size.",
                field="thumbnail_size",
            )
        return made
