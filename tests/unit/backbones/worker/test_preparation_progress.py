"""The progress of a preparation: what is estimated of it."""

import pytest
from structlog.testing import capture_logs

from fakes import ManualClock
from headstart_server.backbones.worker.preparation_progress import TYPICAL_SECONDS, Progress, Step

TOTAL = sum(TYPICAL_SECONDS.values())


def walked(pace: float) -> list[tuple[float, float, int]]:
    """Elapsed and remaining seconds and percent at each step, if all take so many times the typical."""
    clock = ManualClock()
    progress = Progress("own", clock)
    seen = []
    for step, seconds in TYPICAL_SECONDS.items():
        if step is not Step.STARTING:
            progress.begin(step)
        seen.append((progress.elapsed, progress.remaining, progress.percent))
        clock.advance(seconds * pace)
    return seen


def test_at_the_typical_pace_the_estimate_is_right_from_the_start() -> None:
    for elapsed, remaining, _ in walked(1.0):
        assert elapsed + remaining == pytest.approx(TOTAL)


@pytest.mark.parametrize("pace", [0.6, 3.0])
def test_at_another_pace_the_estimate_comes_closer(pace: float) -> None:
    seen = walked(pace)
    errors = [abs(elapsed + remaining - TOTAL * pace) for elapsed, remaining, _ in seen]
    assert errors[-1] < 0.1 * TOTAL * pace
    assert errors[-1] < errors[0] / 5
    percents = [percent for _, _, percent in seen]
    assert percents == sorted(percents)


def test_a_step_that_takes_long_never_is_about_to_end() -> None:
    clock = ManualClock()
    progress = Progress("own", clock)
    before = 0
    for _ in range(100):
        clock.advance(60.0)
        assert progress.remaining > 0.2 * progress.elapsed
        assert before <= progress.percent <= 99
        before = progress.percent


def test_each_step_is_an_event() -> None:
    clock = ManualClock()
    progress = Progress("own", clock)
    with capture_logs() as logs:
        clock.advance(2.0)
        progress.begin(Step.LOADING)
        progress.end()
    assert logs[0] == {
        "event": "backbone_preparing",
        "log_level": "info",
        "backbone": "own",
        "step": "loading TensorFlow",
        "percent": logs[0]["percent"],
        "elapsed_seconds": 2,
        "remaining_seconds": round(progress.remaining),
    }
    assert logs[1] == {
        "event": "backbone_prepared",
        "log_level": "info",
        "backbone": "own",
        "seconds": 2.0,
    }
