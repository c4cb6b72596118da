"""What is counted of each version."""

from headstart_server.prediction.statistics import StageTimes, Statistics, VersionCounts


def test_calls_inputs_and_times_add_up_by_version() -> None:
    statistics = Statistics(iter((10.0, 20.0, 30.0)).__next__)
    statistics.answered("pets", 1, 3, StageTimes(total=1.5, decode=0.25, queue=0.5, backbone=0.125, head=0.5))
    statistics.answered("pets", 1, 1, StageTimes(total=0.5))
    statistics.failed("pets", 2, 0.75)
    assert statistics.counts("pets", 1) == VersionCounts(
        calls=2, inputs=4, total=2.0, decode=0.25, queue=0.5, backbone=0.125, head=0.5, last=20.0
    )
    assert statistics.counts("pets", 2) == VersionCounts(failed=1, failed_seconds=0.75, last=30.0)
    assert statistics.counts("cars", 1) == VersionCounts()
    assert statistics.counted() == [("pets", 1), ("pets", 2)]


def test_what_was_reported_does_not_change_afterwards() -> None:
    statistics = Statistics()
    statistics.failed("pets", 1, 1.0)
    before = statistics.counts("pets", 1)
    statistics.failed("pets", 1, 1.0)
    assert (before.failed, statistics.counts("pets", 1).failed) == (1, 2)


def test_beyond_the_limit_the_version_used_longest_ago_is_forgotten() -> None:
    statistics = Statistics(most=2)
    for number in (1, 2, 1, 3):
        statistics.failed("pets", number, 1.0)
    assert statistics.counted() == [("pets", 1), ("pets", 3)]
