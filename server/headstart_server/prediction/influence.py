"""Influence of training examples on predictions, as Predict returns it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import InvalidField
from headstart_server.learning.analysis.neighbors import NeighborExample
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.resident import ResidentVersion

Views = Mapping[str, Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleInfluence:
    """Change of a prediction if one training example is left out."""

    example: NeighborExample  # the example
    score_change: float  # change of the score of the most probable class, or of the number
    probability_change: float | None  # change of its probability; None for regression


class InfluenceModel(Protocol):
    """The training examples of one version."""

    def influences(self, views: Views, count: int) -> Sequence[Sequence[ExampleInfluence]]:
        """Return the most influential examples for each of n inputs, by descending absolute change."""


class InfluenceSource(Protocol):
    """Provides the influence models of versions."""

    def get(self, version: ResidentVersion, embedder: Embedder) -> InfluenceModel:
        """Return the model of a version; it may read the features of all its training examples."""


class InfluenceTurn:
    """Influence for the calls of one event loop: one call at a time, because it takes a core.

    Args:
        source: provides the models; None if influence is not supported.
        run: runs work in a thread, one piece at a time, and none whose call has ended before its turn.
    """

    def __init__(
        self, source: InfluenceSource | None = None, run: Callable[..., Awaitable[Any]] = asyncio.to_thread
    ) -> None:
        self._source = source
        self._run = run

    async def models(
        self, versions: Sequence[ResidentVersion], embedders: Mapping[str, Embedder]
    ) -> Sequence[InfluenceModel]:
        """Return the models of versions.

        Raise InvalidField if influence is not supported.
        """
        if self._source is None:
            raise InvalidField("The server does not support influence. Omit it.", field="influence")
        return [
            await self._run(self._source.get, version, embedders[version.backbone]) for version in versions
        ]

    async def influences(
        self, model: InfluenceModel, views: Views, count: int
    ) -> Sequence[Sequence[ExampleInfluence]]:
        """Return the most influential examples for each of n inputs; see `InfluenceModel.influences`."""
        found: Sequence[Sequence[ExampleInfluence]] = await self._run(model.influences, views, count)
        return found
