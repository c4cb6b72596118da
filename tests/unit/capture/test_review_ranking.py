"""Features for the ranking of captured inputs stay in memory only while their inputs are stored."""

import pytest

from captures import Captures
from headstart_server.capture.capture_eraser import CaptureEraser
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
        # The row is gone at that moment, and the object still has the input.
        drop = captures.ranking.remove_gone
        CaptureEraser(captures.database, captures.files, lambda _: drop()).erase("pets", "one")
    else:
        captures.eraser.erase("pets", "one")
        captures.ranking.remove_gone()
    assert captures.ranking.nbytes == before // 3
    captures.publisher.registry.delete_model("pets", force=True)
    captures.ranking.remove_gone()
    assert captures.ranking.nbytes == 0
