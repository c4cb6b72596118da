"""How good a head is at each class by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart_server.learning.ranking import RankingCurve, ThresholdPoint
from headstart_server.learning.rows import Float32
from headstart_server.learning.targets import Targets
from headstart_server.learning.told import ClassPredictions


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """How good a head is at one class, taken against all others.

    Attributes:
        name: the class's name.
        support: number of its examples.
        precision: share of examples told to be of it that are; None if none was.
        recall: share of its examples that were told to be; None if there is none.
        f1: harmonic mean of both; None if it neither occurs nor is told.
        average_precision: area under the precision-recall curve; None without examples of it.
        roc_auc: area under the receiver operating characteristic; None without examples in and outside of it.
        thresholds: precision and recall if it were told from a probability on, for rising ones.
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
        """The metrics that `asdict` made.

        Raises:
            KeyError or TypeError: the fields are not those of a class.
        """
        points = tuple(ThresholdPoint(**point) for point in fields["thresholds"])
        return cls(**{**fields, "thresholds": points})


def class_metrics(
    targets: Targets, outputs: Float32, predictions: ClassPredictions
) -> tuple[ClassMetrics, ...]:
    """How good calibrated outputs [n, C] are at each class, in the order of the classes."""
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
