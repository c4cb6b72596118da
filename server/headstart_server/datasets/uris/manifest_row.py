"""What a list of examples names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One example of a list.

    Attributes:
        line: the number of its last line, from 1.
        path: where its content lies, from the list's own folder, or a URI; empty if it has another content.
        text: its content; empty if it has another.
        features: its content; None if it has another.
        id: its name; may be empty.
        held_out: whether it is kept out of training.
        weight: how much it counts.
    """

    line: int
    path: str
    text: str
    features: NDArray[np.float64] | None
    target: Target
    id: str
    held_out: bool
    weight: float


#: Reads a list by its name, content and task; raises ValueError, naming the line, if it is invalid.
ReadManifest: TypeAlias = Callable[[str, bytes, Task | None], Iterator[ManifestRow]]
