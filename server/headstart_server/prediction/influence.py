"""Influence of training examples on predictions, as Predict returns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headstart_server.embedding.embedder import Embedder
from headstart_server.learning.analysis.neighbors import NeighborExample
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.resident import ResidentVersion

Views = Mapping[str, Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleInfluence:
    """Change of a prediction if one training example is left out.

    Attributes:
        example: the example.
        score_change: change of the score of the most probable class, or of the number.
        probability_change: change of its probability; None for regression.
    """

    example: NeighborExample
    score_change: float
    probability_change: float | None


class InfluenceModel(Protocol):
    """The training examples of one version."""

    def influences(self, views: Views, count: int) -> Sequence[Sequence[ExampleInfluence]]:
        """Return the most influential examples for each of n inputs, by falling absolute change."""


class InfluenceSource(Protocol):
    """Provides the influence models of versions."""

    def get(self, version: ResidentVersion, embedder: Embedder) -> InfluenceModel:
        """Return the model of a version; it may read the features of all its training examples."""
