"""The kind of label that a version predicts."""

from enum import StrEnum
from typing import Literal, TypeAlias

TaskName: TypeAlias = Literal["single_label", "multi_label", "regression"]


class Task(StrEnum):
    """The kind of label: one class of several, any number of classes, or a number.

    UNSPECIFIED: a task that this client or server does not know.
    """

    UNSPECIFIED = "UNSPECIFIED"
    SINGLE_LABEL = "SINGLE_LABEL"
    MULTI_LABEL = "MULTI_LABEL"
    REGRESSION = "REGRESSION"


def parse_task(task: Task | str) -> Task:
    """Return a task by its name, such as ``multi_label`` or ``multi-label``."""
    name = task.upper().replace("-", "_")
    if name not in Task.__members__ or name == Task.UNSPECIFIED:
        known = ", ".join(each.lower() for each in Task if each is not Task.UNSPECIFIED)
        raise ValueError(f"task must be one of {known}. Received: {str(task)!r}")
    return Task(name)
