"""Labels in results."""

from collections.abc import Mapping
from typing import TypeAlias

LabelValue: TypeAlias = str | tuple[str, ...] | float | Mapping[str, float] | None
"""A class, all classes of a multi-label task, a number, or classes with probabilities; None if unknown."""


def label_text(label: LabelValue) -> str:
    """Return a label in words."""
    if label is None or label in ("", ()):
        return "no class"
    if isinstance(label, float):
        return f"{label:.6g}"
    return label if isinstance(label, str) else ", ".join(label)
