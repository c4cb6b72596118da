"""The files that a version's answers rest on: as they were written, or refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fakes import ManualClock, Shelf
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.analysis.neighbors import NeighborExample, NeighborIndex, index_neighbors
from headstart_server.learning.analysis.typicality import TypicalityModel, fit_typicality_model
from headstart_server.learning.examples.target import Target
from headstart_server.models.evidence import (
    NEIGHBORS_FILE,
    TYPICALITY_FILE,
    NotEvidence,
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


def familiarity() -> TypicalityModel:
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
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path, ManualClock())
    shelf.publish(
        files={
            TYPICALITY_FILE: typicality_model_to_bytes(familiarity()),
            NEIGHBORS_FILE: neighbors_bytes(neighbors()),
        }
    )
    yield shelf
    shelf.close()


def test_what_is_read_answers_as_what_was_written() -> None:
    read = typicality_model_from_bytes(typicality_model_to_bytes(familiarity()))
    np.testing.assert_array_equal(read.typicality(VIEWS), familiarity().typicality(VIEWS))
    index = neighbors_of(neighbors_bytes(neighbors()))
    assert index.examples == neighbors().examples
    assert index.nearest(VIEWS, 3) == neighbors().nearest(VIEWS, 3)


def test_equal_values_give_equal_bytes() -> None:
    assert typicality_model_to_bytes(familiarity()) == typicality_model_to_bytes(familiarity())
    assert neighbors_bytes(neighbors()) == neighbors_bytes(neighbors())


@pytest.mark.parametrize("content", [b"", b"nonsense", typicality_model_to_bytes(familiarity())])
def test_what_is_no_index_is_refused(content: bytes) -> None:
    with pytest.raises(NotEvidence):
        neighbors_of(content)


def test_a_version_is_given_what_is_asked_for_and_keeps_it(shelf: Shelf) -> None:
    version = shelf.registry.load("pets", 1)
    known = shelf.registry.with_evidence(version, {TYPICALITY_FILE})
    assert known.evidence.familiarity is not None
    assert known.evidence.neighbors is None
    both = shelf.registry.with_evidence(known, BOTH)
    assert both.evidence.neighbors is not None
    assert shelf.registry.resident("pets", 1) is not None
    assert shelf.resident.nbytes == both.nbytes == version.nbytes + both.evidence.nbytes


def test_an_index_too_large_to_stay_is_given_and_not_kept(shelf: Shelf) -> None:
    shelf.resident.max_bytes = 4 * familiarity().nbytes + 4000
    version = shelf.registry.load("pets", 1)
    assert shelf.registry.with_evidence(version, BOTH).evidence.neighbors is not None
    kept = shelf.registry.resident("pets", 1)
    assert kept is not None
    assert kept.evidence.files == {TYPICALITY_FILE}
    assert kept.evidence.familiarity is not None
    assert shelf.resident.nbytes == kept.nbytes


def test_a_version_without_such_files_is_looked_at_once(shelf: Shelf) -> None:
    shelf.publish("cars")
    known = shelf.registry.with_evidence(shelf.registry.load("cars", 1), BOTH)
    assert known.evidence.familiarity is None
    assert known.evidence.files == BOTH
    shelf.store.remove("job-2.1")
    assert shelf.registry.with_evidence(known, BOTH) is known


def test_a_damaged_file_is_told(shelf: Shelf) -> None:
    (shelf.folder / "versions" / "job-1.1" / NEIGHBORS_FILE).write_bytes(b"other")
    with pytest.raises(ArtifactDamaged, match="neighbors"):
        shelf.registry.with_evidence(shelf.registry.load("pets", 1), BOTH)


def test_a_version_that_was_dropped_meanwhile_is_not_kept_again(shelf: Shelf) -> None:
    version = shelf.registry.load("pets", 1)
    shelf.resident.drop("pets", 1)
    shelf.resident.replace(version)
    assert shelf.registry.resident("pets", 1) is None
    assert shelf.resident.nbytes == 0
