"""Predict and Embed: resolve versions, run backbones concurrently, apply heads."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeVar

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Content, Modality, Truncation
from headstart_server.backbones.preprocessing.occlusion import Pixels
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import Lane, RowFeatures, stacked
from headstart_server.embedding.tails import with_tail
from headstart_server.errors import HeadstartError, InvalidField, ModelNotFound
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.head import Head
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion, embedder_of
from headstart_server.models.rows import version_not_ready_error
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector
from headstart_server.prediction.influence import InfluenceModel, InfluenceSource
from headstart_server.prediction.input_faults import (
    PendingRow,
    aligned,
    cancel,
    fault,
    gathered,
    settled,
    wrong_modalities,
)
from headstart_server.prediction.predict_options import PredictOptions, SaliencyOptions
from headstart_server.prediction.prediction_capture import PredictionCapture
from headstart_server.prediction.recorder import PredictionRecorder
from headstart_server.prediction.saliency import Saliency, class_index, saliency_of
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

P = ParamSpec("P")
R = TypeVar("R")

#: Multiplications of a head above which it runs in a thread instead of holding up the event loop.
HEAD_WORK_IN_LOOP = 20_000_000
#: Multiplications of a head for one row above which it does not predict in the batches of the backbone.
HEAD_WORK_IN_BATCH = 2_000_000
#: Versions of one call: each is found and predicts in the event loop, where every other call waits meanwhile.
MAX_TARGETS = 100


class Predictor:
    """Serve Predict and Embed. Runs in an event loop and does not block it.

    Args:
        registry: finds versions.
        pool: has the backbones.
        is_under_way: returns whether a job for a model is queued or running.
        max_inputs: most inputs of one call.
        clock: seconds that only go up; the embedders'.
        recorder: records each Predict.
        load: runs in a thread what reads a version's files, which may wait for a bucket.
        influence: provides the training examples of versions; None if influence is not supported.
        capture: stores some inputs in the background; None for none.
    """

    def __init__(
        self,
        registry: Registry,
        pool: BackbonePool,
        is_under_way: Callable[[str], bool],
        *,
        max_inputs: int,
        clock: Callable[[], float] = time.monotonic,
        recorder: PredictionRecorder | None = None,
        load: Callable[..., Awaitable[ResidentVersion]] = asyncio.to_thread,
        influence: InfluenceSource | None = None,
        capture: PredictionCapture | None = None,
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._is_under_way = is_under_way
        self.max_inputs = max_inputs
        self._clock = clock
        self.recorder = recorder or PredictionRecorder()
        self._load = load
        self._influence = influence
        self._capture = capture
        # Each takes a core and the features of a whole dataset.
        self._influence_turn = asyncio.Semaphore(1)

    async def predict(
        self,
        selectors: Sequence[Selector],
        contents: Sequence[Content],
        options: PredictOptions,
        *,
        deadline: float | None,
        router: TrafficRouter | None = None,
    ) -> PredictResult:
        """Predict inputs with one or several versions; versions on one backbone share its pass.

        Args:
            selectors: the versions.
            contents: the inputs.
            options: the options of the call.
            deadline: when the caller stops waiting, on the clock; None for never.
            router: routes calls of an alias that splits its traffic; None takes the version it names.

        Raises:
            HeadstartError: names the version or input at fault.
        """
        started = self._clock()
        self.check_count(len(contents))
        if len(selectors) > MAX_TARGETS:
            raise InvalidField(
                f"Expected at most {MAX_TARGETS - 1} additional targets. Received: {len(selectors) - 1}.",
                field="targets",
            )
        options.check(len(contents))
        versions = await self._resolve(selectors, options.files, router)
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
            _check_saliency(options.saliency, versions[0], embedders[versions[0].backbone])
        influence = await self._influence_models(versions, embedders) if options.influence else []
        resolved, count = self._clock(), len(contents)
        rows, faults = await _features(embedders, contents, deadline, versions, skip=options.skip_invalid)
        if faults:
            contents = [content for place, content in enumerate(contents) if place not in faults]
        embedded = self._clock()
        predictions = await self._predict_versions(versions, embedders, rows, options, deadline)
        if options.saliency is not None:
            embedder = embedders[versions[0].backbone]
            maps = await self._saliency(options.saliency, versions[0], embedder, contents, deadline)
            predictions[0] = replace(predictions[0], saliency=maps)
        for place, model in enumerate(influence):
            views = stacked(rows[versions[place].backbone], versions[place].head.views)
            found = await self._in_turn(model.influences, views, options.influence)
            predictions[place] = replace(predictions[place], influences=found)
        truncation = {
            name: await _truncation(one, contents)
            for name, one in embedders.items()
            if one.info.modality is Modality.TEXT
        }
        if any(truncation.values()):
            predictions = [
                replace(each, truncation=truncation.get(each.version.backbone, {})) for each in predictions
            ]
        finished = self._clock()
        features = [
            BackboneFeatures(
                backbone=name,
                views=aligned(stacked(rows[name], embedder.info.views), faults, count),
            )
            for name, embedder in (embedders.items() if options.with_features else ())
        ]
        times = StageTimes(
            total=finished - started,
            resolve=resolved - started,
            head=finished - embedded,
            **_slowest([row for of_backbone in rows.values() for row in of_backbone]),
        )
        return PredictResult(predictions=predictions, features=features, times=times, faults=faults), rows

    async def _predict_versions(
        self,
        versions: Sequence[ResidentVersion],
        embedders: Mapping[str, Embedder],
        rows: Mapping[str, Sequence[RowFeatures]],
        options: PredictOptions,
        deadline: float | None,
    ) -> list[VersionPrediction]:
        if all(version.tail is None for version in versions):
            return [
                await self._predict_version(version, rows[version.backbone], options, ())
                for version in versions
            ]
        # All tails are under way before the first one is waited for.
        passes = [
            await self._begin_tail(version, embedders[version.backbone], rows[version.backbone], deadline)
            for version in versions
        ]
        return [
            await self._predict_version(version, rows[version.backbone], options, begun)
            for version, begun in zip(versions, passes, strict=True)
        ]

    async def find(
        self, selector: Selector, router: TrafficRouter | None = None, nbytes: Callable[[], int] | None = None
    ) -> tuple[ResidentVersion, BackboneInfo]:
        """Return the version that is meant, in memory, and the facts of its backbone, which is loaded.

        Args:
            selector: the version.
            router: as in `predict`.
            nbytes: gives the bytes that the call holds while it waits for the backbone; None does not wait.

        Raises:
            HeadstartError: names what cannot be found, or is not there yet.
        """
        (version,) = await self._resolve([selector], (), router)
        look = partial(embedder_of, version, self._pool)
        embedder = look() if nbytes is None else await self._pool.ready(look, nbytes)
        return version, embedder.info

    async def embed(
        self, backbone: str, contents: Sequence[Content], *, views: Sequence[str], deadline: float | None
    ) -> tuple[BackboneFeatures, StageTimes]:
        """Features of inputs.

        Args:
            backbone: its name; empty for the usual one for such content as the first input.
            contents: the inputs.
            views: the views to return; empty for `last`.
            deadline: when the caller stops waiting, on the clock; None for never.

        Raises:
            HeadstartError: names what cannot be found or read.
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
        computed, _ = await _features({info.name: embedder}, contents, deadline, (), skip=False)
        rows = computed[info.name]
        features = BackboneFeatures(
            backbone=info.name,
            views=stacked(rows, wanted),
            truncation=await _truncation(embedder, contents) if info.modality is Modality.TEXT else {},
        )
        return features, StageTimes(total=self._clock() - started, **_slowest(rows))

    def check_count(self, inputs: int) -> None:
        """Check the number of inputs of a call.

        Raises:
            InvalidField: there are none, or too many.
        """
        if not 1 <= inputs <= self.max_inputs:
            raise InvalidField(f"Expected 1 to {self.max_inputs} inputs. Received: {inputs}.", field="inputs")

    async def numbers(
        self, selectors: Sequence[Selector], router: TrafficRouter | None = None
    ) -> Sequence[int]:
        """Return the numbers of versions; those unknown in memory are looked up in the database together.

        Args:
            selectors: the versions.
            router: as in `predict`.

        Raises:
            ModelNotFound, AliasNotFound or VersionNotFound: there is no such version.
        """
        index = self._registry.index
        numbers = [index.known(selector, router) for selector in selectors]
        if None in numbers:
            await asyncio.to_thread(index.sync)
        return [
            index.resolve(selector, router) if number is None else number
            for selector, number in zip(selectors, numbers, strict=True)
        ]

    async def _resolve(
        self, selectors: Sequence[Selector], files: Collection[str], router: TrafficRouter | None
    ) -> Sequence[ResidentVersion]:
        """Return versions in memory with some of their files; missing ones are loaded concurrently."""
        if resident := self._resident(selectors, files, router):
            return resident
        try:
            numbers = await self.numbers(selectors, router)
        except ModelNotFound as error:
            model = error.metadata["model"]
            if await asyncio.to_thread(self._is_under_way, model):
                raise version_not_ready_error(model) from None
            raise
        keys = [(selector.model, number) for selector, number in zip(selectors, numbers, strict=True)]
        found = {key: self._registry.files.resident(*key) for key in dict.fromkeys(keys)}
        missing = [
            key
            for key, version in found.items()
            if version is None or not version.evidence.files.issuperset(files)
        ]
        if missing:
            loaded = await asyncio.gather(*(self._load_version(*key, files) for key in missing))
            found.update(zip(missing, loaded, strict=True))
        return [version for key in keys if (version := found[key]) is not None]

    def _resident(
        self, selectors: Sequence[Selector], files: Collection[str], router: TrafficRouter | None
    ) -> list[ResidentVersion]:
        """Return versions whose files are all in memory; none if anything is missing."""
        found = []
        for selector in selectors:
            number = self._registry.index.known(selector, router)
            version = None if number is None else self._registry.files.resident(selector.model, number)
            if version is None or (files and not version.evidence.files.issuperset(files)):
                return []
            found.append(version)
        return found

    async def _load_version(self, model: str, number: int, files: Collection[str]) -> ResidentVersion:
        version = self._registry.files.resident(model, number)
        if version is None:
            version = await self._load(self._registry.files.load, model, number)
        if not version.evidence.files.issuperset(files):
            version = await self._load(self._registry.files.with_evidence, version, files)
        return version

    async def _influence_models(
        self, versions: Sequence[ResidentVersion], embedders: Mapping[str, Embedder]
    ) -> list[InfluenceModel]:
        if self._influence is None:
            raise InvalidField("The server does not support influence. Omit it.", field="influence")
        return [
            await self._in_turn(self._influence.get, version, embedders[version.backbone])
            for version in versions
        ]

    async def _in_turn(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run work for influence in a thread, one piece at a time: waiting calls hold no thread."""
        async with self._influence_turn:
            return await asyncio.to_thread(work, *args, **kwargs)

    async def _begin_tail(
        self,
        version: ResidentVersion,
        embedder: Embedder,
        rows: Sequence[RowFeatures],
        deadline: float | None,
    ) -> Sequence["Future[RowFeatures]"]:
        """Begin the passes of a version's own tail over what its cut gave; none if it has no tail."""
        tail = version.tail
        if tail is None:
            return []
        if not tail.is_ready:
            await asyncio.to_thread(tail.prepare, embedder)
        activations = stacked(rows, [tail.cut])[tail.cut]
        return tail.start(embedder, activations, Lane.PREDICT, deadline=deadline)

    async def _predict_version(
        self,
        version: ResidentVersion,
        rows: Sequence[RowFeatures],
        options: PredictOptions,
        begun: Sequence["Future[RowFeatures]"],
    ) -> VersionPrediction:
        outputs = None if begun else _outputs(rows, version.head)
        if outputs is not None and not needs_evidence(version, options):
            return predict_version(version, {}, options, outputs=outputs)
        views = stacked(rows, required_views(version, options))
        own = with_tail(views, await gathered(begun)) if begun else None
        if len(rows) * work_per_input(version, options) > HEAD_WORK_IN_LOOP:
            return await asyncio.to_thread(predict_version, version, views, options, own)
        return predict_version(version, views, options, own)

    async def _saliency(
        self,
        options: SaliencyOptions,
        version: ResidentVersion,
        embedder: Embedder,
        contents: Sequence[Content],
        deadline: float | None,
    ) -> list[Saliency]:
        """One image after the other, some rows at a time: other calls get their turns in between."""

        async def outputs(images: Sequence[Pixels]) -> Float32:
            cuts = _cuts([version]).get(version.backbone, frozenset())
            rows = await gathered(embedder.predict_rows(images, deadline, cuts))
            begun = await self._begin_tail(version, embedder, rows, deadline)
            views = stacked(rows, version.head.views)
            return version.head.outputs(with_tail(views, await gathered(begun)) if begun else views)

        maps = []
        for content in contents:
            row = await asyncio.to_thread(embedder.decode, content)
            maps.append(await saliency_of(np.asarray(row, np.uint8), version.head, options, outputs))
        return maps


async def _features(
    embedders: Mapping[str, Embedder],
    contents: Sequence[Content],
    deadline: float | None,
    versions: Sequence[ResidentVersion],
    *,
    skip: bool,
) -> tuple[dict[str, list[RowFeatures]], dict[int, HeadstartError]]:
    """Run backbones concurrently; return the features of usable inputs by backbone, and the others' errors.

    Args:
        embedders: the backbones; all check the modality of the inputs before the first one runs.
        contents: the inputs.
        deadline: when the caller stops waiting, on the clock; None for never.
        versions: the versions that predict; their heads do so in the batches, where they have no tail.
        skip: whether invalid inputs are skipped, unless all are invalid.

    Raises:
        HeadstartError: names every invalid input.
    """
    faults: dict[int, HeadstartError] = {}
    for embedder in embedders.values():
        faults = wrong_modalities(embedder, contents, raises=not skip) | faults
    if len(faults) == len(contents):
        raise fault(faults, len(contents))
    places = [place for place in range(len(contents)) if place not in faults]
    usable = [contents[place] for place in places] if faults else contents
    begun = _begun(embedders, usable, deadline, versions)
    for at, error in (await settled([part for parts in begun.values() for part in parts])).items():
        faults.setdefault(places[at % len(places)], error)
    if faults and (not skip or len(faults) == len(contents)):
        raise fault(faults, len(contents))
    rows = {
        name: [
            part if isinstance(part, RowFeatures) else part.result()
            for place, part in zip(places, parts, strict=True)
            if place not in faults and not isinstance(part, HeadstartError)
        ]
        for name, parts in begun.items()
    }
    return rows, faults


def _begun(
    embedders: Mapping[str, Embedder],
    contents: Sequence[Content],
    deadline: float | None,
    versions: Sequence[ResidentVersion],
) -> dict[str, Sequence[PendingRow]]:
    """Begin the passes of all backbones; return the rows of each, finished or pending."""
    cuts = _cuts(versions)
    begun: dict[str, Sequence[PendingRow]] = {}
    try:
        for name, embedder in embedders.items():
            heads = [each.head for each in versions if each.backbone == name and _is_in_batch(each)]
            now = embedder.predict_now(contents, heads)
            begun[name] = (
                embedder.predict(contents, deadline, cuts.get(name, frozenset()), heads)
                if now is None
                else now
            )
    except BaseException:
        cancel(part for parts in begun.values() for part in parts)
        raise
    return begun


def _is_in_batch(version: ResidentVersion) -> bool:
    """Return whether a version's head predicts in the batches of its rows."""
    return version.tail is None and version.head.work <= HEAD_WORK_IN_BATCH


def _outputs(rows: Sequence[RowFeatures], head: Head) -> Float32 | None:
    """Return what a head gave in the batches of rows; None if rows came from the cache."""
    found = []
    for row in rows:
        if row.outputs is None or (outputs := row.outputs.get(head)) is None:
            return None
        found.append(outputs)
    return found[0][np.newaxis] if len(found) == 1 else np.stack(found)


def _nbytes(contents: Sequence[Content]) -> int:
    """Return the bytes of some inputs, about."""
    return sum(len(each) if isinstance(each, bytes | str) else each.nbytes for each in contents)


async def _truncation(embedder: Embedder, contents: Sequence[Content]) -> dict[int, Truncation]:
    """Of each input whose end the backbone did not see, how much it saw, by place."""

    def look() -> dict[int, Truncation]:
        seen = {place: embedder.truncation(content) for place, content in enumerate(contents)}
        return {place: cut for place, cut in seen.items() if cut is not None}

    return await asyncio.to_thread(look)


def _check_saliency(options: SaliencyOptions, version: ResidentVersion, embedder: Embedder) -> None:
    if embedder.info.modality is not Modality.IMAGE:
        raise InvalidField(
            f"Expected saliency for a backbone that takes images. Received: '{embedder.info.name}', which "
            f"takes {embedder.info.modality.value}s.",
            field="saliency",
        )
    class_index(version.head, options.class_name)


def _cuts(versions: Sequence[ResidentVersion]) -> dict[str, frozenset[str]]:
    """The cuts that versions' tails begin at, by backbone: one pass serves them all."""
    cuts: dict[str, frozenset[str]] = {}
    for version in versions:
        if version.tail is not None:
            cuts[version.backbone] = cuts.get(version.backbone, frozenset()) | {version.tail.cut}
    return cuts


def _slowest(rows: Sequence[RowFeatures]) -> dict[str, float]:
    return {
        "decode": max(row.decoded for row in rows),
        "queue": max(row.queued for row in rows),
        "backbone": max(row.ran for row in rows),
    }
