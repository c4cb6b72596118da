"""The predictor of other protocols' services: it finds a version first and predicts later."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.canary_call import CanaryCall, deadline_of
from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import (
    BackboneMismatch,
    BackboneUnavailable,
    HeadstartError,
    InvalidField,
    Loading,
    MessageTooLarge,
)
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector, Version
from headstart_server.prediction.predict_options import PredictOptions
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.statistics import Statistics
from headstart_server.prediction.version_prediction import VersionPrediction

#: Maximum versions of one response, because these protocols have no pages.
MAX_VERSIONS = 20_000


def check_version_count(count: int) -> None:
    """Raise MessageTooLarge if a response would list too many versions."""
    if count > MAX_VERSIONS:
        raise MessageTooLarge(
            f"The response would list more than {MAX_VERSIONS} versions. Name a version, or call ListModels "
            "and ListVersions of headstart.v1.ModelService, which return pages."
        )


def unavailable_reason(pool: BackbonePool, version: Version) -> HeadstartError | None:
    """Start loading a version's backbone; return why the version cannot predict now, or None if it can."""
    try:
        digest = pool.get(version.manifest.backbone).digest
    except HeadstartError as error:
        return error
    return _mismatch(version, digest)


def unready_reason(pool: BackbonePool, version: Version) -> HeadstartError | None:
    """Return why a version cannot predict now, or None if it can. This loads nothing."""
    name = version.manifest.backbone
    embedder = pool.loaded(name)
    if embedder is not None:
        return _mismatch(version, embedder.digest)
    if problem := pool.problem(name):
        return BackboneUnavailable(problem, metadata={"backbone": name})
    return Loading(f"Backbone '{name}' is not loaded; the first call loads it.")


def _mismatch(version: Version, digest: str) -> BackboneMismatch | None:
    if digest == version.manifest.backbone_digest:
        return None
    return BackboneMismatch(
        f"The version was fitted on another digest of backbone '{version.manifest.backbone}' than this "
        "server has."
    )


#: Options to predict all classes, from which the requested outputs select.
_ALL = PredictOptions(top_k=0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResolvedVersion:
    """The version of a call, and its backbone."""

    version: ResidentVersion
    backbone: BackboneInfo


class CompatPredictor:
    """Find versions and return their predictions."""

    def __init__(self, predictor: Predictor, clock: Callable[[], float] = time.monotonic) -> None:
        self._predictor = predictor
        self._clock = clock

    @property
    def max_inputs(self) -> int:
        """The maximum number of inputs of one call."""
        return self._predictor.max_inputs

    @property
    def statistics(self) -> Statistics:
        """The statistics of each version, over all protocols."""
        return self._predictor.recorder.statistics

    async def number(self, selector: Selector) -> int:
        """Return the number of the selected version, without loading it."""
        (number,) = await self._predictor.versions.numbers([selector])
        return number

    def call(self, context: Context, key: str = "") -> CanaryCall:
        """Return a call that predicts, which routes aliases that split their traffic."""
        return CanaryCall(self._predictor.recorder, context, key, field="parameters")

    async def find(
        self, selector: Selector, router: TrafficRouter | None = None, nbytes: Callable[[], int] | None = None
    ) -> ResolvedVersion:
        """Return the selected version, and the backbone that determines the kind of its inputs.

        Args:
            router: the router of the call; None ignores the traffic split of aliases.
            nbytes: returns the bytes that the call holds while it waits for the backbone; None does not wait.
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
        """Return the predictions of a version, with all classes.

        Args:
            timeout: time limit of the message in seconds, in addition to the call's deadline; None for none.
        """
        return (await self.answers([found], contents, context, timeout))[0]

    async def answers(
        self,
        found: Sequence[ResolvedVersion],
        contents: Sequence[Content],
        context: Context,
        timeout: float | None = None,
    ) -> Sequence[VersionPrediction]:
        """Return the predictions of versions as `answer` does; versions on one backbone share its pass."""
        deadline = deadline_of(context, self._clock)
        if timeout is not None:
            own = self._clock() + timeout
            deadline = own if deadline is None else min(deadline, own)
        # By number, because an alias may have moved to a version on another backbone since.
        selectors = [Selector(model=each.version.model, number=each.version.number) for each in found]
        predicted = await self._predictor.predict(selectors, contents, _ALL, deadline=deadline)
        return predicted.predictions


def selector_of(name: str, version: str, field: str) -> Selector:
    """Return the selector of a model's name, which may end in @ and an alias or a number, as in the command.

    Args:
        name: such as `pets`, `pets@stable` or `pets@3`.
        version: a version's number, such as `3`; empty for the version in the name, by default the newest.
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
            f"Expected the number of a version of model '{model}'. Received: {version[:40]!r}. Put an alias "
            f"in the name, as in {model}@stable.",
            field=field,
        )
    return Selector(model=model, number=int(version))


def _is_number(text: str) -> bool:
    """Return whether a text is a version's number; an alias does not begin with a digit."""
    return text.isascii() and text.isdigit() and len(text) <= 18
