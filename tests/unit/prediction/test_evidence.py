"""The evidence for a prediction: returned when requested, and only then."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import make_head
from headstart_server.errors import InvalidField
from headstart_server.learning.analysis.neighbors import NeighborExample, index_neighbors
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.models.evidence import (
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    neighbors_bytes,
    typicality_model_to_bytes,
)
from headstart_server.models.version import Selector
from headstart_server.prediction.predict_options import Abstention, SaliencyOptions
from headstart_server.prediction.version_prediction import AbstentionReason
from unit.prediction.test_predictor import Stall, refusal

WORDS = [b"cat:%d" % place for place in range(12)]


@pytest.fixture
def stall(tmp_path: Path) -> Iterator[Stall]:
    stall = Stall(tmp_path)
    stall.load()
    yield stall
    stall.publisher.close()


def evidence_of(stall: Stall) -> dict[str, bytes]:
    """The files of a version that was trained on the words."""
    backbone = stall.backbones["fake"]
    views = backbone.run(np.stack([backbone.decode(word) for word in WORDS]))
    digests = [f"{place:02d}" for place in range(len(WORDS))]
    examples = [
        NeighborExample(index=place, id=f"id {place}", target=Target.of_label("cat"))
        for place in range(len(WORDS))
    ]
    typicality_model = fit_typicality_model(views, ("last", "taps"), digests, digests)
    assert typicality_model is not None
    index = index_neighbors(views, ("last", "taps"), examples, digests)
    return {
        TYPICALITY_FILE: typicality_model_to_bytes(typicality_model),
        NEIGHBORS_FILE: neighbors_bytes(index),
    }


async def test_an_input_unlike_the_examples_is_unknown_and_one_like_them_is_not(stall: Stall) -> None:
    stall.publisher.publish(files=evidence_of(stall))
    (answer,) = (await stall.predict([b"cat:90", b"emu:1"], abstention=Abstention())).predictions
    assert answer.abstention_result is not None
    assert answer.abstention_result.typicality is not None
    assert answer.abstention_result.reasons == [None, AbstentionReason.UNLIKE_TRAINING]
    assert answer.abstention_result.typicality[0] > 0.1 > 0.05 > answer.abstention_result.typicality[1]


async def test_an_input_without_a_probable_class_is_unknown(stall: Stall) -> None:
    stall.publisher.publish(files=evidence_of(stall))
    requested = Abstention(false_alarm_rate=0, min_probability=1.0)
    (answer,) = (await stall.predict([b"cat:90", b"emu:1"], abstention=requested)).predictions
    assert answer.abstention_result is not None
    assert answer.abstention_result.reasons == [AbstentionReason.LOW_PROBABILITY] * 2


async def test_a_version_without_files_cannot_tell_and_has_no_neighbours(stall: Stall) -> None:
    stall.publisher.publish()
    (answer,) = (await stall.predict([b"emu:1"], abstention=Abstention(), neighbors=5)).predictions
    assert answer.abstention_result is not None
    assert answer.abstention_result.typicality is None
    assert answer.abstention_result.reasons == [None]
    assert answer.neighbors == ()


async def test_nothing_is_read_or_reported_unless_it_is_requested(stall: Stall) -> None:
    stall.publisher.publish(files=evidence_of(stall))
    (answer,) = (await stall.predict([b"cat:90"])).predictions
    assert answer.abstention_result is None
    assert answer.neighbors == ()
    assert answer.version.evidence.files == frozenset()


async def test_what_was_read_once_stays_in_memory_with_the_version(stall: Stall) -> None:
    stall.publisher.publish(files=evidence_of(stall))
    alone = stall.publisher.resident.nbytes
    await stall.predict([b"cat:90"], abstention=Abstention())
    familiar = stall.publisher.resident.nbytes
    await stall.predict([b"cat:90"], neighbors=1)
    both = stall.publisher.resident.nbytes
    stall.publisher.store.remove("job-1.1")
    (answer,) = (await stall.predict([b"cat:90"], abstention=Abstention(), neighbors=1)).predictions
    assert alone < familiar < both == stall.publisher.resident.nbytes
    assert len(answer.neighbors[0]) == 1


async def test_the_nearest_examples_are_reported_with_their_names(stall: Stall) -> None:
    stall.publisher.publish(files=evidence_of(stall))
    (answer,) = (await stall.predict([WORDS[7], b"cat:90"], neighbors=3)).predictions
    assert [len(found) for found in answer.neighbors] == [3, 3]
    assert answer.neighbors[0][0].example.id == "id 7"
    assert answer.neighbors[0][0].distance == pytest.approx(0, abs=2e-3)


async def test_of_several_labels_those_that_reach_their_threshold_are_selected(stall: Stall) -> None:
    fields = {name: getattr(make_head(), name) for name in ("views", "weights", "bias", "class_names")}
    calibration = Calibration(
        task=Task.MULTI_LABEL,
        slopes=np.ones(3, np.float32),
        offsets=np.zeros(3, np.float32),
        thresholds=np.array([0.0, 1.1, 0.0], np.float32),
    )
    stall.publisher.publish(head=Head(**fields, calibration=calibration), task=Task.MULTI_LABEL)
    (answer,) = (await stall.predict([b"a"])).predictions
    selected = dict(zip(answer.indexes[0].tolist(), answer.selected[0].tolist(), strict=True))
    assert selected == {0: True, 1: False, 2: True}


async def test_of_one_label_the_likeliest_is_selected(stall: Stall) -> None:
    stall.publisher.publish()
    (answer,) = (await stall.predict([b"a", b"b"])).predictions
    assert answer.selected.tolist() == [[True, False, False]] * 2


@pytest.mark.parametrize(
    ("requested", "field"),
    [
        ({"neighbors": 101}, "neighbors"),
        ({"neighbors": -1}, "neighbors"),
        ({"abstention": Abstention(false_alarm_rate=0.51)}, "abstention.false_alarm_rate"),
        ({"abstention": Abstention(false_alarm_rate=float("nan"))}, "abstention.false_alarm_rate"),
        ({"abstention": Abstention(min_probability=-0.1)}, "abstention.min_probability"),
        ({"saliency": SaliencyOptions(class_name="emu")}, "saliency.class_name"),
    ],
)
async def test_what_is_out_of_range_is_refused_by_name(
    stall: Stall, requested: dict[str, object], field: str
) -> None:
    stall.publisher.publish()
    error = await refusal(stall, InvalidField, [b"a"], **requested)
    assert error.field == field


async def test_saliency_is_for_images(stall: Stall) -> None:
    stall.publisher.publish("rows", backbone="table", backbone_digest="e" * 64)
    error = await refusal(
        stall, InvalidField, [np.zeros(3)], [Selector(model="rows")], saliency=SaliencyOptions()
    )
    assert error.field == "saliency"
    assert "takes tensors" in error.message
