"""Many versions on one backbone: a data folder full of them, and the time to load them.

Run as a program: loads every version of a folder into memory and prints seconds, MiB and more as JSON.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from headstart_server.backbones.catalog import DEFAULT
from headstart_server.database.database import Database
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.learning.heads.recipe import Ridge
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Manifest, Selector

CLASSES = 10
FEATURES = 1280


def publish(data: Path, model: str, count: int, backbone_digest: str) -> None:
    """Publish versions of MODEL-0, MODEL-1 and so on in the data folder of a server that does not run.

    All have one head, whose files are links: written one by one, ten thousand would take minutes.
    """
    data.mkdir(parents=True, exist_ok=True)
    registry, database, store = _open(data)
    head, names = _head()
    first = _artifact(0)
    manifest, size = store.write(first, head, _manifest(f"{model}-0", names, backbone_digest))
    with database.write() as connection:
        for number in range(count):
            if number:
                _link(data / "versions" / first, data / "versions" / _artifact(number))
            own = replace(manifest, model=f"{model}-{number}", job_id=f"bench-{number}")
            registry.insert(
                connection,
                artifact=_artifact(number),
                size_bytes=size,
                manifest=own,
                expires=None,
                alias=None,
            )
    database.close()


def _link(folder: Path, new: Path) -> None:
    new.mkdir()
    for file in folder.iterdir():
        (new / file.name).hardlink_to(file)


def _head() -> tuple[Head, tuple[str, ...]]:
    rng = np.random.default_rng(0)
    names = tuple(f"class {place}" for place in range(CLASSES))
    head = Head(
        views=("last",),
        weights=rng.normal(size=(FEATURES, CLASSES)).astype(np.float32),
        bias=np.zeros(CLASSES, np.float32),
        calibration=Calibration(temperature=0.1),
        class_names=names,
    )
    return head, names


def _artifact(number: int) -> str:
    return f"bench-{number}.1"


def load_all(data: Path, model: str, count: int, max_mib: int) -> dict[str, float]:
    """Load versions as a Predict of each would.

    Returns:
        Seconds; MiB of memory above none of them; how many are in memory at the end, and the MiB counted for
        them; seconds that opening the registry took, which a server does before it serves.
    """
    began = time.perf_counter()
    resident = ResidentVersions(max_mib << 20)
    registry, database, _ = _open(data, resident)
    opened = time.perf_counter() - began
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    for number in range(count):
        name = f"{model}-{number}"
        registry.files.load(name, registry.index.resolve(Selector(model=name)))
    seconds = time.perf_counter() - began
    database.close()
    return {
        "seconds": seconds,
        "mib": (process.memory_info().rss - before) / (1 << 20),
        "resident": len(resident),
        "counted_mib": resident.nbytes / (1 << 20),
        "opened_seconds": opened,
    }


def _open(data: Path, resident: ResidentVersions | None = None) -> tuple[Registry, Database, VersionStore]:
    database = Database(data / "headstart.sqlite3")
    store = VersionStore(data / "versions")
    return (
        Registry(database, store, ResidentVersions(1 << 20) if resident is None else resident),
        database,
        store,
    )


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
        tags={},
        created=time.time(),
        software="benchmark",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("count", type=int)
    parser.add_argument("--max-mib", type=int, default=1024, help="most MiB of heads to keep")
    arguments = parser.parse_args()
    json.dump(load_all(arguments.data, arguments.model, arguments.count, arguments.max_mib), sys.stdout)


if __name__ == "__main__":
    main()
