"""Metrics of a head for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.learning.examples.targets import Targets
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.class_predictions import ClassPredictions
from headstart_server.learning.metrics.ranking import RankingCurve, ThresholdPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """Metrics of one class against all others.

    Attributes:
        precision: None if the class is never predicted.
        recall: None if the class has no examples.
        f1: None if the class neither occurs nor is predicted.
        average_precision: area under the precision-recall curve; None without examples of the class.
        roc_auc: area under the ROC curve; None without examples both in and outside of the class.
        thresholds: precision and recall at rising thresholds.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    roc_auc: float | None
    thresholds: tuple[ThresholdPoint, ...]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ClassMetrics":
        """Return the metrics that `asdict` wrote."""
        points = tuple(ThresholdPoint(**point) for point in fields["thresholds"])
        return cls(**{**fields, "thresholds": points})


def class_metrics(
    targets: Targets, outputs: Float32, predictions: ClassPredictions
) -> tuple[ClassMetrics, ...]:
    """Return the metrics of each class of calibrated outputs [n, C], in the order of the classes."""
    counts = predictions.counts()
    shares = np.stack([counts.precision, counts.recall, counts.f1], axis=1)
    found = []
    for place, name in enumerate(targets.class_names):
        precision, recall, f1 = (None if np.isnan(share) else float(share) for share in shares[place])
        ranking = RankingCurve.from_scores(
            outputs[:, place], predictions.actual[:, place], predictions.weights
        )
        found.append(
            ClassMetrics(
                name=name,
                support=int(counts.support[place]),
                precision=precision,
                recall=recall,
                f1=f1,
                average_precision=ranking.average_precision,
                roc_auc=ranking.roc_auc,
                thresholds=ranking.points(),
            )
        )
    return tuple(found)
