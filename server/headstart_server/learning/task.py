"""The kinds of task a head can be fitted to."""

from enum import StrEnum


class Task(StrEnum):
    """What a head answers.

    SINGLE_LABEL: one class of many; its probabilities sum to 1.
    MULTI_LABEL: for each class by itself whether it applies; there may be none or several.
    REGRESSION: a number.
    """

    SINGLE_LABEL = "single_label"
    MULTI_LABEL = "multi_label"
    REGRESSION = "regression"
