"""Methods that predict inputs and compute features."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeVar, Unpack, overload

from numpy.typing import NDArray

from headstart.async_methods.base import AsyncMethods
from headstart.calls import calls
from headstart.errors import PredictionError
from headstart.evidence import Abstention, make_evidence
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs, open_inputs
from headstart.prediction_settings import PredictArguments, keeps_errors, prediction_run, split_settings
from headstart.results import (
    Backbone,
    PredictedInput,
    Prediction,
    Predictions,
)
from headstart.transport.chunked_calls import EmbeddingRun, PredictionRun, predicted_inputs
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef, parse_version, version_ref

Many = TypeVar("Many", bound=Content | Sequence[float])


class AsyncPredictionMethods(AsyncMethods):
    """Predict inputs and compute features."""

    @overload
    async def predict(
        self,
        inputs: Content,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    async def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    async def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    async def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["raise", "return"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Any:
        """Predict one input or many; as `Client.predict`."""
        prediction, input_settings = split_settings(settings)
        target = version_ref(model, prediction.get("version"), prediction.get("alias"))
        run, limit = prediction_run([target], prediction, keep_errors=keeps_errors(errors))
        opened = await asyncio.to_thread(open_inputs, inputs, input_settings)
        await self._connection.send_all(run, opened.items, limit)
        return run.outcomes()[0] if opened.is_one else run.outcomes()

    async def predict_stream(
        self, inputs: Inputs | None = None, *, model: str, **settings: Unpack[PredictArguments]
    ) -> AsyncIterator[PredictedInput]:
        """Predict many inputs in batches; as `Client.predict_stream`."""
        prediction, input_settings = split_settings(settings)
        target = version_ref(model, prediction.get("version"), prediction.get("alias"))
        run, limit = prediction_run([target], prediction, keep_errors=True, is_bulk=True)
        opened = await asyncio.to_thread(open_inputs, inputs, input_settings)
        async for chunk, answer in self._connection.stream(run, opened.items, limit):
            for each in predicted_inputs(run, chunk, answer):
                yield each

    async def predict_many(
        self,
        inputs: Inputs,
        targets: Sequence[VersionRef | str],
        *,
        top_k: int | None = 5,
        return_features: bool = False,
        abstain: bool | float | Abstention | None = None,
        neighbors: int = 0,
        influence: int = 0,
        saliency: bool | str = False,
        routing_key: str = "",
        timeout: float | timedelta | None = None,
    ) -> Predictions:
        """Predict inputs with versions of several models; as `Client.predict_many`."""
        run = PredictionRun(
            [parse_version(target) for target in targets],
            top_k=top_k,
            return_features=return_features,
            evidence=make_evidence(abstain, neighbors, saliency, influence),
            routing_key=routing_key,
        )
        await self._connection.send_all(
            run, open_inputs(inputs).items, None if timeout is None else seconds(timeout)
        )
        return run.result()

    async def embed(
        self,
        inputs: Inputs,
        *,
        backbone: str | None = None,
        views: Sequence[str] = ("last",),
        timeout: float | timedelta | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the features of inputs; as `Client.embed`."""
        run = EmbeddingRun(backbone, views)
        opened = open_inputs(inputs)
        await self._connection.send_all(run, opened.items, None if timeout is None else seconds(timeout))
        features = run.result()
        return {view: array[0] for view, array in features.items()} if opened.is_one else features

    async def backbones(self) -> list[Backbone]:
        """Return the backbones of the server."""
        return [backbone async for backbone in self._connection.pages(calls.backbone_page)]
