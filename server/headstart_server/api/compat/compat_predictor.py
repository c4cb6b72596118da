"""How services of other protocols ask: the version first, then its answer, by the one way there is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.canary_call import CanaryCall, deadline_of
from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import BackboneMismatch, HeadstartError, InvalidField
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector, Version
from headstart_server.prediction.predict_options import PredictOptions
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.statistics import Statistics
from headstart_server.prediction.version_prediction import VersionPrediction


def unavailable_reason(pool: BackbonePool, version: Version) -> HeadstartError | None:
    """Why a version cannot answer now; None if it can. Calling this starts the loading of its backbone."""
    try:
        digest = pool.get(version.manifest.backbone).digest
    except HeadstartError as error:
        return error
    return _mismatch(version, digest)


def unready_message(pool: BackbonePool, version: Version) -> str:
    """The same in words, empty if it can; asking loads nothing."""
    name = version.manifest.backbone
    embedder = pool.loaded(name)
    if embedder is None:
        return pool.problem(name) or f"Backbone '{name}' is not loaded; the first call loads it."
    mismatch = _mismatch(version, embedder.digest)
    return mismatch.message if mismatch else ""


def _mismatch(version: Version, digest: str) -> BackboneMismatch | None:
    if digest == version.manifest.backbone_digest:
        return None
    return BackboneMismatch(
        f"It was fitted on another digest of backbone '{version.manifest.backbone}' than this server has."
    )


#: All classes: the requested outputs select some of them.
_ALL = PredictOptions(top_k=0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResolvedVersion:
    """The version that a call asks."""

    version: ResidentVersion
    backbone: BackboneInfo


class CompatPredictor:
    """Finds versions and lets them answer."""

    def __init__(self, predictor: Predictor, clock: Callable[[], float] = time.monotonic) -> None:
        self._predictor = predictor
        self._clock = clock

    @property
    def max_inputs(self) -> int:
        """Most inputs of one call."""
        return self._predictor.max_inputs

    @property
    def statistics(self) -> Statistics:
        """The statistics of each version, over all protocols."""
        return self._predictor.recorder.statistics

    async def number(self, selector: Selector) -> int:
        """The number of the version that is meant, without loading it."""
        (number,) = await self._predictor.versions.numbers([selector])
        return number

    def call(self, context: Context, key: str = "") -> CanaryCall:
        """A call that predicts, which chooses where an alias gives others a share of its calls."""
        return CanaryCall(self._predictor.recorder, context, key, field="parameters")

    async def find(
        self, selector: Selector, router: TrafficRouter | None = None, nbytes: Callable[[], int] | None = None
    ) -> ResolvedVersion:
        """The version that is meant; what inputs mean depends on its backbone.

        Args:
            router: of the call; None for the version that an alias names, whatever shares it gives.
            nbytes: gives the bytes that the call holds while it waits for the backbone; None does not wait.
        """
        version, backbone = await self._predictor.find(selector, router, nbytes)
        return ResolvedVersion(version=version, backbone=backbone)

    async def answer(
        self,
        found: ResolvedVersion,
        contents: Sequence[Content],
        context: Context,
        timeout: float | None = None,
    ) -> VersionPrediction:
        """What a version answers, all classes of it.

        Args:
            timeout: seconds from the message, in addition to the deadline; None if it has no limit.
        """
        return (await self.answers([found], contents, context, timeout))[0]

    async def answers(
        self,
        found: Sequence[ResolvedVersion],
        contents: Sequence[Content],
        context: Context,
        timeout: float | None = None,
    ) -> Sequence[VersionPrediction]:
        """What versions answer to the same inputs, as `answer`; those on one backbone share its pass."""
        deadline = deadline_of(context, self._clock)
        if timeout is not None:
            own = self._clock() + timeout
            deadline = own if deadline is None else min(deadline, own)
        # By its number: an alias may have been moved to a version of another backbone since.
        selectors = [Selector(model=each.version.model, number=each.version.number) for each in found]
        predicted = await self._predictor.predict(selectors, contents, _ALL, deadline=deadline)
        return predicted.predictions


def selector_of(name: str, version: str, field: str) -> Selector:
    """The selector of a model's name, which an alias or a number may follow behind an @, as in the command.

    Args:
        name: such as `pets`, `pets@stable` or `pets@3`.
        version: a version's number, such as `3`; empty for what the name says, or else the newest.
    """
    model, at, alias = name.partition("@")
    if not model or (at and not alias):
        raise InvalidField(
            f"Expected the name of a model, or MODEL@ALIAS, in {field}. Received: {name!r}.", field=field
        )
    if alias and version:
        raise InvalidField(
            f"Expected either a name with @ or a version. Received: {name[:300]!r} and version "
            f"{version[:40]!r}.",
            field=field,
        )
    if not alias and not version:
        return Selector(model=model)
    if alias and not _is_number(alias):
        return Selector(model=model, alias=alias)
    version = version or alias
    if not _is_number(version):
        raise InvalidField(
            f"Expected the number of a version of model '{model}'; aliases stand in the name, as in "
            f"{model}@stable. Received: {version[:40]!r}.",
            field=field,
        )
    return Selector(model=model, number=int(version))


def _is_number(text: str) -> bool:
    """Whether a text is a version's number: no alias begins with a digit."""
    return text.isascii() and text.isdigit() and len(text) <= 18
