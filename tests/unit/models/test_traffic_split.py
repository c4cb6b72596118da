"""Which version answers for an alias that gives others a share of its calls."""

from collections import Counter
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.errors import InvalidField
from headstart_server.models.traffic_split import MAX_SHARES, TrafficRouter, check_traffic, choose_version
from headstart_server.models.version import TrafficSplit

KEYS = [f"user {place}" for place in range(4000)]


def shares(**given: float) -> tuple[TrafficSplit, ...]:
    """`v8=0.05` is 5 % for version 8."""
    return tuple(TrafficSplit(number=int(name[1:]), fraction=share) for name, share in given.items())


weights = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5).map(
    lambda parts: [part / sum(parts) for part in parts]
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(weights, st.text(max_size=20))
def test_over_many_keys_each_version_gets_its_share(parts: list[float], model: str) -> None:
    named, *others = parts
    given_ = tuple(TrafficSplit(number=10 + place, fraction=share) for place, share in enumerate(others))
    counts = Counter(choose_version(key, model, 1, given_) for key in KEYS)
    for number, share in [(1, named), *((each.number, each.fraction) for each in given_)]:
        # Five standard deviations of a count: one run in a million strays further by chance.
        allowed = 5 * (len(KEYS) * share * (1 - share)) ** 0.5 + 1
        assert abs(counts[number] - len(KEYS) * share) < allowed


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(0.01, 0.5), st.floats(0.01, 0.5))
def test_a_version_whose_share_grows_keeps_the_keys_it_had(share: float, more: float) -> None:
    before = {key for key in KEYS[:500] if choose_version(key, "pets", 7, shares(v8=share)) == 8}
    after = {key for key in KEYS[:500] if choose_version(key, "pets", 7, shares(v8=share + more)) == 8}
    assert before <= after


def test_a_key_gets_the_same_version_in_every_process_and_release() -> None:
    got = [choose_version(key, "pets", 7, shares(v8=0.3, v9=0.1)) for key in KEYS[:20]]
    assert got == [9, 7, 7, 7, 8, 8, 9, 7, 7, 7, 8, 7, 7, 7, 7, 7, 8, 8, 8, 9]


def test_each_version_is_tried_out_on_other_keys() -> None:
    first, second = (
        {key for key in KEYS if choose_version(key, "pets", 7, shares(**{f"v{number}": 0.1})) == number}
        for number in (8, 9)
    )
    # A tenth of a tenth by chance; the same keys would be a tenth.
    assert len(first & second) < 0.03 * len(KEYS)


def test_the_whole_share_leaves_none_for_the_version_that_is_named() -> None:
    assert {choose_version(key, "pets", 7, shares(v8=0.7, v9=0.2, v10=0.1)) for key in KEYS} == {8, 9, 10}


def test_without_a_key_chance_decides_once_for_a_call() -> None:
    given_ = shares(v8=0.5)
    counts = Counter()
    for _ in range(200):
        router = TrafficRouter()
        number = router.route("pets", 7, given_)
        assert {router.route("pets", 7, given_) for _ in range(5)} == {number}
        assert router.chosen == {("pets", number)}
        counts[number] += 1
    # 1e-12 is the chance of fewer.
    assert min(counts[7], counts[8]) > 50


def test_a_key_is_computed_only_when_there_is_something_to_choose() -> None:
    requested = []
    router = TrafficRouter(lambda: requested.append("ann") or "ann")
    assert requested == []
    assert router.route("pets", 7, shares(v8=0.5)) == choose_version("ann", "pets", 7, shares(v8=0.5))
    router.route("cars", 1, shares(v2=0.5))
    assert requested == ["ann"]


@pytest.mark.parametrize(
    ("named", "given_", "field", "received"),
    [
        (None, shares(v8=0.1), "traffic", ""),
        (7, shares(v7=0.1), "traffic[0].version", "version 7 again"),
        (7, (*shares(v8=0.1), *shares(v8=0.2)), "traffic[1].version", "version 8 again"),
        (7, shares(v8=0.0), "traffic[0].fraction", "0.0"),
        (7, shares(v8=1.01), "traffic[0].fraction", "1.01"),
        (7, shares(v8=nan), "traffic[0].fraction", "nan"),
        (7, shares(v8=-0.1), "traffic[0].fraction", "-0.1"),
        (7, shares(v8=0.6, v9=0.6), "traffic", "1.2"),
        (7, shares(**{f"v{place}": 0.01 for place in range(8, 9 + MAX_SHARES)}), "traffic", "11"),
    ],
)
def test_shares_that_there_cannot_be_are_reported(
    named: int | None, given_: tuple[TrafficSplit, ...], field: str, received: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        check_traffic(named, given_)
    assert caught.value.field == field
    assert not received or f"Received: {received}" in caught.value.message
    if field.endswith(".fraction"):
        assert "version 8" in caught.value.message


def test_shares_that_there_can_be_are_taken() -> None:
    check_traffic(None, ())
    check_traffic(7, ())
    check_traffic(7, shares(v8=1.0))
    check_traffic(7, shares(**{f"v{place}": 0.1 for place in range(10, 10 + MAX_SHARES)}))
