"""Progress of a preparation: step, fraction done, and estimated time left."""

import time
from collections.abc import Callable
from enum import StrEnum

import structlog

log = structlog.get_logger(__name__)


class Step(StrEnum):
    """Steps of a preparation, in order."""

    STARTING = "starting"
    LOADING = "loading TensorFlow"
    BUILDING = "building the network"
    CHECKING = "recording its features"
    EXPORTING = "exporting"
    CONVERTING = "converting"


#: Seconds of each step on two cores for a network of 5 million parameters; a source without Keras
#: skips the steps of TensorFlow.
TYPICAL_SECONDS = {
    Step.STARTING: 1.5,
    Step.LOADING: 8.0,
    Step.BUILDING: 1.5,
    Step.CHECKING: 0.5,
    Step.EXPORTING: 3.0,
    Step.CONVERTING: 0.7,
}
_STEPS = tuple(Step)
#: Bounds of the pace of a machine and network, which is estimated from the completed steps.
_PACE = (0.5, 4.0)
#: Seconds that count as completed at the typical pace, so that a single unusual step has limited weight.
_PRIOR_SECONDS = 3.0
#: Remaining time of a step that takes longer than expected, as a fraction of its time so far.
_OVERRUN = 0.25


class Progress:
    """Progress of one preparation, logged at each step. One thread reports; any may read."""

    def __init__(self, backbone: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._backbone = backbone
        self._clock = clock
        self._started = self._since = clock()
        self._step = Step.STARTING
        self._percent = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the preparation started."""
        return self._clock() - self._started

    @property
    def remaining(self) -> float:
        """Estimate the seconds until the preparation ends."""
        place = _STEPS.index(self._step)
        done = sum(TYPICAL_SECONDS[step] for step in _STEPS[:place])
        pace = (self._since - self._started + _PRIOR_SECONDS) / (done + _PRIOR_SECONDS)
        pace = min(max(pace, _PACE[0]), _PACE[1])
        in_step = self._clock() - self._since
        rest = max(pace * TYPICAL_SECONDS[self._step] - in_step, _OVERRUN * in_step)
        return rest + pace * sum(TYPICAL_SECONDS[step] for step in _STEPS[place + 1 :])

    @property
    def percent(self) -> int:
        """Return the elapsed fraction of the time in percent; it never falls."""
        elapsed, remaining = self.elapsed, self.remaining
        self._percent = max(self._percent, min(99, int(100 * elapsed / (elapsed + remaining + 1e-9))))
        return self._percent

    def begin(self, step: Step) -> None:
        """Record the start of a step."""
        self._step, self._since = step, self._clock()
        self.log()

    def log(self) -> None:
        """Log the state."""
        log.info(
            "backbone_preparing",
            backbone=self._backbone,
            step=self._step.value,
            percent=self.percent,
            elapsed_seconds=round(self.elapsed),
            remaining_seconds=max(1, round(self.remaining)),
        )

    def end(self) -> None:
        """Log that the backbone is prepared."""
        log.info("backbone_prepared", backbone=self._backbone, seconds=round(self.elapsed, 1))
