"""A scikit-learn classifier that a Headstart server trains and serves; needs the extra `sklearn`.

Examples:
    >>> from headstart.sklearn import HeadstartClassifier
    >>> classifier = HeadstartClassifier(model="wine").fit(X_train, y_train)
    >>> classifier.score(X_test, y_test)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from headstart.client import Client
from headstart.inputs.inputs import Example, Text
from headstart.results import Prediction
from headstart.spec import Recipe, RecipeName

__all__ = ["HeadstartClassifier"]


class HeadstartClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classify rows of numbers, texts or images with a version that a Headstart server trained.

    Each fit makes a new version of the model, and the fitted classifier predicts by that version. It can be
    pickled: the version stays on the server.

    Args:
        model: the name of the model.
        inputs: ``features``: rows of numbers, of shape [samples, features]; ``texts``: a sequence of texts;
            ``images``: a sequence of paths, bytes, arrays or images of Pillow.
        backbone: the backbone's name. None: none for rows of numbers, else the server's default.
        recipe: as in `SpecSettings`.
        random_state: the seed of every random choice.
        settings: further settings of `Client.fine_tune`, such as ``{"alias": "stable"}``.
        server: as for `Client`, which reads the environment for everything else.
        timeout: maximum seconds that a fit waits for its version. None: no limit.

    Attributes:
        classes_: the classes, sorted.
        version_: the number of the version.
        n_features_in_: the number of features; of rows of numbers only.
    """

    def __init__(
        self,
        model: str = "sklearn",
        *,
        inputs: Literal["features", "texts", "images"] = "features",
        backbone: str | None = None,
        recipe: Recipe | RecipeName | None = None,
        random_state: int = 0,
        settings: Mapping[str, Any] | None = None,
        server: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.backbone = backbone
        self.recipe = recipe
        self.random_state = random_state
        self.settings = settings
        self.server = server
        self.timeout = timeout

    def fit(self, X: Any, y: Any) -> "HeadstartClassifier":
        """Train a new version of the model on labeled samples.

        Args:
            X: the inputs.
            y: their classes: strings, integers or bools.

        Raises:
            ValueError: the samples have fewer than 2 classes, or cannot be used.
            HeadstartError: the server does not accept the samples, or the job fails.
        """
        samples, labels = self._checked(X, y)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} requires 2 classes or more. Received: 1 class")
        names = [str(each) for each in self.classes_]
        examples = [Example(each, names[index]) for each, index in zip(samples, indices, strict=True)]
        with Client(self.server) as client:
            job = client.fine_tune(
                examples,
                model=self.model,
                backbone=self.backbone or self._default_backbone(),
                recipe=self.recipe,
                seed=self.random_state,
                **dict(self.settings or {}),
            )
            self.version_ = job.result(self.timeout).version
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the calibrated probabilities of all classes, of shape [samples, classes]."""
        check_is_fitted(self, "version_")
        samples, _ = self._checked(X)
        with Client(self.server) as client:
            predictions = client.predict(samples, model=self.model, version=self.version_, top_k=None)
        return self._probabilities(predictions)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each sample."""
        places = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[places])

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.inputs == "features"
        tags.input_tags.string = self.inputs == "texts"
        return tags

    def _checked(self, X: Any, y: Any = "no_validation") -> tuple[list[Any], Any]:
        """Return the inputs of samples and their labels; without labels the inputs and None."""
        is_fit = not (isinstance(y, str) and y == "no_validation")
        if self.inputs == "features":
            checked = validate_data(self, X, y, reset=is_fit, dtype=np.float32)
            rows, labels = checked if is_fit else (checked, None)
            samples: list[Any] = list(rows)
        elif self.inputs in ("texts", "images"):
            samples = [Text(each) for each in X] if self.inputs == "texts" else list(X)
            labels = column_or_1d(y, warn=True) if is_fit else None
        else:
            raise ValueError(f"inputs must be features, texts or images. Received: {self.inputs!r}")
        if is_fit:
            check_classification_targets(labels)
        return samples, labels

    def _default_backbone(self) -> str | None:
        return f"features:{self.n_features_in_}" if self.inputs == "features" else None

    def _probabilities(self, predictions: Sequence[Prediction]) -> NDArray[np.float64]:
        place = {str(name): index for index, name in enumerate(self.classes_)}
        probabilities = np.zeros((len(predictions), len(self.classes_)))
        for row, prediction in zip(probabilities, predictions, strict=True):
            for each in prediction.classes:
                row[place[each.name]] = each.probability
        return probabilities
