"""The files that a version's answers rest on: as they were written, or refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import ManualClock, Publisher
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.analysis.neighbors import NeighborExample, NeighborIndex, index_neighbors
from headstart_server.learning.analysis.typicality import TypicalityModel, fit_typicality_model
from headstart_server.learning.examples.target import Target
from headstart_server.models.evidence import (
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    InvalidEvidenceError,
    neighbors_bytes,
    neighbors_of,
    typicality_model_from_bytes,
    typicality_model_to_bytes,
)

BOTH = {TYPICALITY_FILE, NEIGHBORS_FILE}
VIEWS = {"last": np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)}
DIGESTS = [f"{place:02d}" for place in range(20)]
TARGETS = [
    Target.of_label("cat"),
    Target.of_labels(["cat", "dog"]),
    Target.of_labels([]),
    Target.of_value(1.5),
    Target.of_shares({"cat": 0.25, "dog": 0.75}),
]


def typicality_model() -> TypicalityModel:
    learned = fit_typicality_model(VIEWS, ("last",), DIGESTS, DIGESTS)
    assert learned is not None
    return learned


def neighbors() -> NeighborIndex:
    examples = [
        NeighborExample(index=place, id=f"Bär {place}", target=TARGETS[place % len(TARGETS)])
        for place in range(20)
    ]
    return index_neighbors(VIEWS, ("last",), examples, DIGESTS)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, ManualClock())
    publisher.publish(
        files={
            TYPICALITY_FILE: typicality_model_to_bytes(typicality_model()),
            NEIGHBORS_FILE: neighbors_bytes(neighbors()),
        }
    )
    yield publisher
    publisher.close()


def test_what_is_read_answers_as_what_was_written() -> None:
    read = typicality_model_from_bytes(typicality_model_to_bytes(typicality_model()))
    np.testing.assert_array_equal(read.typicality(VIEWS), typicality_model().typicality(VIEWS))
    index = neighbors_of(neighbors_bytes(neighbors()))
    assert index.examples == neighbors().examples
    assert index.nearest(VIEWS, 3) == neighbors().nearest(VIEWS, 3)


def test_equal_values_give_equal_bytes() -> None:
    assert typicality_model_to_bytes(typicality_model()) == typicality_model_to_bytes(typicality_model())
    assert neighbors_bytes(neighbors()) == neighbors_bytes(neighbors())


@pytest.mark.parametrize("content", [b"", b"nonsense", typicality_model_to_bytes(typicality_model())])
def test_what_is_no_index_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidEvidenceError):
        neighbors_of(content)


def test_a_version_is_given_what_is_requested_and_keeps_it(publisher: Publisher) -> None:
    version = publisher.registry.files.load("pets", 1)
    known = publisher.registry.files.with_evidence(version, {TYPICALITY_FILE})
    assert known.evidence.typicality_model is not None
    assert known.evidence.neighbors is None
    both = publisher.registry.files.with_evidence(known, BOTH)
    assert both.evidence.neighbors is not None
    assert publisher.registry.files.resident("pets", 1) is not None
    assert publisher.resident.nbytes == both.nbytes == version.nbytes + both.evidence.nbytes


def test_an_index_too_large_to_stay_is_given_and_not_kept(publisher: Publisher) -> None:
    publisher.resident.max_bytes = 4 * typicality_model().nbytes + 4000
    version = publisher.registry.files.load("pets", 1)
    assert publisher.registry.files.with_evidence(version, BOTH).evidence.neighbors is not None
    kept = publisher.registry.files.resident("pets", 1)
    assert kept is not None
    assert kept.evidence.files == {TYPICALITY_FILE}
    assert kept.evidence.typicality_model is not None
    assert publisher.resident.nbytes == kept.nbytes


def test_a_version_without_such_files_is_looked_at_once(publisher: Publisher) -> None:
    publisher.publish("cars")
    known = publisher.registry.files.with_evidence(publisher.registry.files.load("cars", 1), BOTH)
    assert known.evidence.typicality_model is None
    assert known.evidence.files == BOTH
    publisher.store.remove("job-2.1")
    assert publisher.registry.files.with_evidence(known, BOTH) is known


def test_a_damaged_file_is_reported(publisher: Publisher) -> None:
    (publisher.folder / "versions" / "job-1.1" / NEIGHBORS_FILE).write_bytes(b"other")
    with pytest.raises(ArtifactDamaged, match="neighbors"):
        publisher.registry.files.with_evidence(publisher.registry.files.load("pets", 1), BOTH)


def test_a_version_that_was_dropped_meanwhile_is_not_kept_again(publisher: Publisher) -> None:
    version = publisher.registry.files.load("pets", 1)
    publisher.resident.drop("pets", 1)
    publisher.resident.replace(version)
    assert publisher.registry.files.resident("pets", 1) is None
    assert publisher.resident.nbytes == 0
