"""Keras layers that compute the same as PyTorch's, with weights from a state dict."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.runtimes.keras_import import UNSET, load_keras
from headstart_server.backbones.sources.source import SourceError

#: Default epsilon of PyTorch's batch normalization.
_EPSILON = 1e-5
#: Counters of a batch normalization in training, unused in inference.
_COUNTS = ".num_batches_tracked"


class TorchLayers:
    """Add layers to a graph under PyTorch's names, and record the tensors that they use.

    Args:
        state: tensors by the names of a PyTorch module.
    """

    def __init__(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        self._layers = load_keras().layers
        self._left = dict(state)
        self._faults: list[str] = []

    def check(self, unread: Collection[str]) -> None:
        """Reject a state dict whose tensors differ from the used ones.

        Args:
            unread: names of tensors that may remain unused.

        Raises:
            SourceError: tensors are missing, have another shape, or are unused.
        """
        left = [name for name in self._left if name not in unread and not name.endswith(_COUNTS)]
        faults = [*self._faults, *(f"{name} is not one of them" for name in sorted(left))]
        if faults:
            more = f"; and {len(faults) - 6} more" if len(faults) > 6 else ""
            raise SourceError(
                f"Expected the tensors of the architecture. Received: {'; '.join(faults[:6])}{more}."
            )

    def convolution(
        self,
        x: Any,
        name: str,
        norm: str,
        *,
        filters: int,
        kernel: int,
        stride: int = 1,
        called: str | None = None,
    ) -> Any:
        """Add a convolution without bias and the batch normalization after it, as one layer."""
        layer = self._layers.Conv2D(filters, kernel, stride, kernel_initializer=UNSET, name=called or name)
        return self._weighted(self._padded(x, kernel), layer, (2, 3, 1, 0), name, norm)

    def depthwise(self, x: Any, name: str, norm: str, *, kernel: int, stride: int) -> Any:
        """Add a depthwise convolution and the batch normalization after it, as one layer."""
        layer = self._layers.DepthwiseConv2D(kernel, stride, depthwise_initializer=UNSET, name=name)
        return self._weighted(self._padded(x, kernel), layer, (2, 3, 0, 1), name, norm)

    def max_pooling(self, x: Any) -> Any:
        """Add 3 x 3 max pooling by 2 of non-negative values: zeros around them change nothing."""
        return self._layers.MaxPooling2D(3, 2, name="maxpool")(self._layers.ZeroPadding2D(1)(x))

    def relu(self, x: Any, name: str | None = None) -> Any:
        """Add a ReLU."""
        return self._layers.ReLU(name=name)(x)

    def relu6(self, x: Any, name: str | None = None) -> Any:
        """Add a ReLU limited to 6."""
        return self._layers.ReLU(max_value=6.0, name=name)(x)

    def sum(self, x: Any, y: Any, name: str | None = None) -> Any:
        """Add two values."""
        return self._layers.Add(name=name)([x, y])

    def _padded(self, x: Any, kernel: int) -> Any:
        """Pad zeros equally on all sides, because Keras would pad more to the right and below."""
        return self._layers.ZeroPadding2D(kernel // 2)(x) if kernel > 1 else x

    def _weighted(self, x: Any, layer: Any, axes: Sequence[int], name: str, norm: str) -> Any:
        y = layer(x)
        kernel, bias = layer.weights
        channels = (int(bias.shape[0]),)
        stored = tuple(int(kernel.shape[axes.index(axis)]) for axis in range(4))
        weight = self._tensor(f"{name}.weight", stored)
        scale, offset, mean, variance = (
            self._tensor(f"{norm}.{part}", channels)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        weight = weight * factor[:, None, None, None]
        layer.set_weights([weight.transpose(axes), offset - mean * factor])
        return y

    def _tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return a tensor; ones instead of a faulty one, so that all faults are reported together."""
        tensor = self._left.pop(name, None)
        if tensor is not None and tensor.shape == shape:
            return tensor.astype(np.float64)
        received = "is missing" if tensor is None else f"has shape {list(tensor.shape)}, not {list(shape)}"
        self._faults.append(f"{name} {received}")
        return np.ones(shape)
