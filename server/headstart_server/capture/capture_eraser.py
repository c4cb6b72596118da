"""Erases captured inputs, and removes expired inputs and leftover objects."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Connection, Row, bindparam, delete, func, select, tuple_, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.batches import MAX_BATCH, MAX_BATCH_BYTES, BatchFeatures, BatchFiles
from headstart_server.capture.capture_rows import MODEL, STATE, begin, doom, give_up, publish, select_batch
from headstart_server.capture.captured_input import CapturedInput, captured_of
from headstart_server.capture.captured_inputs import select_captured
from headstart_server.database.capture_tables import (
    DOOMED,
    EXPIRES,
    READY,
    WRITING,
    capture_batches,
    captured_inputs,
    review_lists,
)
from headstart_server.database.database import Database
from headstart_server.database.locks import batched
from headstart_server.models import usage
from headstart_server.storage.attempts import Attempts, Errors, raise_first

log = structlog.get_logger(__name__)

#: Seconds after which an unfinished batch is given up, and after which an object without a row is removed.
ABANDONED_SECONDS, ORPHAN_SECONDS = 600.0, 3600.0
#: Seconds for which the pages of a review list can be read.
LIST_SECONDS = 3600.0
#: Maximum batches that one statement finds, and number of batches after which one cleaning merges no more.
_AT_ONCE, _MERGED_AT_ONCE = 200, 1000
#: Maximum seconds between the first and last input of a merged batch, so that the first one is removed soon
#: after it expires, and seconds after which a batch is merged.
_MERGED_SECONDS, _SETTLED_SECONDS = 600.0, 60.0
# Built once: building a statement takes longer than executing it.
_MOVE = (
    update(captured_inputs)
    .where(captured_inputs.c.prediction_id == bindparam("id"))
    .values(batch=bindparam("new"), place=bindparam("row"), start=bindparam("offset"))
)

_DUE = (
    select(capture_batches.c.batch, capture_batches.c.model)
    .where(capture_batches.c.state == READY, capture_batches.c.due <= bindparam("now"))
    .order_by(capture_batches.c.due)
    .limit(_AT_ONCE)
)
_LAST_EXPIRES = select_captured(func.max(EXPIRES)).where(captured_inputs.c.batch == bindparam("of"))
_POSTPONE = (
    update(capture_batches).where(capture_batches.c.batch == bindparam("of")).values(due=bindparam("later"))
)
_TTL = select(func.min(capture_batches.c.ttl)).where(
    capture_batches.c.batch.in_(bindparam("batches", expanding=True))
)
_ERASE = (
    update(captured_inputs)
    .where(
        captured_inputs.c.model == bindparam("captured"), captured_inputs.c.prediction_id == bindparam("id")
    )
    .values(expires=0.0, digest="", predicted={}, classes=[], direction=b"")
    .returning(captured_inputs.c.batch)
)
_MODELS_WITH = select(captured_inputs.c.model).where(captured_inputs.c.prediction_id == bindparam("id"))
_DIRTY = select(capture_batches).where(capture_batches.c.dirty == 1, capture_batches.c.state == READY)
_DOOMED = select(capture_batches.c.batch).where(capture_batches.c.state == DOOMED)
_PLACE = (capture_batches.c.model, capture_batches.c.created, capture_batches.c.batch)
_SMALL = (
    select(capture_batches)
    .where(
        capture_batches.c.state == READY,
        capture_batches.c.dirty == 0,
        capture_batches.c.entries < MAX_BATCH // 2,
        capture_batches.c.nbytes < MAX_BATCH_BYTES // 2,
        capture_batches.c.created.between(bindparam("since"), bindparam("until")),
        tuple_(*_PLACE) > tuple_(bindparam("model"), bindparam("created"), bindparam("batch")),
    )
    .order_by(*_PLACE)
    .limit(_MERGED_AT_ONCE)
)
_ABANDON = (
    update(capture_batches)
    .where(capture_batches.c.state == WRITING, capture_batches.c.created < bindparam("long_ago"))
    .values(state=DOOMED)
)
_DELETE_LISTS = delete(review_lists).where(review_lists.c.created < bindparam("long_ago"))


@dataclass(frozen=True, slots=True)
class _Kept:
    """The remaining inputs of some batches, with their contents and features in the same order."""

    inputs: Sequence[CapturedInput]
    contents: Sequence[bytes]
    features: BatchFeatures


class BatchRewriter:
    """Replaces batches by new ones."""

    def __init__(self, database: Database, files: BatchFiles) -> None:
        self._database = database
        self._files = files

    def doom(self, model: str, batches: Sequence[str]) -> None:
        """Mark batches of a model for removal, with their inputs."""
        with self._locked(model) as connection:
            doom(connection, batches)

    def expire(self, model: str, batch: str, now: float) -> None:
        """Mark a batch for removal if all its inputs have expired; otherwise look again when they have."""
        with self._locked(model) as connection:
            last = connection.execute(_LAST_EXPIRES, {"of": batch}).scalar()
            if last is None or last <= now:
                doom(connection, [batch])
            else:
                connection.execute(_POSTPONE, {"of": batch, "later": last})

    def replace(self, batches: Sequence[Row[Any]]) -> bool:
        """Replace batches of one model with the same views by one.

        Return False, and change nothing, if an input was erased or moved meanwhile.
        """
        model, names = batches[0].model, [row.batch for row in batches]
        kept = self._kept(batches)
        if kept is None:
            self.doom(model, names)
            return True
        new = begin(self._database, model)
        try:
            nbytes, facts = self._files.write(new, kept.contents, kept.features)
            with self._database.write("captures.rewrite") as connection:
                if self._move(connection, model, names, kept, new):
                    created = max(row.created for row in batches)
                    entries = len(kept.inputs)
                    ttl = connection.execute(_TTL, {"batches": names}).scalar_one()
                    publish(
                        connection, new, entries=entries, nbytes=nbytes, facts=facts, created=created, ttl=ttl
                    )
                    usage.add_captures(connection, tenant_of(model), nbytes)
                    return True
        except BaseException:
            give_up(self._database, new)
            raise
        give_up(self._database, new)
        return False

    @contextmanager
    def _locked(self, model: str) -> Iterator[Connection]:
        with self._database.write("captures.doom") as connection:
            connection.execute(MODEL, {"model": model}).all()
            yield connection

    def _kept(self, batches: Sequence[Row[Any]]) -> _Kept | None:
        """Read the inputs that remain in batches, without damaged ones; None if there are none."""
        inputs: list[CapturedInput] = []
        contents: list[bytes] = []
        parts: list[BatchFeatures] = []
        for batch in batches:
            with self._database.read() as connection:
                found = [captured_of(row) for row in connection.execute(select_batch(batch.batch))]
            features = self._files.features(batch.batch, batch.features) if found else None
            stored = self._files.contents(batch.batch, found) if features is not None else {}
            if len(stored) < len(found):
                log.warning("captured_inputs_lost", model=batch.model, inputs=len(found) - len(stored))
            here = [each for each in found if each.prediction_id in stored]
            if features is None or not here:
                continue
            inputs += here
            contents += [stored[each.prediction_id] for each in here]
            parts.append(features.rows([each.place for each in here]))
        if not inputs:
            return None
        views = {name: np.concatenate([part.views[name] for part in parts]) for name in parts[0].views}
        features = BatchFeatures(backbone_digest=parts[0].backbone_digest, views=views)
        return _Kept(inputs, contents, features)

    def _move(self, connection: Connection, model: str, old: Sequence[str], kept: _Kept, new: str) -> bool:
        """Move rows to a new batch if nothing was erased or moved meanwhile, and doom the old batches."""
        connection.execute(MODEL, {"model": model}).all()
        there: set[str] = set()
        for batch in old:
            if connection.execute(STATE, {"batch": batch}).scalar() != READY:
                # Another replica replaced it, or the model was deleted.
                return False
            there.update(row.prediction_id for row in connection.execute(select_batch(batch)))
        if not there.issuperset(each.prediction_id for each in kept.inputs):
            return False
        start = 0
        for place, (each, content) in enumerate(zip(kept.inputs, kept.contents, strict=True)):
            values = {"id": each.prediction_id, "new": new, "row": place, "offset": start}
            connection.execute(_MOVE, values)
            start += len(content)
        doom(connection, old)
        return True


class CaptureEraser:
    """Erases captured inputs, and cleans up. Models have their full names.

    Args:
        on_erased: called with the ID of the prediction of each erased input.
    """

    def __init__(
        self, database: Database, files: BatchFiles, on_erased: Callable[[str], object] = lambda _: None
    ) -> None:
        self._database = database
        self._files = files
        self._on_erased = on_erased
        self._rewriter = BatchRewriter(database, files)
        self._rewrites, self._removals, self._copies = Attempts(), Attempts(), Attempts()

    def erase(self, model: str, prediction_id: str) -> bool:
        """Erase a captured input with its content and features; return whether it existed. Safe to repeat.

        After ServiceUnavailable or StorageFull it cannot be read; a repeated call or a cleaning removes its
        content.
        """
        with self._database.write("captures.erase") as connection:
            connection.execute(MODEL, {"model": model}).all()
            batch = connection.execute(_ERASE, {"captured": model, "id": prediction_id}).scalar()
            if batch is not None:
                connection.execute(
                    update(capture_batches).where(capture_batches.c.batch == batch).values(dirty=1)
                )
        errors = self._copies.run({prediction_id: prediction_id}, self._on_erased)
        # Also removes the leftovers of an earlier call that was killed.
        objects = {**self._rewrite_erased(model), **self._remove_doomed(model)[1]}
        if batch in objects:
            # Other batches of the model may be damaged.
            errors[batch] = objects[batch]
        raise_first(errors if batch is not None else errors | objects)
        return batch is not None

    def models_with(self, prediction_id: str) -> Sequence[str]:
        """Return the models that have a captured input of a prediction: at most one."""
        with self._database.read() as connection:
            return list(connection.execute(_MODELS_WITH, {"id": prediction_id}).scalars())

    def clean(self) -> int:
        """Delete expired inputs, finish interrupted removals, and return the number of removed objects.

        A batch that cannot be read or removed delays no other; the first error is raised at the end.
        """
        self._expire()
        errors = {**self._rewrite_erased(), **self._merge()}
        removed, unremoved = self._remove_doomed()
        raise_first({**errors, **unremoved})
        return removed

    def give_up_unfinished(self) -> None:
        """Give up all unfinished batches. No other process may be writing."""
        with self._database.write("captures.give_up") as connection:
            connection.execute(
                update(capture_batches).where(capture_batches.c.state == WRITING).values(state=DOOMED)
            )

    def remove_orphans(self, older_than: float = ORPHAN_SECONDS) -> int:
        """Remove the objects without a row, and return their number."""
        names = self._files.names(older_than)
        with self._database.read() as connection:
            known = {
                name
                for part in batched(names, _AT_ONCE)
                for name in connection.execute(
                    select(capture_batches.c.batch).where(capture_batches.c.batch.in_(part))
                ).scalars()
            }
        orphans = [name for name in names if name not in known]
        self._removals.run_all(orphans, self._files.remove)
        return len(orphans)

    def _rewrite_erased(self, model: str = "") -> Errors:
        """Rewrite objects without the inputs whose rows were erased; "" means all models.

        Return the errors by batch: one that cannot be read delays no other.
        """
        query = _DIRTY.where(capture_batches.c.model == model) if model else _DIRTY
        with self._database.read() as connection:
            dirty = connection.execute(query).all()
        return self._rewrites.run({row.batch: row for row in dirty}, self._rewrite)

    def _rewrite(self, batch: Row[Any]) -> None:
        while not self._rewriter.replace([batch]):
            pass

    def _remove_doomed(self, model: str = "") -> tuple[int, Errors]:
        """Remove the objects marked for removal, and return their number; "" means all models.

        Also return the errors by batch.
        """
        query = _DOOMED.where(capture_batches.c.model == model) if model else _DOOMED
        with self._database.read() as connection:
            doomed = list(connection.execute(query).scalars())
        errors = self._removals.run({batch: batch for batch in doomed}, self._remove)
        return len(doomed) - len(errors), errors

    def _remove(self, batch: str) -> None:
        self._files.remove(batch)
        with self._database.write("captures.remove") as connection:
            connection.execute(delete(captured_inputs).where(captured_inputs.c.batch == batch))
            connection.execute(delete(capture_batches).where(capture_batches.c.batch == batch))

    def _merge(self) -> Errors:
        """Merge small batches of about the same time, to keep the number of objects low.

        Return the errors by the first batch of a group.
        """
        groups: dict[str, Sequence[Row[Any]]] = {}
        count = 0
        for group in _mergeable(self._small()):
            groups[group[0].batch] = group
            count += len(group)
            if count >= _MERGED_AT_ONCE:
                break
        # Not repeated: a batch that was replaced or removed meanwhile does not come back.
        return self._rewrites.run(groups, self._rewriter.replace)

    def _small(self) -> Iterator[Row[Any]]:
        """Yield the small batches that may be merged, by model and time."""
        with self._database.read() as connection:
            now = self._database.now(connection)
        span = {"since": now - 2 * _MERGED_SECONDS, "until": now - _SETTLED_SECONDS}
        model, created, batch = "", 0.0, ""
        while True:
            after = {"model": model, "created": created, "batch": batch}
            with self._database.read() as connection:
                found = connection.execute(_SMALL, {**span, **after}).all()
            yield from found
            if len(found) < _MERGED_AT_ONCE:
                return
            model, created, batch = found[-1].model, found[-1].created, found[-1].batch

    def _expire(self) -> None:
        """Mark expired and unfinished batches for removal, and delete old review lists."""
        with self._database.read() as connection:
            now = self._database.now(connection)
        while due := self._due(now):
            for row in due:
                self._rewriter.expire(row.model, row.batch, now)
        with self._database.write("captures.expire") as connection:
            connection.execute(_ABANDON, {"long_ago": now - ABANDONED_SECONDS})
            connection.execute(_DELETE_LISTS, {"long_ago": now - LIST_SECONDS})

    def _due(self, now: float) -> Sequence[Row[Any]]:
        with self._database.read() as connection:
            return list(connection.execute(_DUE, {"now": now}))


def _mergeable(batches: Iterable[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    """Yield groups of batches that fit into one object: of the same model, backbone, time and lifetime."""
    group: list[Row[Any]] = []
    for row in batches:
        if group and not _fits(row, group):
            if len(group) > 1:
                yield group
            group = []
        group.append(row)
    if len(group) > 1:
        yield group


def _fits(row: Row[Any], group: Sequence[Row[Any]]) -> bool:
    first, facts = group[0], ("backbone_digest", "views")
    return (
        row.model == first.model
        and row.ttl == first.ttl
        and all(row.features.get(name) == first.features.get(name) for name in facts)
        and row.created - first.created <= _MERGED_SECONDS
        and sum(each.entries for each in group) + row.entries <= MAX_BATCH
        and sum(each.nbytes for each in group) + row.nbytes <= MAX_BATCH_BYTES
    )
