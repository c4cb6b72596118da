"""Compares a quantized backbone with the same backbone in floating point, by the heads fitted on both."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart_server.backbones.contract.backbone import Backbone, Content, Modality
from headstart_server.backbones.contract.runtimes import processor
from headstart_server.backbones.networks.quantization import QuantizationProof
from headstart_server.backbones.worker.quantization_samples import labeled_contents
from headstart_server.embedding.cache import content_digest
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Auto
from headstart_server.learning.metrics.metrics import MetricsSource, measure

#: Maximum number of labeled examples.
MAX_EXAMPLES = 1500
#: Number of random splits into training and test examples; their mean varies less than one split.
SPLITS = 5
#: Rounds of the speed measurement, and CPU seconds of each round.
ROUNDS, ROUND_SECONDS = 5, 0.4
#: Maximum inputs from which batches of one shape are formed.
SPEED_ROWS = 100

Views = dict[str, Float32]


def prove(floating: Backbone, quantized: Backbone, samples: Path | None = None) -> QuantizationProof:
    """Fit heads on features of both backbones, and measure them and the speed of both.

    Args:
        samples: folder with one subfolder of labeled examples for each class; None for samples of packages.

    Raises:
        ValueError: the folder has fewer than two classes, or one of them has fewer than ten examples.
        OSError: a sample cannot be read.
    """
    modality = floating.info.modality
    dataset, examples = labeled_examples(modality, samples)
    contents = [content for content, _ in examples]
    names, labels = np.unique([label for _, label in examples], return_inverse=True)
    rows = [floating.decode(content) for content in contents]
    both = [_features(backbone, rows) for backbone in (floating, quantized)]
    digests = [content_digest(content) for content in contents]
    measured = np.array(
        [
            [_measured(views, labels, list(names), digests, seed=seed, modality=modality) for views in both]
            for seed in range(SPLITS)
        ]
    ).mean(axis=0)
    proof = QuantizationProof(
        dataset=dataset,
        example_count=len(contents),
        float_runtime="",
        float_accuracy=float(measured[0, 0]),
        accuracy=float(measured[1, 0]),
        float_calibration_error=float(measured[0, 1]),
        calibration_error=float(measured[1, 1]),
        float_rows_per_second=0.0,
        rows_per_second=0.0,
    )
    return measured_here(proof, floating, quantized, samples)


def labeled_examples(modality: Modality, samples: Path | None) -> tuple[str, Sequence[tuple[Content, str]]]:
    """Return the name and the labeled examples that `prove` uses; raise like `prove`."""
    dataset, examples = labeled_contents(modality, samples)
    used = examples[:MAX_EXAMPLES]
    names, counts = np.unique([label for _, label in used], return_counts=True)
    if len(names) < 2 or counts.min() < 10:
        raise ValueError(
            f"Expected at least 2 classes with 10 examples each in {dataset}. Received: "
            f"{len(names)} classes, the smallest with {counts.min()} examples."
        )
    return dataset, used


def measured_here(
    proof: QuantizationProof, floating: Backbone, quantized: Backbone, samples: Path | None = None
) -> QuantizationProof:
    """Return a proof with the speed of both backbones on this machine; see `prove`."""
    _, examples = labeled_contents(floating.info.modality, samples)
    rows = [floating.decode(content) for content, _ in examples[:SPEED_ROWS]]
    speeds = np.median(
        [[_rows_per_second(backbone, rows) for backbone in (floating, quantized)] for _ in range(ROUNDS)],
        axis=0,
    )
    return replace(
        proof,
        float_runtime=floating.runtime,
        float_rows_per_second=float(speeds[0]),
        rows_per_second=float(speeds[1]),
        processor=processor(),
    )


def _features(backbone: Backbone, rows: Sequence[np.ndarray]) -> Views:
    """Return the views of rows, each computed alone, because rows of texts differ in length."""
    found = [backbone.run(row[None]) for row in rows]
    return {view: np.concatenate([each[view] for each in found]) for view in backbone.info.views}


def _measured(
    views: Views, labels: Ints, names: list[str], digests: Sequence[str], *, seed: int, modality: Modality
) -> tuple[float, float]:
    """Fit a head on a random half, and return its accuracy and calibration error on the other half."""
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]
    fitted = fit(
        Auto(),
        {view: rows[train] for view, rows in views.items()},
        Targets.of_labels(labels[train], names),
        [digests[place] for place in train],
        seed=0,
        modality=modality,
    )
    outputs = fitted.head.outputs({view: rows[test] for view, rows in views.items()})
    metrics = measure(
        Targets.of_labels(labels[test], names), outputs, fitted.head.thresholds, source=MetricsSource.HELD_OUT
    )
    return metrics.accuracy or 0.0, metrics.calibration_error or 0.0


def _rows_per_second(backbone: Backbone, rows: Sequence[np.ndarray]) -> float:
    """Return the rows per CPU second of one thread, in batches of rows of the same shape."""
    shape = rows[0].shape
    batch = np.stack([row for row in rows if row.shape == shape][: backbone.batch])
    backbone.run(batch)
    count, start = 0, time.thread_time()
    while time.thread_time() - start < ROUND_SECONDS:
        backbone.run(batch)
        count += len(batch)
    return count / (time.thread_time() - start)
