"""Features for the ranking of captured inputs stay in memory only while their inputs are stored."""

import pytest

from captures import Captures
from postgres import on_both_databases

pytestmark = on_both_databases


@pytest.mark.parametrize("erased_here", [True, False], ids=["by this replica", "by another replica"])
def test_features_of_an_erased_input_leave_the_memory(captures: Captures, erased_here: bool) -> None:
    number = captures.model()
    captures.write(["one", "two"])
    captures.write(["three"])
    listed = captures.ranking.ranked("pets", number, captures.inputs.pending("pets", 10), 10)
    assert len(listed) == 3
    before = captures.ranking.nbytes
    assert before > 0
    if erased_here:
        # At this moment the row is gone, and the object still has the input.
        captures.on_erased = lambda _: captures.ranking.remove_gone()
    captures.eraser.erase("pets", "one")
    if not erased_here:
        captures.ranking.remove_gone()
    assert captures.ranking.nbytes == before // 3
    captures.publisher.registry.delete_model("pets", force=True)
    captures.ranking.remove_gone()
    assert captures.ranking.nbytes == 0
