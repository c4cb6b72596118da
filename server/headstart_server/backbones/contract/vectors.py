"""Features that callers computed themselves: validation without a network."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import (
    LAST,
    BackboneInfo,
    Content,
    Modality,
    Truncation,
    Views,
)
from headstart_server.backbones.contract.runtimes import Precision
from headstart_server.backbones.contract.tail import Tail, TailMismatch, TailPlan, TailWeights
from headstart_server.errors import UndecodableInput, WrongModality

#: Maximum numbers in one input.
MAX_SIZE = 65_536

#: Changes whenever the same array gives other features.
PREPROCESSING = "vectors/1: as they are, in float32"

#: Rows of a batch; returning them costs nothing, so this only limits the size of a result.
BATCH = 32


class TensorDecoder:
    """Convert arrays of `size` numbers to rows. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size

    def decode(self, content: Content) -> NDArray[np.float32]:
        """Convert one array of floats or integers, [size], to features, float32 [size].

        Raise WrongModality if the content is not an array of floats or integers, and UndecodableInput if it
        has another shape, or a number that is not finite in float32.
        """
        if not isinstance(content, np.ndarray):
            kind = "a text" if isinstance(content, str) else "bytes"
            raise WrongModality(f"Expected {self._expected()}. Received: {kind}.")
        if content.dtype.kind not in "fiu":
            raise WrongModality(f"Expected {self._expected()}. Received: {content.dtype}.")
        if content.shape != (self._size,):
            raise UndecodableInput(
                f"Expected {self._expected()}. Received: {content.dtype} of shape {list(content.shape)}."
            )
        # A copy, because the array may be a view of a whole message.
        if content.dtype == np.float32:
            row = content.astype(np.float32)
        else:
            with np.errstate(over="ignore"):
                row = content.astype(np.float32)
        finite = np.isfinite(row)
        if not finite.all():
            place = int(np.argmin(finite))
            raise UndecodableInput(
                f"Expected {self._expected()}, each finite in float32. "
                f"Received: {content[place]} at index {place}, and {int((~finite).sum())} such in all."
            )
        return row

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.float32], None]:
        """Return the row of `decode`, which is never truncated."""
        return self.decode(content), None

    def truncation(self, content: Content) -> Truncation | None:
        """Return None: arrays are never truncated."""

    def _expected(self) -> str:
        return f"an array of {self._size} floats or integers, of shape [{self._size}]"


class IdentityRuntime:
    """A `Runtime` without a network: the only view of a row is the row itself."""

    name = "identity float32"
    precision = Precision.FLOAT32
    stream_per_core = True
    on_device = False
    is_immediate = True
    batch = BATCH
    streams = 1

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:  # noqa: ARG002 - none
        """Return the rows, float32 [n, size]. Thread-safe."""
        return {LAST: rows.astype(np.float32)}

    def most_rows(self, shape: tuple[int, ...]) -> int | None:  # noqa: ARG002 - there is one
        """Return None: shapes do not matter."""
        return None

    def tail(self, plan: TailPlan, weights: TailWeights) -> Tail:  # noqa: ARG002 - no network
        """Raise `TailMismatch`: there is no network to cut."""
        raise TailMismatch("The backbone has no network, so it has no tail. Use another backbone.")


#: Prefix of the names of these backbones, before the size.
FAMILY = "features:"


def size_of(name: str) -> int | None:
    """Return the size in a name of this family; None for other names."""
    digits = name.removeprefix(FAMILY)
    if not name.startswith(FAMILY) or not digits.isascii() or not digits.isdigit() or digits[0] == "0":
        return None
    return size if len(digits) <= 5 and (size := int(digits)) <= MAX_SIZE else None


def info(name: str, size: int) -> BackboneInfo:
    """Return the metadata of the backbone of a size."""
    return BackboneInfo(
        name=name,
        modality=Modality.TENSOR,
        views={LAST: size},
        input_size=(size,),
        parameter_count=0,
        source="the caller",
        license="",
        description=f"No network: the inputs are features, arrays of {size} numbers.",
    )
