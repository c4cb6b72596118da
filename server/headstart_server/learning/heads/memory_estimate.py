"""Estimates of the memory of a fine-tune, from the sizes of its arrays.

Each function adds up the arrays that a step holds at its peak. The tests measure real runs of the recipes: an
estimate is at least the measured memory, and at most three times as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.features.feature_matrix import BLOCK
from headstart_server.learning.features.result_cache import MAX_BYTES, ROWS
from headstart_server.learning.heads.mlp import HIDDEN_UNITS, MOST_AXES
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, required_views

#: Bytes of a number in stored features, and in solvers.
_SINGLE, _DOUBLE = 4, 8
#: Constant bytes of a run: code, small arrays, blocks of products.
_BASE = 64 << 20
#: Bytes of an example without its features: list entries, digests and outcome.
_EXAMPLE = 4096
#: Bytes of each further class of a label: its probability in the list of examples, which is also encoded.
FURTHER_CLASS = 200
#: Maximum number of folds if the recipe leaves it open.
_FOLDS = 5
#: Bytes of TensorFlow and Keras in the process that trains a network.
_TRAINER = 1 << 30
#: Examples up to which near-duplicates are searched in the features, and dimensions of the projection above.
_UNPROJECTED, _PROJECTED = 2000, 128
#: Pairs of examples in memory, a byte each, and examples on each side of a tile of distances.
_PAIRS, _TILE = 1 << 24, 1024
#: Maximum number of examples of the learning curve.
_CURVE = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """The sizes of a fine-tune."""

    examples: int
    views: Mapping[str, int]  # number of features by view
    outputs: int  # number of classes, or 1 for numbers
    further_classes: int = 0  # classes in all labels together, besides one of each example


def estimated_bytes(recipe: Recipe, sizes: Sizes) -> int:
    """Return the estimated peak memory of a fine-tune in bytes, without the backbone."""
    names = required_views(recipe, sizes.views)
    features = sizes.examples * _width(sizes, names) * _SINGLE
    # Rows as given, and the matrices built from them.
    gathered = 2 * features
    # The matrices, and those of the training examples if others are held out.
    kept = 2 * features
    step = max(_alike(sizes, names), _fit(recipe, sizes), _assessment(sizes, names))
    remembered = _remembered(sizes, names)
    listed = sizes.examples * _EXAMPLE + sizes.further_classes * FURTHER_CLASS
    return int(_BASE + listed + max(gathered, kept + step + remembered))


def _remembered(sizes: Sizes, names: tuple[str, ...]) -> float:
    """Return the bytes of a solved candidate that the cache keeps while another is solved."""
    if not ROWS[0] <= sizes.examples <= ROWS[1]:
        return 0.0
    return min(MAX_BYTES, _DOUBLE * sizes.examples * (_width(sizes, names) + sizes.examples))


def _fit(recipe: Recipe, sizes: Sizes) -> float:
    if isinstance(recipe, Auto):
        names = required_views(recipe, sizes.views)
        return max(
            _ridge(sizes, _width(sizes, names[:1]), _FOLDS), _ridge(sizes, _width(sizes, names), _FOLDS)
        )
    width = _width(sizes, required_views(recipe, sizes.views))
    folds = recipe.folds or _FOLDS
    if isinstance(recipe, Logistic):
        return _logistic(sizes, width)
    if isinstance(recipe, Mlp):
        return _mlp(sizes, width, folds, recipe.hidden_units or HIDDEN_UNITS)
    if isinstance(recipe, Partial):
        return _ridge(sizes, width, folds) + _TRAINER
    return _ridge(sizes, width, folds)


def _ridge(sizes: Sizes, width: int, folds: int) -> float:
    """Return the bytes of ridge: eigenvectors [N, N], or with N > D, sums [D, D] by fold."""
    count, outputs = sizes.examples, sizes.outputs
    scores = 8 * count * outputs
    solution = 4 * width * outputs
    if count <= width:
        # The rows, centered and weighted, with a copy; the product, its eigenvectors and their workspace.
        rows = max(3 * _DOUBLE * count * width, _DOUBLE * count * width + _block(sizes, width))
        return rows + _DOUBLE * (4 * count * count + scores + solution)
    system = width * width
    return _DOUBLE * ((folds + 6) * system + scores + (folds + 4) * solution) + _block(sizes, width)


def _logistic(sizes: Sizes, width: int) -> float:
    """Return the bytes of logistic regression: rows, a copy without a fold, and the span of few rows."""
    count, outputs = sizes.examples, sizes.outputs
    rows = count * min(count, width)
    span = count * width * 2 + 4 * count * count if count < width else count * width
    steps = 28 * min(count, width) * outputs
    made = max(_DOUBLE * span, _DOUBLE * rows + _block(sizes, width))
    return max(made, 2 * _DOUBLE * rows) + _DOUBLE * (rows + steps + 8 * count * outputs)


def _mlp(sizes: Sizes, width: int, folds: int, units: int) -> float:
    """Return the bytes of all networks: axes, features on them, weights and moments."""
    count, outputs = sizes.examples, sizes.outputs
    axes = min(count, width, MOST_AXES)
    least = min(count, width)
    whitening = 4 * count * width + 5 * least * least
    member = width * axes + count * axes + 5 * (axes * units + units * outputs)
    return _SINGLE * (whitening + (folds + 1) * member) + _DOUBLE * 4 * count * outputs + _block(sizes, width)


def _alike(sizes: Sizes, names: tuple[str, ...]) -> float:
    """Return the bytes of the near-duplicate search: rows, pairs, a tile of distances, blocks."""
    count, width = sizes.examples, sizes.views[LAST] if LAST in names else _width(sizes, names[:1])
    searched = width if count <= _UNPROJECTED or width <= _PROJECTED else _PROJECTED
    pairs = min(count * count, _PAIRS) + _DOUBLE * 4 * min(count, _TILE) ** 2
    return _SINGLE * 5 * count * searched + pairs + 2 * _block(sizes, width)


def _assessment(sizes: Sizes, names: tuple[str, ...]) -> float:
    """Return the bytes of a version's evidence: matrices of training rows, and a byte for each number."""
    width = _width(sizes, names)
    index = 3 * sizes.examples * width
    curve = Sizes(examples=min(sizes.examples, _CURVE), views=sizes.views, outputs=sizes.outputs)
    return max(
        _SINGLE * sizes.examples * width + index + _block(sizes, width),
        _SINGLE * curve.examples * width + _ridge(curve, width, 0),
    )


def _block(sizes: Sizes, width: int) -> float:
    """Return the bytes of a block of rows in double precision, with the copies of its scaling."""
    return _DOUBLE * 3 * min(sizes.examples, BLOCK) * width


def _width(sizes: Sizes, names: tuple[str, ...]) -> int:
    return sum(sizes.views.get(name, 0) for name in names)
