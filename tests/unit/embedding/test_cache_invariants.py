"""Any order of what callers and restarts do to a cache of two tiers, against a dictionary."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headstart_server.embedding.cache import OVERHEAD, FeatureCache
from headstart_server.embedding.feature_store import FeatureStore

BACKBONES = st.sampled_from(["b", "c"])
DIGESTS = st.sampled_from("stuvwxyz")
#: Room for three vectors, so that most are on disk only.
MEMORY = 3 * (OVERHEAD + 4 * 8)


class CacheMachine(RuleBasedStateMachine):
    """A cache whose disk has room for everything: it must be as exact as the dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name) / "features.sqlite3"
        self.cache = self.open()
        self.model: dict[tuple[str, str], list[float]] = {}

    def open(self) -> FeatureCache:
        return FeatureCache(MEMORY, FeatureStore(self.path, 8 << 20))

    def teardown(self) -> None:
        self.cache.close()
        self._folder.cleanup()

    @rule(
        backbone=BACKBONES,
        digest=DIGESTS,
        value=st.floats(width=32, allow_nan=False),
        size=st.integers(0, 20),
    )
    def put(self, backbone: str, digest: str, value: float, size: int) -> None:
        self.cache.put(backbone, digest, {"last": np.full(size, value, np.float32)})
        self.model[backbone, digest] = [value] * size

    @rule(backbone=BACKBONES, digest=DIGESTS)
    def get(self, backbone: str, digest: str) -> None:
        found = self.cache.get(backbone, digest)
        expected = self.model.get((backbone, digest))
        assert (None if found is None else found["last"].tolist()) == expected

    @rule(backbone=BACKBONES, digests=st.sets(DIGESTS))
    def get_many(self, backbone: str, digests: set[str]) -> None:
        found = self.cache.get_many(backbone, digests)
        assert {digest: views["last"].tolist() for digest, views in found.items()} == {
            digest: self.model[backbone, digest] for digest in digests if (backbone, digest) in self.model
        }

    @rule(digests=st.sets(DIGESTS, max_size=3), backbone=BACKBONES | st.none())
    def remove(self, digests: set[str], backbone: str | None) -> None:
        self.cache.remove(digests, backbone)
        for key in list(self.model):
            if key[1] in digests and backbone in (None, key[0]):
                del self.model[key]

    @rule()
    def restart(self) -> None:
        self.cache.close()
        self.cache = self.open()
        assert len(self.cache) == 0

    @invariant()
    def memory_stays_within_its_bound(self) -> None:
        assert self.cache.nbytes <= MEMORY


TestAnyOrderOfOperations = CacheMachine.TestCase
TestAnyOrderOfOperations.settings = settings(max_examples=40, stateful_step_count=30)
