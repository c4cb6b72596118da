"""Writes the inputs of some batches to a new one: without erased inputs, or several small batches as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from sqlalchemy import Connection, Row, bindparam, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_rows import MODEL, STATE, begin, doom, give_up, publish, select_batch
from headstart_server.capture.captured_input import CapturedInput, captured_of
from headstart_server.database.capture_tables import READY, captured_inputs
from headstart_server.database.database import Database
from headstart_server.models import usage

log = structlog.get_logger(__name__)

# Built once: building a statement takes longer than executing it.
_MOVE = (
    update(captured_inputs)
    .where(captured_inputs.c.prediction_id == bindparam("id"))
    .values(batch=bindparam("new"), place=bindparam("row"), start=bindparam("offset"))
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What of some batches stays: the inputs, their contents and their features, in the same order."""

    inputs: Sequence[CapturedInput]
    contents: Sequence[bytes]
    features: BatchFeatures


class BatchRewriter:
    """Replaces batches by new ones."""

    def __init__(self, database: Database, files: BatchFiles) -> None:
        self._database = database
        self._files = files

    def replace(self, batches: Sequence[Row[Any]]) -> None:
        """Replace batches of one model with the same views by one; inputs that are erased meanwhile go."""
        while not self._replaced(batches):
            pass

    def doom(self, model: str, batches: Sequence[str]) -> None:
        """Let batches of a model and their inputs not count any more."""
        with self._database.write("captures.doom") as connection:
            connection.execute(MODEL, {"model": model}).all()
            doom(connection, batches)

    def _replaced(self, batches: Sequence[Row[Any]]) -> bool:
        """Return False if an input was erased or moved meanwhile."""
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
                    publish(connection, new, entries=entries, nbytes=nbytes, facts=facts, created=created)
                    usage.add_captures(connection, tenant_of(model), nbytes)
                    return True
        except BaseException:
            give_up(self._database, new)
            raise
        give_up(self._database, new)
        return False

    def _kept(self, batches: Sequence[Row[Any]]) -> _Kept | None:
        """Read what stays of batches; None if nothing does. What is damaged does not stay."""
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
