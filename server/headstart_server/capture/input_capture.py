"""Captures inputs of Predict calls: IDs in the event loop, everything else in a background thread."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import structlog

from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing.content_files import media_type_of
from headstart_server.capture.batches import MAX_BATCH, MAX_BATCH_BYTES, BatchFeatures
from headstart_server.capture.capture_rows import Gaps, ModelGoneError, NewCapture
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_input import CapturedInput, CaptureReason
from headstart_server.capture.observations import Observation, Observations
from headstart_server.capture.predicted import classes_of, directions_bytes, targets_of
from headstart_server.capture.prediction_ids import PredictionIds
from headstart_server.capture.selection import CaptureSelector, Selection
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import (
    DatabaseUnavailable,
    ModelNotFound,
    ServiceUnavailable,
    StorageFull,
    TenantQuotaExceeded,
    VersionNotFound,
)
from headstart_server.learning.examples.stored_example import encode
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.model_index import ModelIndex
from headstart_server.models.resident import ResidentVersion
from headstart_server.observability.telemetry import Telemetry
from headstart_server.prediction.prediction_capture import is_traffic
from headstart_server.prediction.version_prediction import PredictResult

log = structlog.get_logger(__name__)

#: Seconds between two reads of the queue.
INTERVAL_SECONDS = 0.5
#: Maximum seconds to store the queued inputs when the server stops.
STOP_SECONDS = 5.0
#: Maximum inputs that one selection considers.
_GROUP = 2 * MAX_BATCH


@dataclass(kw_only=True, slots=True, eq=False)
class _Batch:
    """Inputs that are stored together."""

    backbone_digest: str
    inputs: list[NewCapture] = field(default_factory=list)
    views: list[Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]] = field(default_factory=list)
    nbytes: int = 0


class InputCapture:
    """Captures inputs according to the policies of models. Predict never waits for it.

    Args:
        interval: seconds between two reads of the queue.
    """

    def __init__(
        self,
        index: ModelIndex,
        selector: CaptureSelector,
        store: CaptureStore,
        telemetry: Telemetry,
        observations: Observations | None = None,
        *,
        ids: PredictionIds | None = None,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._index = index
        self._selector = selector
        self._store = store
        self._telemetry = telemetry
        self._observations = Observations() if observations is None else observations
        self._ids = PredictionIds() if ids is None else ids
        self._interval = interval
        self._gaps: dict[str, Counter[str]] = {}
        # Held by the thread that stores the queued inputs.
        self._storing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def observe(
        self, result: PredictResult, rows: Mapping[str, Sequence[RowFeatures]], contents: Sequence[Content]
    ) -> PredictResult:
        """Return a result with the IDs of its predictions; see `PredictionCapture`."""
        policies = [self._index.capture_policy(each.version.model) for each in result.predictions]
        if not any(policies):
            return result
        cuts = frozenset(
            each.version.tail.cut for each in result.predictions if each.version.tail is not None
        )
        usable = [content for place, content in enumerate(contents) if place not in result.faults]
        predictions = list(result.predictions)
        for place, policy in enumerate(policies):
            if policy is None:
                continue
            identified = predictions[place]._replace(prediction_ids=self._ids.create(len(usable)))
            predictions[place] = identified
            self._observations.put(
                Observation(
                    prediction=identified,
                    policy=policy,
                    contents=usable,
                    rows=rows[identified.version.backbone],
                    cuts=cuts,
                    is_traffic=is_traffic(),
                )
            )
        return result._replace(predictions=predictions)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Store the queued inputs, and end the thread."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def settle(self) -> None:
        """Store the queued inputs now, so that feedback finds a prediction that was just returned."""
        if len(self._observations):
            self._store_safely()
        else:
            # The thread may have taken the inputs from the queue, and still be writing them.
            with self._storing:
                pass

    def store_waiting(self) -> None:
        """Select from the queued predictions, and store the selected inputs and the gaps."""
        with self._storing:
            waiting, dropped = self._observations.take()
            for model, count in dropped.items():
                self._lost(model, "queue_full", count)
            try:
                for batch in self._batches(waiting):
                    self._write(batch)
            finally:
                self._note_gaps()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._store_safely()
        self._store_safely()

    def _store_safely(self) -> None:
        try:
            self.store_waiting()
        except Exception:
            log.exception("capture_failed")

    def _batches(self, waiting: Iterable[Observation]) -> Iterable[_Batch]:
        """Yield the selected inputs in parts of one model, backbone and set of views."""
        for group in _groups(waiting):
            left = sum(len(each.contents) for each in group)
            try:
                for batch in self._selected(group):
                    left -= len(batch.inputs)
                    yield batch
            except (ModelNotFound, VersionNotFound):
                # The version was deleted; so are its predictions.
                continue
            except Exception as error:  # noqa: BLE001 - logged there
                self._not_stored(group[0].prediction.version.model, left, error)

    def _selected(self, group: Sequence[Observation]) -> Iterable[_Batch]:
        version, policy = group[-1].prediction.version, group[-1].policy
        rows = [row for each in group for row in each.rows]
        names = _view_names(group)
        views = {name: np.stack([row.views[name] for row in rows]) for name in names}
        outputs = np.concatenate([each.prediction.outputs for each in group])
        traffic = np.repeat([each.is_traffic for each in group], [len(each.contents) for each in group])
        selection = self._selector.select(policy, version, outputs, views, traffic)
        if not len(selection.places):
            return
        chosen = {name: view[selection.places] for name, view in views.items()}
        directions = directions_bytes(chosen, names)
        captured = _captured_inputs(version, group, outputs, selection)
        batch = _Batch(backbone_digest=version.backbone_digest)
        for place, (one, content, age) in enumerate(captured):
            batch_count, batch_bytes = _batch_bounds(policy)
            row = {name: view[place] for name, view in chosen.items()}
            nbytes = len(content) + sum(view.nbytes for view in row.values())
            if nbytes > policy.max_bytes:
                self._lost(version.model, "quota_full", 1)
                continue
            if batch.inputs and (len(batch.inputs) >= batch_count or batch.nbytes + nbytes > batch_bytes):
                yield batch
                batch = _Batch(backbone_digest=version.backbone_digest)
            batch.inputs.append(
                NewCapture(captured=one, content=content, direction=directions[place], age=age)
            )
            batch.views.append(row)
            batch.nbytes += nbytes
        if batch.inputs:
            yield batch

    def _write(self, batch: _Batch) -> None:
        model, count = batch.inputs[0].captured.model, len(batch.inputs)
        features = BatchFeatures(
            backbone_digest=batch.backbone_digest,
            views={name: np.stack([row[name] for row in batch.views]) for name in batch.views[0]},
        )
        try:
            self._store.write(model, batch.inputs, features)
        except TenantQuotaExceeded:
            self._lost(model, "quota_full", count)
        except ModelGoneError:
            return
        except Exception as error:  # noqa: BLE001 - logged there
            self._not_stored(model, count, error)
        else:
            reasons = Counter(
                reason.name.lower()
                for each in batch.inputs
                for reason in each.captured.reasons
                if reason.name
            )
            self._telemetry.inputs_captured(reasons)

    def _not_stored(self, model: str, count: int, error: Exception) -> None:
        """Count and log inputs of one model; an unexpected error must not lose those of others."""
        if isinstance(error, ServiceUnavailable | StorageFull):
            log.warning("capture_write_failed", model=model, inputs=count, error=error.message)
        else:
            log.exception("capture_failed", model=model, inputs=count)
        self._lost(model, "storage_failed", count)

    def _lost(self, model: str, cause: str, count: int) -> None:
        self._telemetry.captures_dropped(cause, count)
        self._gaps.setdefault(model, Counter())[cause] += count

    def _note_gaps(self) -> None:
        """Add the counts of lost inputs to the database; keep them for later if that fails."""
        for model in list(self._gaps):
            try:
                self._store.note_gaps(model, Gaps(**self._gaps[model]))
            except (DatabaseUnavailable, StorageFull):
                return
            del self._gaps[model]


def _batch_bounds(policy: CapturePolicy) -> tuple[int, int]:
    """Return the maximum inputs and bytes of an object, so that evicting an object loses few inputs."""
    return min(MAX_BATCH, max(policy.max_count // 4, 1)), min(MAX_BATCH_BYTES, policy.max_bytes // 4)


def _groups(waiting: Iterable[Observation]) -> list[list[Observation]]:
    """Group predictions by version, with some hundred inputs per group."""
    groups: dict[tuple[str, int], list[list[Observation]]] = {}
    for each in waiting:
        version = each.prediction.version
        parts = groups.setdefault((version.model, version.number), [[]])
        if sum(len(one.contents) for one in parts[-1]) + len(each.contents) > _GROUP and parts[-1]:
            parts.append([])
        parts[-1].append(each)
    return [part for parts in groups.values() for part in parts]


def _view_names(group: Sequence[Observation]) -> list[str]:
    """Return the names of the backbone's views: those of all rows, without activations at cuts."""
    shared = set.intersection(*({*row.views} for each in group for row in each.rows))
    return sorted(shared.difference(*(each.cuts for each in group)))


def _captured_inputs(
    version: ResidentVersion, group: Sequence[Observation], outputs: np.ndarray, selection: Selection
) -> Iterable[tuple[CapturedInput, bytes, float]]:
    """Yield the selected inputs with their contents and their ages in seconds."""
    chosen = outputs[selection.places]
    targets, classes = targets_of(version.head, chosen), classes_of(version.head, chosen)
    flat = [
        (prediction_id, content, each.time)
        for each in group
        for prediction_id, content in zip(each.prediction.prediction_ids, each.contents, strict=True)
    ]
    now = time.monotonic()
    for place, index in enumerate(selection.places.tolist()):
        prediction_id, content, seen = flat[index]
        kind, stored = encode(content)
        margin = float(selection.margins[place])
        captured = CapturedInput(
            model=version.model,
            prediction_id=prediction_id,
            version=version.number,
            created=0.0,
            expires=0.0,
            predicted=targets[place],
            classes=classes[place],
            margin=None if np.isnan(margin) else margin,
            typicality=None if selection.typicality is None else float(selection.typicality[place]),
            reasons=CaptureReason(int(selection.reasons[place])),
            kind=kind,
            media_type=media_type_of(content),
            digest=sha256(stored).hexdigest(),
            nbytes=len(stored),
        )
        yield captured, stored, now - seen
