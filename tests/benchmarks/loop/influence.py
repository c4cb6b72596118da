"""Influence of training examples against real least-squares fits without the example."""

import numpy as np

from headstart_server.learning.examples.target import Target, Targets, balancing
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.influence import RidgeInfluence
from headstart_server.learning.heads.recipe import Auto, Ridge
from loop.measurement import Options, Result

EXAMPLES, SIZE, CLASSES = 400, 256, 5
INPUTS, LEFT_OUT = 10, 10
LIMIT = 1e-6


def measure(options: Options) -> Result:
    """Compare 100 pairs of an input and an example; the short form is the same."""
    del options
    rng = np.random.default_rng(0)
    centers, classes = rng.normal(size=(CLASSES, SIZE)), rng.integers(CLASSES, size=EXAMPLES + INPUTS)
    features = np.abs(rng.normal(size=(len(classes), SIZE)) + centers[classes]).astype(np.float32)
    views = {"last": features[:EXAMPLES], "taps": features[:EXAMPLES] ** 2}
    inputs = {"last": features[EXAMPLES:], "taps": features[EXAMPLES:] ** 2}
    targets = Targets.from_targets([Target.of_label(str(each)) for each in classes[:EXAMPLES]])
    made = fit(Auto(), views, targets, [f"{place:06d}" for place in range(EXAMPLES)], seed=0)
    assert isinstance(made.recipe, Ridge)
    influence = RidgeInfluence(made.head, made.recipe, views, targets)
    found = influence.influences(inputs, EXAMPLES)
    full = _scores(made.recipe, views, targets, inputs, -1)
    worst = 0.0
    for example in rng.choice(EXAMPLES, LEFT_OUT, replace=False).tolist():
        without = _scores(made.recipe, views, targets, inputs, example)
        for place, ranked in enumerate(found):
            column = int(full[place].argmax())
            change = next(each.score_change for each in ranked if each.place == example)
            worst = max(worst, abs(change - (without[place, column] - full[place, column])))
    return Result(value=f"{worst:.1e} at most, {INPUTS * LEFT_OUT} pairs", met=worst <= LIMIT)


def _scores(
    recipe: Ridge, views: dict[str, Float32], targets: Targets, inputs: dict[str, Float32], left_out: int
) -> Float64:
    """Return the scores of inputs by a least-squares fit without an example."""
    rows = FeatureMatrix(views, recipe.views, recipe.scaling)
    matrix = np.concatenate([block for _, block in rows.blocks()])
    weights = targets.weights * balancing(targets) if recipe.balanced else targets.weights
    kept = np.arange(len(matrix)) != left_out
    roots = np.sqrt(weights[kept])[:, None]
    left = np.hstack([matrix[kept], np.ones((kept.sum(), 1))]) * roots
    penalty = np.sqrt(recipe.regularization or 0.0) * np.eye(rows.size, rows.size + 1)
    zeros = np.zeros((rows.size, targets.matrix.shape[1]))
    right = np.concatenate([targets.matrix[kept] * roots, zeros])
    solution = np.linalg.lstsq(np.concatenate([left, penalty]), right, rcond=None)[0]
    scores: Float64 = rows.transformed(inputs) @ solution[:-1] + solution[-1]
    return scores
