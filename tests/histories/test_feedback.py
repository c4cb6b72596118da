"""The checker finds feedback that was lost, or not learned exactly once, and retrains that overlap."""

from dataclasses import replace

import pytest

from histories.feedback import FinalFeedback, FinalRetrain, erased_violations, overlaps, violations
from histories.history import History, Operation

LEARNED = FinalFeedback(model="m", state="learned", learned=2, versions=[2])
FIRST = FinalRetrain(job_id="a", model="m", created=1.0, finished=2.0)


def history(*results: str) -> History:
    made = History(lambda: 0.0)
    for result in results:
        sent = {"request_id": "r"}
        made.add(
            Operation(
                kind="SendFeedback", key="m", server="s", sent=sent, result=result, called=0.0, returned=1.0
            )
        )
    return made


def test_feedback_that_one_version_learned_is_right() -> None:
    second = replace(FIRST, job_id="b", created=2.0, finished=3.0)
    assert list(violations(history("f", "f"), {"f": LEARNED}, [FIRST, second])) == []


@pytest.mark.parametrize(
    ("results", "final", "what"),
    [
        (["f"], {}, "is lost"),
        (["f", "g"], {"f": LEARNED, "g": LEARNED}, "request r recorded feedback f, g"),
        (["f"], {"f": replace(LEARNED, versions=[2, 3])}, "an added example of versions [2, 3]"),
        (["f"], {"f": replace(LEARNED, versions=[])}, "an added example of versions []"),
        (["f"], {"f": replace(LEARNED, state="pending", learned=None, versions=[])}, "was not learned"),
    ],
)
def test_a_broken_promise_is_found(results: list[str], final: dict[str, FinalFeedback], what: str) -> None:
    assert any(what in violation for violation in violations(history(*results), final, []))


def erasure(key: str, *, rebuild: bool = False) -> Operation:
    sent = {"rebuild": rebuild, "model": "m"}
    return Operation(kind="EraseExample", key=key, server="s", sent=sent, called=2.0, returned=3.0)


def test_feedback_of_an_erased_example_is_found() -> None:
    calls = history("f")
    calls.add(erasure("f"))
    assert list(violations(calls, {}, [])) == []
    assert list(violations(calls, {"f": LEARNED}, [])) == ["feedback f of the erased example f is learned"]
    of_prediction = {"f": replace(LEARNED, example="p")}
    assert list(violations(calls, of_prediction, [])) == []
    calls.add(erasure("p"))
    assert list(violations(calls, of_prediction, [])) == ["feedback f of the erased example p is learned"]


def test_a_version_with_feedback_of_a_rebuilt_example_is_found() -> None:
    calls = history("f")
    calls.add(erasure("f"))
    assert list(erased_violations(calls, {"f": [3, 2]})) == []
    calls.add(erasure("f", rebuild=True))
    assert list(erased_violations(calls, {"f": [3, 2]})) == ["versions [2, 3] have the erased example f"]
    assert list(erased_violations(calls, {"g": [2]})) == []


def test_feedback_may_wait_for_a_policy_that_has_stopped() -> None:
    waiting = replace(LEARNED, state="pending", learned=None, versions=[])
    assert list(violations(history("f"), {"f": waiting}, [], may_wait=True)) == []
    learned = {"f": replace(waiting, versions=[2])}
    assert any("versions [2]" in each for each in violations(history("f"), learned, [], may_wait=True))


@pytest.mark.parametrize("finished", [None, 5.0])
def test_retrains_of_a_model_that_overlap_are_found(finished: float | None) -> None:
    first = replace(FIRST, finished=finished)
    second = replace(FIRST, job_id="b", created=1.5)
    assert list(overlaps([second, first])) == ["retrains a and b of m were under way together"]
    assert list(overlaps([first, replace(second, model="n")])) == []
