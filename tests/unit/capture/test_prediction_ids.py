"""IDs of predictions show whether another process may still store the input."""

import pytest

from headstart_server.capture.prediction_ids import FRESH_SECONDS, PredictionIds


def test_ids_differ_and_have_one_length() -> None:
    ids = PredictionIds().create(1000)
    assert len(set(ids)) == 1000
    assert {len(each) for each in ids} == {32}


def test_the_input_of_a_fresh_prediction_of_another_process_may_arrive() -> None:
    now = 1_800_000_000.0
    here, other = PredictionIds(lambda: now), PredictionIds(lambda: now)
    (own,), (theirs,) = here.create(1), other.create(1)
    assert here.may_arrive(theirs)
    assert not here.may_arrive(own)
    now += FRESH_SECONDS + 1
    assert not here.may_arrive(theirs)


@pytest.mark.parametrize("name", ["", "p1", "z" * 32, "é" * 32, "0" * 33])
def test_other_names_are_never_waited_for(name: str) -> None:
    assert not PredictionIds().may_arrive(name)
