"""Many versions on one backbone: a data folder full of them, and the time to load them.

Run as a program: loads every version of a folder into memory and prints seconds and MiB as JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from headstart_server.backbones.catalog import DEFAULT
from headstart_server.database.database import Database
from headstart_server.learning.evaluation import Metrics
from headstart_server.learning.head import Head
from headstart_server.learning.recipe import Ridge
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Manifest, Selector

CLASSES = 10
FEATURES = 1280


def publish(data: Path, model: str, count: int, backbone_digest: str) -> None:
    """Publish versions of MODEL-0, MODEL-1 and so on in the data folder of a server that does not run."""
    data.mkdir(parents=True, exist_ok=True)
    registry, database, store = _open(data)
    rng = np.random.default_rng(0)
    names = tuple(f"class {place}" for place in range(CLASSES))
    for number in range(count):
        head = Head(
            views=("last",),
            weights=rng.normal(size=(FEATURES, CLASSES)).astype(np.float32),
            bias=np.zeros(CLASSES, np.float32),
            temperature=0.1,
            class_names=names,
        )
        manifest = _manifest(f"{model}-{number}", names, backbone_digest)
        written, size = store.write(f"bench-{number}.1", head, manifest)
        with database.write() as connection:
            registry.insert(
                connection,
                artifact=f"bench-{number}.1",
                size_bytes=size,
                manifest=written,
                expires=None,
                alias=None,
            )
    database.close()


def load_all(data: Path, model: str, count: int) -> dict[str, float]:
    """Load versions as a Predict of each would; seconds, and MiB of memory above none of them."""
    registry, database, _ = _open(data)
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    for number in range(count):
        name = f"{model}-{number}"
        registry.load(name, registry.resolve(Selector(model=name)))
    seconds = time.perf_counter() - began
    database.close()
    return {"seconds": seconds, "mib": (process.memory_info().rss - before) / (1 << 20)}


def _open(data: Path) -> tuple[Registry, Database, VersionStore]:
    database = Database(data / "headstart.sqlite3")
    store = VersionStore(data / "versions")
    return Registry(database, store, ResidentVersions(1 << 30)), database, store


def _manifest(model: str, class_names: tuple[str, ...], backbone_digest: str) -> Manifest:
    return Manifest(
        model=model,
        job_id=f"bench-{model}",
        backbone=DEFAULT,
        backbone_digest=backbone_digest,
        dataset_digest="0" * 64,
        recipe=Ridge(regularization=1.0, temperature=0.1),
        seed=0,
        example_count=0,
        class_names=class_names,
        metrics=Metrics(),
        display_name="",
        labels={},
        created=time.time(),
        software="benchmark",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    json.dump(load_all(arguments.data, arguments.model, arguments.count), sys.stdout)


if __name__ == "__main__":
    main()
