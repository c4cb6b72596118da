"""Ranks captured inputs with a version, from stored features and predictions at capture."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row

from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.captured_input import CaptureReason
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.capture.predicted import directions_of, margins_of, targets_of
from headstart_server.capture.ranking import Candidates, rank
from headstart_server.errors import ServiceUnavailable, StorageFull
from headstart_server.learning.analysis.typicality import TypicalityModel
from headstart_server.learning.examples.target import Target
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.lru import LruCache
from headstart_server.models.evidence import TYPICALITY_FILE
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.head_predictions import rows_without_numbers

#: Cosine from which two inputs are nearly equal, such as an image in two sizes, or rounded numbers.
NEAR, NEAR_TENSORS = 0.975, 0.9999
#: Maximum bytes of features in memory; the least recently used ones are evicted.
FEATURE_BYTES = 64 << 20


class ReviewRanking:
    """Ranks captured inputs."""

    def __init__(self, registry: Registry, captured: CapturedInputs, files: BatchFiles) -> None:
        self._registry = registry
        self._captured = captured
        self._files = files
        self._lock = threading.Lock()
        self._features: LruCache[str, BatchFeatures] = LruCache(FEATURE_BYTES, _nbytes)

    def ranked(self, model: str, number: int, found: Sequence[Row[Any]], limit: int) -> list[list[Any]]:
        """Return inputs by descending value, as JSON values.

        Args:
            found: rows of `CapturedInputs.pending`.
            limit: maximum number of inputs.

        Returns:
            For each input its prediction ID, reason, value, predicted label, margin and near-duplicates.

        Raises:
            VersionNotFound or ArtifactDamaged: the version was deleted, or its files are damaged.
        """
        if not found:
            return []
        version = self._registry.files.load(model, number)
        version = self._registry.files.with_evidence(version, (TYPICALITY_FILE,))
        margins = np.array([np.nan if row.margin is None else row.margin for row in found])
        typicality = np.array([np.nan if row.typicality is None else row.typicality for row in found])
        before = [Target.from_json(row.predicted) for row in found]
        predicted = list(before)
        directions = directions_of([row.direction for row in found])
        usable = self._usable(version, found)
        model_of = version.evidence.typicality_model
        rows, labeled = _space(model_of, directions, usable)
        for places, features in usable:
            outputs = version.head.outputs(features.views)
            margins[places] = margins_of(version.head, outputs)
            if model_of is not None:
                typicality[places] = model_of.typicality(features.views)
            unknown = rows_without_numbers(outputs)
            for at, (place, target) in enumerate(zip(places, targets_of(version.head, outputs), strict=True)):
                if at in unknown:
                    # The other version, which captured it, predicted a number.
                    margins[place] = np.nan
                else:
                    predicted[place] = target
        reasons = [CaptureReason(row.reasons) for row in found]
        candidates = Candidates(
            rows=rows,
            labeled=labeled,
            directions=directions,
            near=NEAR_TENSORS if found[0].kind == "tensor" else NEAR,
            margins=margins,
            typicality=typicality,
            disagrees=np.array(
                [
                    CaptureReason.SHADOW_DISAGREEMENT in reason or one.text != two.text
                    for reason, one, two in zip(reasons, before, predicted, strict=True)
                ]
            ),
            rare=np.array([CaptureReason.RARE_CLASS in reason for reason in reasons]),
        )
        return [
            [
                found[each.index].prediction_id,
                each.reason.value,
                each.value,
                predicted[each.index].to_json(),
                None if np.isnan(margins[each.index]) else float(margins[each.index]),
                each.near_duplicates,
            ]
            for each in rank(candidates, limit)
        ]

    def remove_gone(self) -> None:
        """Remove the features of batches that were removed, or that have an erased input, from memory."""
        with self._lock:
            names = list(self._features)
        unchanged = self._captured.unchanged(names)
        with self._lock:
            for name in names:
                if name not in unchanged:
                    self._features.pop(name)

    @property
    def nbytes(self) -> int:
        """Bytes of features in memory."""
        return self._features.size

    def _usable(
        self, version: ResidentVersion, found: Sequence[Row[Any]]
    ) -> list[tuple[list[int], BatchFeatures]]:
        """Return the stored features that the version can use, with the positions of their inputs."""
        needed = set(version.head.views)
        if (model_of := version.evidence.typicality_model) is not None:
            needed.update(model_of.views)
        by_batch: dict[str, list[int]] = {}
        for place, row in enumerate(found):
            facts = row.features
            same = facts.get("backbone_digest") == version.backbone_digest and version.tail is None
            if same and needed <= set(facts["views"]):
                by_batch.setdefault(row.batch, []).append(place)
        usable = []
        for batch, places in by_batch.items():
            features = self._read(batch, found[places[0]].features)
            if features is not None:
                usable.append((places, features.rows([int(found[place].place) for place in places])))
        return usable

    def _read(self, batch: str, facts: Any) -> BatchFeatures | None:
        with self._lock:
            features = self._features.get(batch)
        if features is None:
            try:
                features = self._files.features(batch, facts)
            except (ServiceUnavailable, StorageFull):
                # The list is ranked with the values in the database.
                return None
            if features is not None:
                with self._lock:
                    self._features.add(batch, features)
        return features


def _space(
    model: TypicalityModel | None,
    directions: Float32,
    usable: Sequence[tuple[Sequence[int], BatchFeatures]],
) -> tuple[Float32, Float32]:
    """Return the inputs and the training examples in one space, if all features can be used.

    Otherwise return the stored directions, and no training examples.
    """
    if model is None or sum(len(places) for places, _ in usable) < len(directions):
        return directions, directions[:0]
    labeled = model.references.exact().astype(np.float32)
    rows = np.empty((len(directions), labeled.shape[1]), np.float32)
    for places, features in usable:
        rows[places] = model.references.prepared(features.views)
    return rows, labeled


def _nbytes(features: BatchFeatures) -> int:
    return sum(view.nbytes for view in features.views.values())
