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
    """One example of a list."""

    line: int  # the number of its last line, from 1
    path: str  # where its content lies, from the list's own folder, or a URI; empty if it has another content
    text: str  # its content; empty if it has another
    features: NDArray[np.float64] | None  # its content; None if it has another
    target: Target
    id: str  # its name; may be empty
    held_out: bool  # whether it is kept out of training
    weight: float  # how much it counts


#: Reads a list by its name, content and task; raises ValueError, naming the line, if it is invalid.
ReadManifest: TypeAlias = Callable[[str, bytes, Task | None], Iterator[ManifestRow]]
