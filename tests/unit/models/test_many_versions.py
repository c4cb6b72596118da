"""Ten thousand versions in memory: what is counted is what they take, and the bound holds."""

import tracemalloc
from collections.abc import Iterator

import pytest

from fakes import make_head
from headstart_server.models.resident import ResidentVersion, ResidentVersions

COUNT = 10_000
#: As a head on 1,280 features for two classes.
FEATURES, CLASSES = 1280, 2
MIB = 1 << 20


def versions() -> Iterator[ResidentVersion]:
    for number in range(COUNT):
        yield ResidentVersion(
            model=f"model-{number}",
            number=1,
            artifact=f"a{number}",
            backbone="fake",
            backbone_digest="b" * 64,
            head=make_head(classes=CLASSES, size=FEATURES, seed=number),
        )


@pytest.mark.parametrize(("bound", "kept"), [(256 * MIB, COUNT), (16 * MIB, 1600)])
def test_ten_thousand_versions_take_the_memory_that_is_counted(bound: int, kept: int) -> None:
    resident = ResidentVersions(bound)
    tracemalloc.start()
    try:
        for version in versions():
            resident.put(version)
        del version
        taken, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert resident.nbytes <= bound
    assert kept <= len(resident) <= kept * 1.05
    # Python's objects around the numbers are a few hundred bytes of each.
    assert resident.nbytes <= taken <= 1.2 * resident.nbytes
    assert peak <= taken + MIB
    assert resident.get(f"model-{COUNT - 1}", 1) is not None
