"""Rankings of captured inputs by a version; features stay in memory only while their inputs are stored."""

import json
from dataclasses import replace

import numpy as np
import pytest

from captures import Captures, new_capture
from fakes import make_head
from headstart_server.capture.batches import BatchFeatures
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.models.capture_policy import CapturePolicy
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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_input_that_the_version_predicts_no_number_for_keeps_its_earlier_prediction(
    captures: Captures,
) -> None:
    ones = np.ones((12, 1), np.float32)
    calibration = Calibration(task=Task.REGRESSION)
    head = replace(make_head(classes=1), weights=ones, calibration=calibration, class_names=())
    number = captures.publisher.publish(
        "pets",
        head=replace(head, scaling=Scaling.STANDARD),
        task=Task.REGRESSION,
        recipe=Ridge(views=("last",), scaling=Scaling.STANDARD),
    )
    captures.set_policy("pets", CapturePolicy(random_fraction=1.0))
    rows = np.stack([ones[:, 0], ones[:, 0] * 3e38]).astype(np.float32)
    inputs = [
        new_capture(name, features=row, predicted=Target.of_value(7.0), margin=None)
        for name, row in zip(("small", "huge"), rows, strict=True)
    ]
    captures.store.write("pets", inputs, BatchFeatures(backbone_digest="b" * 64, views={"last": rows}))
    listed = captures.ranking.ranked("pets", number, captures.inputs.pending("pets", 10), 10)
    predicted = {entry[0]: entry[3]["value"] for entry in listed}
    assert predicted["huge"] == 7.0
    assert predicted["small"] == pytest.approx(12.0 + float(head.bias[0]))
    # PostgreSQL would not store NaN.
    json.dumps(listed, allow_nan=False)
