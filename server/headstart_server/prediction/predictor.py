"""Predict and Embed: resolve versions, run backbones concurrently, apply heads."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Content, content_nbytes
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures, stacked
from headstart_server.embedding.tails import with_tail
from headstart_server.errors import HeadstartError, InvalidField
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.models.resident import ResidentVersion, embedder_of
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector
from headstart_server.prediction.head_predictions import overflow_faults
from headstart_server.prediction.influence import InfluenceTurn
from headstart_server.prediction.input_faults import aligned, gathered
from headstart_server.prediction.input_features import (
    HEAD_WORK_IN_LOOP,
    InputFeatures,
    begin_tail,
    compute_features,
    truncations,
    without,
)
from headstart_server.prediction.predict_options import PredictOptions, check_listed, check_outputs
from headstart_server.prediction.prediction_capture import PredictionCapture
from headstart_server.prediction.recorder import PredictionRecorder
from headstart_server.prediction.saliency import check_saliency, saliency_maps
from headstart_server.prediction.statistics import StageTimes
from headstart_server.prediction.version_prediction import (
    BackboneFeatures,
    PredictResult,
    VersionPrediction,
    needs_evidence,
    predict_version,
    required_views,
    work_per_input,
)
from headstart_server.prediction.version_resolver import VersionResolver

#: Maximum versions of one call: each is resolved in the event loop, which blocks other calls.
MAX_TARGETS = 100


class Predictor:
    """Serve Predict and Embed. Runs in an event loop and does not block it.

    Args:
        versions: resolves the versions of calls.
        pool: has the backbones.
        max_inputs: maximum inputs of one call.
        max_input_bytes: maximum bytes of one input.
        clock: monotonic seconds, the same clock as the embedders'.
        recorder: records each Predict.
        influence: computes the influence of training examples; None if it is not supported.
        capture: stores some inputs in the background; None for none.
    """

    def __init__(
        self,
        versions: VersionResolver,
        pool: BackbonePool,
        *,
        max_inputs: int,
        max_input_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        recorder: PredictionRecorder | None = None,
        influence: InfluenceTurn | None = None,
        capture: PredictionCapture | None = None,
    ) -> None:
        self.versions = versions
        self._pool = pool
        self.max_inputs = max_inputs
        self._max_input_bytes = max_input_bytes
        self._clock = clock
        self.recorder = recorder or PredictionRecorder()
        self._influence = influence or InfluenceTurn()
        self._capture = capture

    async def predict(
        self,
        selectors: Sequence[Selector],
        contents: Sequence[Content],
        options: PredictOptions,
        *,
        deadline: float | None,
        router: TrafficRouter | None = None,
    ) -> PredictResult:
        """Predict inputs with one or several versions; versions on the same backbone share its pass.

        Args:
            selectors: the versions.
            contents: the inputs.
            options: the options of the call.
            deadline: when the caller stops waiting, on the clock; None for never.
            router: chooses a version of an alias with a traffic split; None takes the version it names.

        Raises:
            HeadstartError: a version or input is invalid; the error names it.
        """
        started = self._clock()
        self.check_count(len(contents))
        if len(selectors) > MAX_TARGETS:
            raise InvalidField(
                f"Expected at most {MAX_TARGETS - 1} additional targets. Received: {len(selectors) - 1}.",
                field="targets",
            )
        options.check(len(contents))
        versions = await self.versions.resolve(selectors, options.files, router)
        _check_size(versions, len(contents), options)
        try:
            result, rows = await self._predict(versions, contents, options, deadline, started)
        except (Exception, asyncio.CancelledError):
            self.recorder.failed(versions, self._clock() - started)
            raise
        self.recorder.answered(result, rows, len(contents))
        return result if self._capture is None else self._capture.observe(result, rows, contents)

    async def _predict(
        self,
        versions: Sequence[ResidentVersion],
        contents: Sequence[Content],
        options: PredictOptions,
        deadline: float | None,
        started: float,
    ) -> tuple[PredictResult, Mapping[str, Sequence[RowFeatures]]]:
        embedders = await self._pool.ready(
            lambda: {version.backbone: embedder_of(version, self._pool) for version in versions},
            partial(_nbytes, contents),
        )
        if options.saliency is not None:
            check_saliency(options.saliency, versions[0], embedders[versions[0].backbone])
        influence = await self._influence.models(versions, embedders) if options.influence else []
        resolved = self._clock()
        features = await compute_features(
            embedders,
            contents,
            deadline,
            versions,
            max_input_bytes=self._max_input_bytes,
            skip_invalid=options.skip_invalid,
        )
        embedded = self._clock()
        features, predictions = await _finite(versions, embedders, features, options, deadline)
        rows = features.rows
        if options.saliency is not None:
            embedder = embedders[versions[0].backbone]
            maps = await saliency_maps(options.saliency, versions[0], embedder, features.contents, deadline)
            predictions[0] = predictions[0]._replace(saliency=maps)
        for place, model in enumerate(influence):
            views = stacked(rows[versions[place].backbone], versions[place].head.views)
            found = await self._influence.influences(model, views, options.influence)
            predictions[place] = predictions[place]._replace(influences=found)
        truncation = {name: truncations(one, rows[name]) for name, one in embedders.items()}
        if any(truncation.values()):
            predictions = [
                each._replace(truncation=truncation[each.version.backbone]) for each in predictions
            ]
        finished = self._clock()
        returned = [
            BackboneFeatures(
                backbone=name,
                views=aligned(stacked(rows[name], embedder.info.views), features.faults, len(contents)),
            )
            for name, embedder in (embedders.items() if options.with_features else ())
        ]
        times = StageTimes(
            total=finished - started,
            resolve=resolved - started,
            head=finished - embedded,
            **_slowest([row for of_backbone in rows.values() for row in of_backbone]),
        )
        result = PredictResult(
            predictions=predictions, features=returned, times=times, faults=features.faults
        )
        return result, rows

    async def find(
        self, selector: Selector, router: TrafficRouter | None = None, nbytes: Callable[[], int] | None = None
    ) -> tuple[ResidentVersion, BackboneInfo]:
        """Load a version and its backbone; return the version and the backbone's metadata.

        Args:
            selector: the version.
            router: as in `predict`.
            nbytes: returns the bytes that the call holds while it waits for the backbone; None does not wait.

        Raises:
            HeadstartError: the version or backbone is missing or not ready yet.
        """
        (version,) = await self.versions.resolve([selector], (), router)
        look = partial(embedder_of, version, self._pool)
        embedder = look() if nbytes is None else await self._pool.ready(look, nbytes)
        return version, embedder.info

    async def embed(
        self, backbone: str, contents: Sequence[Content], *, views: Sequence[str], deadline: float | None
    ) -> tuple[BackboneFeatures, StageTimes]:
        """Return the features of inputs.

        Args:
            backbone: its name; empty for the default backbone for the first input's content.
            contents: the inputs.
            views: the views to return; empty for `last`.
            deadline: when the caller stops waiting, on the clock; None for never.

        Raises:
            HeadstartError: the backbone is missing, or an input is invalid; the error names it.
        """
        started = self._clock()
        self.check_count(len(contents))
        nbytes = partial(_nbytes, contents)
        look = (
            partial(self._pool.prepared_metadata, backbone)
            if backbone
            else partial(self._pool.prepared_default_for, contents[0])
        )
        info = await self._pool.ready(look, nbytes)
        wanted = list(views) or [LAST]
        for place, view in enumerate(wanted):
            if view not in info.views:
                raise InvalidField(
                    f"Expected views of backbone '{info.name}': {', '.join(sorted(info.views))}. "
                    f"Received: {view!r}.",
                    field=f"views[{place}]",
                )
        embedder = await self._pool.ready(partial(self._pool.get, info.name), nbytes)
        found = await compute_features(
            {info.name: embedder}, contents, deadline, max_input_bytes=self._max_input_bytes
        )
        rows = found.rows[info.name]
        features = BackboneFeatures(
            backbone=info.name,
            views=stacked(rows, wanted),
            truncation=truncations(embedder, rows),
        )
        return features, StageTimes(total=self._clock() - started, **_slowest(rows))

    def check_count(self, inputs: int) -> None:
        """Check the number of inputs of a call.

        Raise InvalidField if there are none, or too many.
        """
        if not 1 <= inputs <= self.max_inputs:
            raise InvalidField(f"Expected 1 to {self.max_inputs} inputs. Received: {inputs}.", field="inputs")


async def _finite(
    versions: Sequence[ResidentVersion],
    embedders: Mapping[str, Embedder],
    features: InputFeatures,
    options: PredictOptions,
    deadline: float | None,
) -> tuple[InputFeatures, list[VersionPrediction]]:
    """Predict; an input for which a version predicts NaN or infinity is invalid."""
    while True:
        predictions = await _predictions(versions, embedders, features.rows, options, deadline)
        faults: dict[int, HeadstartError] = {}
        for each in predictions:
            faults |= overflow_faults(each.version, each.outputs)
        if not faults:
            return features, predictions
        features = without(features, faults, skip_invalid=options.skip_invalid)


async def _predictions(
    versions: Sequence[ResidentVersion],
    embedders: Mapping[str, Embedder],
    rows: Mapping[str, Sequence[RowFeatures]],
    options: PredictOptions,
    deadline: float | None,
) -> list[VersionPrediction]:
    first = next(iter(rows.values()))
    work = len(first) * sum(work_per_input(version, options) for version in versions)
    # Start all tails before waiting for the first one.
    passes = [
        await begin_tail(version, embedders[version.backbone], rows[version.backbone], deadline)
        for version in versions
    ]
    return [
        await _prediction(version, rows[version.backbone], options, begun, in_thread=work > HEAD_WORK_IN_LOOP)
        for version, begun in zip(versions, passes, strict=True)
    ]


async def _prediction(
    version: ResidentVersion,
    rows: Sequence[RowFeatures],
    options: PredictOptions,
    begun: Sequence["Future[RowFeatures]"],
    *,
    in_thread: bool,
) -> VersionPrediction:
    outputs = None if begun else _outputs(rows, version.head)
    views: Mapping[str, Float32] = {}
    own = None
    if outputs is None or needs_evidence(version, options):
        views = stacked(rows, required_views(version, options))
        own = with_tail(views, await gathered(begun)) if begun else None
    if in_thread:
        return await asyncio.to_thread(predict_version, version, views, options, own, outputs)
    return predict_version(version, views, options, own, outputs)


def _check_size(versions: Sequence[ResidentVersion], inputs: int, options: PredictOptions) -> None:
    """Check the sizes that the inputs, targets and options of a call have together."""
    classes = [len(version.head.class_names) for version in versions]
    if len(versions) > 1:
        check_outputs(inputs * sum(max(1, count) for count in classes))
    # Without a top_k the classes are not listed but returned as arrays.
    per_input = sum(min(options.top_k, count) for count in classes)
    per_input += len(versions) * (options.neighbors + options.influence)
    check_listed(inputs * per_input, inputs)


def _outputs(rows: Sequence[RowFeatures], head: Head) -> Float32 | None:
    """Return the head's outputs from the batches of rows; None if rows came from the cache."""
    found = []
    for row in rows:
        if row.outputs is None or (outputs := row.outputs.get(head)) is None:
            return None
        found.append(outputs)
    return found[0][np.newaxis] if len(found) == 1 else np.stack(found)


def _nbytes(contents: Sequence[Content]) -> int:
    """Return the bytes of inputs."""
    return sum(map(content_nbytes, contents))


def _slowest(rows: Sequence[RowFeatures]) -> dict[str, float]:
    decode = queue = backbone = 0.0
    for row in rows:
        decode, queue, backbone = max(decode, row.decoded), max(queue, row.queued), max(backbone, row.ran)
    return {"decode": decode, "queue": queue, "backbone": backbone}
