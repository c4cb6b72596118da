"""Selects the predictions to capture, according to the policy of their model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.capture.captured_input import CaptureReason
from headstart_server.capture.predicted import margins_of
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64, Ints
from headstart_server.lru import LruCache
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.evidence import TYPICALITY_FILE
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Selector
from headstart_server.prediction.head_predictions import agreement, predicted_classes
from headstart_server.prediction.prediction_monitor import shadow_of

#: Maximum versions whose class fractions stay in memory; the least recently used ones are evicted.
MAX_VERSIONS = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selection:
    """The selected ones of n predictions."""

    places: Ints  # their positions among the n, [m]
    reasons: Ints  # bits of `CaptureReason` of each, [m]
    margins: Float64  # the margin of each, NaN for regression, [m]
    typicality: Float32 | None  # the typicality of each, [m]; None if the version cannot compute it


class CaptureSelector:
    """Selects predictions. One thread uses it.

    Args:
        draw: returns the given number of random numbers from 0 to 1.
    """

    def __init__(self, registry: Registry, draw: Callable[[int], Float64]) -> None:
        self._registry = registry
        self._draw = draw
        self._fractions: LruCache[tuple[str, int], Float64] = LruCache(MAX_VERSIONS)

    def select(
        self,
        policy: CapturePolicy,
        version: ResidentVersion,
        outputs: Float32,
        views: Mapping[str, Float32],
        traffic: NDArray[np.bool_],
    ) -> Selection:
        """Select from n predictions of a version.

        Args:
            outputs: the outputs of its head, [n, C].
            views: the features of the backbone, [n, D of the view].
            traffic: whether each may be in the random sample, [n].

        Raises:
            VersionNotFound: the version was deleted meanwhile.
            ServiceUnavailable: files of the version cannot be read now.
        """
        margins = margins_of(version.head, outputs)
        reasons = np.zeros(len(outputs), np.int64)
        reasons |= CaptureReason.RANDOM * (traffic & (self._draw(len(outputs)) < policy.random_fraction))
        if policy.max_margin:
            # Comparisons with NaN are false, so regression has no low margin.
            reasons |= CaptureReason.LOW_MARGIN * (margins <= policy.max_margin)
        typicality = self._typicality(version, views) if policy.max_typicality else None
        if typicality is not None:
            reasons |= CaptureReason.LOW_TYPICALITY * (typicality <= policy.max_typicality)
        if policy.rare_class_fraction and version.head.task is not Task.REGRESSION:
            rare = self._class_fractions(version) < policy.rare_class_fraction
            found = (predicted_classes(version.head, outputs) & rare).any(axis=1)
            reasons |= CaptureReason.RARE_CLASS * found
        if policy.shadow_disagreement:
            reasons |= CaptureReason.SHADOW_DISAGREEMENT * self._disagrees(version, outputs, views)
        places = np.flatnonzero(reasons)
        if typicality is None and len(places):
            found_views = {name: rows[places] for name, rows in views.items()}
            typicality = self._typicality(version, found_views)
        elif typicality is not None:
            typicality = typicality[places]
        return Selection(
            places=places, reasons=reasons[places], margins=margins[places], typicality=typicality
        )

    def _typicality(self, version: ResidentVersion, views: Mapping[str, Float32]) -> Float32 | None:
        try:
            known = self._registry.files.with_evidence(version, (TYPICALITY_FILE,))
        except ArtifactDamaged:
            return None
        model = known.evidence.typicality_model
        if model is None or not set(model.views) <= set(views):
            return None
        return model.typicality(views)

    def _class_fractions(self, version: ResidentVersion) -> Float64:
        """Return the fraction of evaluated examples of each class, [C]; 1 if it is unknown."""
        key = (version.model, version.number)
        fractions = self._fractions.get(key)
        if fractions is None:
            fractions = self._read_fractions(version)
            self._fractions.add(key, fractions)
        return fractions

    def _read_fractions(self, version: ResidentVersion) -> Float64:
        names = version.head.class_names
        try:
            stored = self._registry.selected(Selector(model=version.model, number=version.number))
            evaluation, _ = self._registry.files.evaluation(stored)
        except ArtifactDamaged:
            evaluation = None
        if evaluation is None or not evaluation.metrics.example_count:
            return np.ones(len(names))
        supports = {each.name: each.support for each in evaluation.classes}
        count = evaluation.metrics.example_count
        return np.array([supports.get(name, 0) / count for name in names])

    def _disagrees(
        self, version: ResidentVersion, outputs: Float32, views: Mapping[str, Float32]
    ) -> NDArray[np.bool_]:
        nothing = np.zeros(len(outputs), np.bool_)
        try:
            shadow = shadow_of(self._registry, version)
        except ArtifactDamaged:
            return nothing
        if shadow is None or not set(shadow.head.views) <= set(views):
            return nothing
        agrees = agreement(version.head, outputs, shadow.head, shadow.head.outputs(views))
        return nothing if agrees is None else ~agrees
