"""The kinds of task that a head can be fitted to."""

from enum import StrEnum


class Task(StrEnum):
    """The kind of label that a head predicts.

    SINGLE_LABEL: one of several classes; probabilities sum to 1.
    MULTI_LABEL: any number of classes, each with its own probability.
    REGRESSION: a number.
    """

    SINGLE_LABEL = "single_label"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"
