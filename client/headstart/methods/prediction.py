"""Methods that predict inputs and compute features."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from numpy.typing import NDArray

from headstart.arguments import PredictArguments, keeps_errors, prediction_run, split_settings
from headstart.calls import calls
from headstart.errors import PredictionError
from headstart.evidence import Abstention, make_evidence
from headstart.inputs.inputs import Content
from headstart.inputs.prediction_inputs import Inputs, open_inputs
from headstart.methods.base import Methods
from headstart.results import Backbone, PredictedInput, Prediction, Predictions
from headstart.transport.chunked_calls import EmbeddingRun, PredictionRun, predicted_inputs
from headstart.transport.connection import Exchange
from headstart.transport.settings import seconds
from headstart.version_ref import VersionRef, parse_version, version_ref

Many = TypeVar("Many", bound=Content | Sequence[float])


class PredictionMethods(Methods):
    """Predict inputs and compute features."""

    @overload
    def predict(
        self,
        inputs: Content,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        inputs: list[Many] | tuple[Many, ...] | Iterator[Many] | None = None,
        *,
        model: str,
        errors: Literal["raise"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["return"],
        **settings: Unpack[PredictArguments],
    ) -> list[Prediction | PredictionError]: ...
    def predict(
        self,
        inputs: Inputs | None = None,
        *,
        model: str,
        errors: Literal["raise", "return"] = "raise",
        **settings: Unpack[PredictArguments],
    ) -> Any:
        """Predict one input or many. Many inputs are split into several calls.

        Args:
            inputs: one input: a path, the bytes of an image file, a Pillow image, an array, an open file, a
                `Text` or a `URL`. Or many, see `Inputs`: a list, a generator, an array or DataFrame of rows,
                a folder, a table. Or None, with ``texts``, ``images`` or ``features`` instead.
            model: the model; ``pets@3`` or ``pets@stable`` also names the version.
            errors: ``return`` returns a `PredictionError` for each unusable input and predicts the others;
                ``raise`` raises an error that names all unusable inputs.
            **settings: see `PredictSettings` (``version``, ``alias``, ``top_k``, ``abstain``, ``neighbors``,
                ``influence``, ``saliency``, ``routing_key``, ``timeout``), and `InputSettings`.

        Returns:
            The prediction of one input, or the list of predictions of many, in order. One version predicts
                all.

        Raises:
            NotFound: the model, version or alias does not exist.
            FailedPrecondition: the model has no version yet.
            InvalidArgument: an input is unusable; ``field_violations`` names it.
            ResourceExhausted: the queue of the backbone is full; try again after ``retry_after``.
            OSError: a file cannot be read.
            TypeError: an input has an unknown type, or a setting is unknown.
            ValueError: both a version and an alias are given, or an array does not fit the contract.
        """
        prediction, input_settings = split_settings(settings)
        target = version_ref(model, prediction.get("version"), prediction.get("alias"))
        run, limit = prediction_run([target], prediction, keep_errors=keeps_errors(errors))
        opened = partial(open_inputs, inputs, input_settings)
        return self._connection.send_all(
            run, opened, limit, lambda is_one: run.outcomes()[0] if is_one else run.outcomes()
        )

    def predict_stream(
        self, inputs: Inputs | None = None, *, model: str, **settings: Unpack[PredictArguments]
    ) -> Iterator[PredictedInput]:
        """Predict many inputs in batches, with bounded memory.

        Args:
            inputs: as in `predict`.
            model: as in `predict`.
            **settings: as in `predict`.

        Returns:
            Each input with its name and its prediction, or the `PredictionError` of an unusable input.

        Raises:
            HeadstartError, TypeError or ValueError: as in `predict`, except for single inputs.
        """
        return self._connection.iterate(_predicted(self._connection.exchange, inputs, model, settings))

    def predict_many(
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
        """Predict inputs with versions of several models; versions on one backbone share its forward pass.

        Args:
            inputs: as in `predict`.
            targets: a `VersionRef` for each version, or ``pets``, ``pets@3``, ``pets@stable``.
            top_k: maximum number of classes of each prediction. None: all.
            return_features: True also returns every view of the features of each backbone.
            abstain: as in `predict`.
            neighbors: as in `predict`.
            influence: as in `predict`.
            saliency: as in `predict`; for the first target only.
            routing_key: as in `predict`; the same for all targets.
            timeout: seconds for all inputs together. None: the client's timeout for each call.

        Returns:
            One result for each target, in order.

        Raises:
            HeadstartError: as in `predict`.
            ValueError: `targets` is empty.
        """
        run = PredictionRun(
            [parse_version(target) for target in targets],
            top_k=top_k,
            return_features=return_features,
            evidence=make_evidence(abstain, neighbors, saliency, influence),
            routing_key=routing_key,
        )
        limit = None if timeout is None else seconds(timeout)
        return self._connection.send_all(run, partial(open_inputs, inputs), limit, lambda _: run.result())

    def embed(
        self,
        inputs: Inputs,
        *,
        backbone: str | None = None,
        views: Sequence[str] = ("last",),
        timeout: float | timedelta | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the features of inputs.

        Args:
            inputs: as in `predict`.
            backbone: the name of the backbone. None: the server's default for the first input.
            views: the views to return, of `Backbone.views`.
            timeout: seconds for all inputs together. None: the client's timeout for each call.

        Returns:
            By view a float32 array: of shape [size of the view] for one input, [inputs, size of the view]
            for a list or tuple; an empty dict for an empty list.

        Raises:
            NotFound: the backbone does not exist.
            InvalidArgument: an input is unusable, or the backbone has no such view.
        """
        run = EmbeddingRun(backbone, views)
        limit = None if timeout is None else seconds(timeout)
        return self._connection.send_all(run, partial(open_inputs, inputs), limit, run.result)

    def backbones(self) -> list[Backbone]:
        """Return the backbones of the server."""
        return self._connection.all_pages(calls.backbone_page)


async def _predicted(
    exchange: Exchange, inputs: Inputs | None, model: str, settings: PredictArguments
) -> AsyncGenerator[PredictedInput, None]:
    prediction, input_settings = split_settings(settings)
    target = version_ref(model, prediction.get("version"), prediction.get("alias"))
    run, limit = prediction_run([target], prediction, keep_errors=True, is_bulk=True)
    opened = await exchange.wire.in_thread(open_inputs, inputs, input_settings)
    async for chunk, answer in exchange.stream(run, opened.items, limit):
        for each in predicted_inputs(run, chunk, answer):
            yield each
