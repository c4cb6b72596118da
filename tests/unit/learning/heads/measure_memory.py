"""Prints the bytes that a fine-tune takes at its peak.

Its arguments are RECIPE EXAMPLES VIEWS CLASSES MODALITY.

It does with made-up features what a job does with those of a backbone. VIEWS is JSON: sizes by name.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Recipe, Ridge, required_views
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureTable

RECIPES: dict[str, Recipe] = {
    "auto": Auto(),
    "ridge": Ridge(),
    "logistic": Logistic(time_budget=2.0),
    "mlp": Mlp(max_epochs=2),
}


def table_of(
    recipe: Recipe, count: int, sizes: dict[str, int], classes: int, modality: Modality
) -> FeatureTable:
    """Examples of classes that overlap, with their features as rows first, as they come from a backbone."""
    rng = np.random.default_rng(0)
    names = required_views(recipe, sizes)
    shown = [place % classes for place in range(count)]
    centers = {name: rng.normal(size=(classes, sizes[name])).astype(np.float32) for name in names}
    rows = [
        {name: centers[name][label] * 0.3 + rng.standard_normal(sizes[name], np.float32) for name in names}
        for label in shown
    ]
    digests = [sha256(str(place).encode()).hexdigest() for place in range(count)]
    targets = [Target.of_label(f"class {label}") for label in shown]
    return FeatureTable(
        examples=[
            StoredExample(
                target=target,
                id=f"{place}.jpg",
                held_out=False,
                digest=digest,
                kind=modality.value,
                weight=1.0,
                archive="job",
                member=place,
            )
            for place, (target, digest) in enumerate(zip(targets, digests, strict=True))
        ],
        indexes=np.arange(count),
        views={name: np.stack([row[name] for row in rows]) for name in names},
        targets=Targets.from_targets(targets, [1.0] * count),
        digests=digests,
        modality=modality,
    )


def run(recipe: Recipe, count: int, sizes: dict[str, int], classes: int, modality: Modality) -> None:
    """Fit, measure and assess, as a job does, with a tenth held out."""
    table = table_of(recipe, count, sizes, classes, modality)
    held_out_mask = np.arange(count) % 10 == 9
    trained = table.part(~held_out_mask)
    fitted = fit(recipe, trained.views, trained.targets, trained.digests, seed=0, modality=modality)
    evaluate_fit(fitted, table, held_out_mask, checkpoint=lambda: None)
    assessment = table.analysis(fitted, held_out_mask, lambda: None)
    assessment.files()
    assessment.findings(seed=0, estimated_seconds=0.0, fault_count=0)


def status(entry: str) -> int:
    """Return the bytes of an entry of this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(entry)


def main(recipe: str, count: str, sizes: str, classes: str, modality: str) -> None:
    """Measure one run."""
    threadpool_limits(1, user_api="blas")
    # Whatever is imported late, or made once, is not the run's.
    run(RECIPES[recipe], 60, dict.fromkeys(json.loads(sizes), 16), 3, Modality(modality))
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run(RECIPES[recipe], int(count), json.loads(sizes), int(classes), Modality(modality))
    print(status("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
