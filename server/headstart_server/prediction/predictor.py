"""From inputs and the versions that are asked, to calibrated answers and the time of each stage."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Content, Modality, Truncation
from headstart_server.backbones.preprocessing.occlusion import Pixels
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import Lane, RowFeatures, stacked
from headstart_server.embedding.tails import with_tail
from headstart_server.errors import (
    AliasNotFound,
    HeadstartError,
    InvalidField,
    ModelNotFound,
    VersionNotFound,
)
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion, embedder_of
from headstart_server.models.rows import version_not_ready_error
from headstart_server.models.traffic import Traffic
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector
from headstart_server.prediction.input_faults import aligned, fault, gathered, of_wrong_kind, settled
from headstart_server.prediction.predict_options import PredictOptions, SaliencyOptions
from headstart_server.prediction.prediction_monitor import PredictionMonitor
from headstart_server.prediction.saliency import Saliency, class_index, saliency_of
from headstart_server.prediction.statistics import StageTimes, Statistics
from headstart_server.prediction.version_prediction import VersionPrediction, answer, views_of, work_of

#: Multiplications of a head above which it runs in a thread instead of holding up the event loop.
HEAD_WORK_IN_LOOP = 20_000_000
#: Versions of one call: each is found and answers in the event loop, where every other call waits meanwhile.
MAX_TARGETS = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BackboneFeatures:
    """What one backbone gave for all inputs of a call.

    Attributes:
        backbone: its name.
        views: by view, [n, D].
        truncation: of each input whose end it did not see, how much it saw, by place.
    """

    backbone: str
    views: Mapping[str, Float32]
    truncation: Mapping[int, Truncation] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PredictResult:
    """The answers of a call.

    Attributes:
        predictions: one for each selector, in order.
        features: one for each backbone that was run; none unless asked for.
        times: where the time went.
        faults: why inputs were skipped, by place; the answers are about the others.
    """

    predictions: Sequence[VersionPrediction]
    features: Sequence[BackboneFeatures]
    times: StageTimes
    faults: Mapping[int, HeadstartError] = field(default_factory=dict)


class Predictor:
    """Answers Predict and Embed. Runs in an event loop; nothing in it blocks.

    Args:
        registry: finds versions.
        pool: gives features.
        is_under_way: tells whether a job for a model is queued or running.
        max_inputs: most inputs of one call.
        clock: seconds that only go up; the embedders'.
        onlooker: looks at some of the answers afterwards; None for nobody.
        statistics: counts calls by version.
        traffic: counts the traffic of versions for all replicas; None counts nothing.
        load: runs in a thread what reads a version's files, which may wait for a bucket.
    """

    def __init__(
        self,
        registry: Registry,
        pool: BackbonePool,
        is_under_way: Callable[[str], bool],
        *,
        max_inputs: int,
        clock: Callable[[], float] = time.monotonic,
        onlooker: PredictionMonitor | None = None,
        statistics: Statistics | None = None,
        traffic: Traffic | None = None,
        load: Callable[..., Awaitable[ResidentVersion]] = asyncio.to_thread,
    ) -> None:
        self._load = load
        self.statistics = statistics or Statistics()
        self._traffic = traffic
        self._onlooker = onlooker
        self._registry = registry
        self._pool = pool
        self._is_under_way = is_under_way
        self.max_inputs = max_inputs
        self._clock = clock

    async def predict(
        self,
        selectors: Sequence[Selector],
        contents: Sequence[Content],
        asked: PredictOptions,
        *,
        deadline: float | None,
        router: TrafficRouter | None = None,
    ) -> PredictResult:
        """VersionPrediction inputs by one or several versions; versions on one backbone share its pass.

        Args:
            selectors: the versions to ask.
            contents: the inputs.
            asked: what is asked for beside them.
            deadline: when the caller stops waiting, on the clock; None for never.
            router: chooses where an alias gives others a share of its calls; None for the versions they name.

        Raises:
            HeadstartError: names what cannot be found, read or answered.
        """
        started = self._clock()
        self.check_count(len(contents))
        if len(selectors) > MAX_TARGETS:
            raise InvalidField(
                f"Expected at most {MAX_TARGETS - 1} additional targets. Received: {len(selectors) - 1}.",
                field="targets",
            )
        asked.check(len(contents))
        versions = [await self._resolve(selector, asked.files, router) for selector in selectors]
        # Each once, whatever it is asked for twice.
        counted = dict.fromkeys((version.model, version.number) for version in versions)
        try:
            predicted = await self._predicted(versions, contents, asked, deadline, started)
        except (Exception, asyncio.CancelledError):
            for model, number in counted:
                self.statistics.failed(model, number, self._clock() - started)
                if self._traffic is not None:
                    self._traffic.failed(model, number)
            raise
        for model, number in counted:
            self.statistics.answered(model, number, len(contents), predicted.times)
        if self._traffic is not None:
            _count(self._traffic, predicted, len(contents))
        return predicted

    async def _predicted(
        self,
        versions: Sequence[ResidentVersion],
        contents: Sequence[Content],
        asked: PredictOptions,
        deadline: float | None,
        started: float,
    ) -> PredictResult:
        embedders = await self._pool.ready(
            lambda: {version.backbone: embedder_of(version, self._pool) for version in versions},
            partial(_nbytes, contents),
        )
        if asked.saliency is not None:
            _check_saliency(asked.saliency, versions[0], embedders[versions[0].backbone])
        resolved = self._clock()
        count = len(contents)
        rows, faults = await self._usable_rows(
            embedders.values(), contents, deadline, _cuts(versions), skip=asked.skip_invalid
        )
        if faults:
            contents = [content for place, content in enumerate(contents) if place not in faults]
        embedded = self._clock()
        # All tails are under way before the first one is waited for.
        passes = [
            await self._begin_tail(version, embedders[version.backbone], rows[version.backbone], deadline)
            for version in versions
        ]
        answers = [
            await self._answer(version, rows[version.backbone], asked, begun)
            for version, begun in zip(versions, passes, strict=True)
        ]
        if asked.saliency is not None:
            embedder = embedders[versions[0].backbone]
            maps = await self._saliency(asked.saliency, versions[0], embedder, contents, deadline)
            answers[0] = replace(answers[0], saliency=maps)
        truncation = {name: await _truncation(one, contents) for name, one in embedders.items()}
        answers = [replace(each, truncation=truncation[each.version.backbone]) for each in answers]
        finished = self._clock()
        times = _times([row for of_backbone in rows.values() for row in of_backbone])
        if self._onlooker is not None:
            self._onlooker.notice(answers[0], rows[answers[0].version.backbone])
        wanted = rows if asked.with_features else {}
        return PredictResult(
            predictions=answers,
            features=[
                BackboneFeatures(
                    backbone=name,
                    views=aligned(stacked(rows[name], embedders[name].info.views), faults, count),
                )
                for name in wanted
            ],
            faults=faults,
            times=StageTimes(
                total=finished - started,
                resolve=resolved - started,
                decode=times.decode,
                queue=times.queue,
                backbone=times.backbone,
                head=finished - embedded,
            ),
        )

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
        version = await self._resolve(selector, (), router)
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
        rows = (await self._rows([embedder], contents, deadline, {}))[info.name]
        times = _times(rows)
        features = BackboneFeatures(
            backbone=info.name,
            views=stacked(rows, wanted),
            truncation=await _truncation(embedder, contents),
        )
        return features, StageTimes(
            total=self._clock() - started, decode=times.decode, queue=times.queue, backbone=times.backbone
        )

    def check_count(self, inputs: int) -> None:
        """Check the number of inputs of a call.

        Raises:
            InvalidField: there are none, or too many.
        """
        if not 1 <= inputs <= self.max_inputs:
            raise InvalidField(f"Expected 1 to {self.max_inputs} inputs. Received: {inputs}.", field="inputs")

    async def _resolve(
        self, selector: Selector, files: Collection[str], router: TrafficRouter | None
    ) -> ResidentVersion:
        try:
            number = await self.number(selector, router)
        except ModelNotFound:
            if await asyncio.to_thread(self._is_under_way, selector.model):
                raise version_not_ready_error(selector.model) from None
            raise
        version = self._registry.resident(selector.model, number)
        if version is None:
            version = await self._load(self._registry.load, selector.model, number)
        if not version.evidence.files.issuperset(files):
            version = await self._load(self._registry.with_evidence, version, files)
        return version

    async def number(self, selector: Selector, router: TrafficRouter | None = None) -> int:
        """The number of the version that is meant.

        Args:
            selector: the version.
            router: as in `predict`.

        Raises:
            ModelNotFound, AliasNotFound or VersionNotFound: there is none.
        """
        try:
            return self._registry.resolve(selector, router)
        except (ModelNotFound, AliasNotFound, VersionNotFound):
            return await asyncio.to_thread(self._registry.find, selector, router)

    async def _rows(
        self,
        embedders: Iterable[Embedder],
        contents: Sequence[Content],
        deadline: float | None,
        cuts: Mapping[str, frozenset[str]],
    ) -> dict[str, list[RowFeatures]]:
        rows, _ = await self._usable_rows(embedders, contents, deadline, cuts, skip=False)
        return rows

    async def _usable_rows(
        self,
        embedders: Iterable[Embedder],
        contents: Sequence[Content],
        deadline: float | None,
        cuts: Mapping[str, frozenset[str]],
        *,
        skip: bool,
    ) -> tuple[dict[str, list[RowFeatures]], dict[int, HeadstartError]]:
        """Return the features of the inputs that can be used, by backbone, and why the others cannot.

        Args:
            embedders: give the features.
            contents: the inputs.
            deadline: when the caller stops waiting, on the clock; None for never.
            cuts: the cuts whose activations are wanted, by backbone.
            skip: whether inputs that cannot be used are skipped, unless none can be used.

        Raises:
            HeadstartError: names every input that cannot be used.
        """
        faults: dict[int, HeadstartError] = {}
        outcomes: dict[str, dict[int, RowFeatures]] = {}
        for embedder in embedders:
            faults |= of_wrong_kind(embedder, contents, raises=not skip)
            places = [place for place in range(len(contents)) if place not in faults]
            wanted = cuts.get(embedder.info.name, frozenset())
            futures = embedder.predict([contents[place] for place in places], deadline, wanted)
            invalid = await settled(futures)
            faults |= {places[at]: error for at, error in invalid.items()}
            if faults and (not skip or len(faults) == len(contents)):
                raise fault(faults, len(contents))
            outcomes[embedder.info.name] = {
                place: futures[at].result() for at, place in enumerate(places) if at not in invalid
            }
        return {
            name: [row for place, row in found.items() if place not in faults]
            for name, found in outcomes.items()
        }, faults

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

    async def _answer(
        self,
        version: ResidentVersion,
        rows: Sequence[RowFeatures],
        asked: PredictOptions,
        begun: Sequence["Future[RowFeatures]"],
    ) -> VersionPrediction:
        views = stacked(rows, views_of(version, asked))
        own = with_tail(views, await gathered(begun)) if begun else None
        if len(rows) * work_of(version, asked) > HEAD_WORK_IN_LOOP:
            return await asyncio.to_thread(answer, version, views, asked, own)
        return answer(version, views, asked, own)

    async def _saliency(
        self,
        asked: SaliencyOptions,
        version: ResidentVersion,
        embedder: Embedder,
        contents: Sequence[Content],
        deadline: float | None,
    ) -> list[Saliency]:
        """One picture after the other, some rows at a time: other calls get their turns in between."""

        async def outputs(pictures: Sequence[Pixels]) -> Float32:
            cuts = _cuts([version]).get(version.backbone, frozenset())
            rows = await gathered(embedder.predict_rows(pictures, deadline, cuts))
            begun = await self._begin_tail(version, embedder, rows, deadline)
            views = stacked(rows, version.head.views)
            return version.head.outputs(with_tail(views, await gathered(begun)) if begun else views)

        maps = []
        for content in contents:
            row = await asyncio.to_thread(embedder.decode, content)
            maps.append(await saliency_of(np.asarray(row, np.uint8), version.head, asked, outputs))
        return maps


def _nbytes(contents: Sequence[Content]) -> int:
    """Return the bytes of some inputs, about."""
    return sum(len(each) if isinstance(each, bytes | str) else each.nbytes for each in contents)


async def _truncation(embedder: Embedder, contents: Sequence[Content]) -> dict[int, Truncation]:
    """Of each input whose end the backbone did not see, how much it saw, by place."""
    if embedder.info.modality is not Modality.TEXT:
        return {}

    def look() -> dict[int, Truncation]:
        seen = {place: embedder.truncation(content) for place, content in enumerate(contents)}
        return {place: cut for place, cut in seen.items() if cut is not None}

    return await asyncio.to_thread(look)


def _check_saliency(asked: SaliencyOptions, version: ResidentVersion, embedder: Embedder) -> None:
    if embedder.info.modality is not Modality.IMAGE:
        raise InvalidField(
            f"Expected saliency for a backbone that takes pictures. Received: '{embedder.info.name}', which "
            f"takes {embedder.info.modality.value}s.",
            field="saliency",
        )
    class_index(version.head, asked.class_name)


def _cuts(versions: Sequence[ResidentVersion]) -> dict[str, frozenset[str]]:
    """The cuts that versions' tails begin at, by backbone: one pass serves them all."""
    cuts: dict[str, frozenset[str]] = {}
    for version in versions:
        if version.tail is not None:
            cuts[version.backbone] = cuts.get(version.backbone, frozenset()) | {version.tail.cut}
    return cuts


def _count(traffic: Traffic, predicted: PredictResult, inputs: int) -> None:
    """Count an answered call for each version, once."""
    # Also of a version that was asked for twice.
    answers = {(each.version.model, each.version.number): each for each in predicted.predictions}
    for (model, number), given in answers.items():
        reasons = () if given.abstention_result is None else given.abstention_result.reasons
        unknowns = sum(reason is not None for reason in reasons)
        traffic.answered(model, number, inputs=inputs, unknowns=unknowns, seconds=predicted.times.total)


def _times(rows: Sequence[RowFeatures]) -> StageTimes:
    return StageTimes(
        decode=max(row.decoded for row in rows),
        queue=max(row.queued for row in rows),
        backbone=max(row.ran for row in rows),
    )
