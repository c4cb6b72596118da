"""The checker finds feedback that was lost, or not learned exactly once, and retrains that overlap."""

from dataclasses import replace

import pytest

from histories.feedback import FinalFeedback, FinalRetrain, overlaps, violations
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


@pytest.mark.parametrize("finished", [None, 5.0])
def test_retrains_of_a_model_that_overlap_are_found(finished: float | None) -> None:
    first = replace(FIRST, finished=finished)
    second = replace(FIRST, job_id="b", created=1.5)
    assert list(overlaps([second, first])) == ["retrains a and b of m were under way together"]
    assert list(overlaps([first, replace(second, model="n")])) == []
