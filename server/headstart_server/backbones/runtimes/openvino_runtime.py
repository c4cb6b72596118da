"""Execution in OpenVINO, the fastest runtime on CPUs, without importing Keras or TensorFlow."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Views
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.contract.runtimes import Precision, RuntimeSettings
from headstart_server.backbones.contract.tail import TailPlan, TailWeights
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.runtimes.openvino_tail import OpenVinoTail

#: Rows of a batch. Longer batches are hardly faster on a CPU, because the streams occupy the cores.
BATCH = 2
#: Batch sizes that a stream is compiled for. OpenVINO computes a row in 0.91 of the time if it knows
#: the number of rows, and in 0.83 if there are two.
SIZES = (BATCH, 1)
#: Batch size of a stream if rows have several lengths: dynamic, with dynamic length. Networks for
#: each length take too much memory (docs/lab/backbones.md).
ANY = -1
#: Maximum rows of a batch if rows have several lengths, as texts do. A batch of eight rows of 16 IDs takes
#: 0.6 of the time of batches of two; with 32 IDs it takes 0.8.
TOKEN_BATCH = 8
#: IDs above which a batch is not faster per row: from a length of 128, two rows are as fast as any number.
BATCH_TOKENS = 256
#: Changes with the output of a preparation, so that preparations of earlier releases are repeated.
FORM = "card3"
#: File name of the converted network; its weights are in the same folder.
NETWORK_FILE = "network.xml"


#: The infer requests of one stream, by the number of rows.
_Stream = dict[int, Any]


class OpenVinoRuntime:
    """Runs a converted network. A row's features do not depend on its batch, bit by bit.

    Each stream has separate compiled networks, one per batch size, which run in the calling thread. For rows
    of several lengths, such as texts, there is one for all sizes. With a shared compiled network, streams
    would pass batches to OpenVINO's threads, which are pinned to cores that the server also needs.

    Args:
        path: converted network, from [n, ...] to outputs of [n, size]. A dynamic dimension of rows is their
            length, and their only dimension.
        cuts: outputs that are activations at cuts; returned on request only.
        quantized_from: the same network in floating point, in which tails run; None if `path` is that.
    """

    def __init__(
        self,
        path: Path,
        settings: RuntimeSettings,
        cuts: Collection[str] = (),
        *,
        quantized_from: Path | None = None,
    ) -> None:
        precision = settings.precision or Precision.FLOAT32
        cores = available_cores()
        core = load_openvino().Core()
        network = core.read_model(path)
        properties = {
            # Always set, because on some processors OpenVINO would choose bfloat16.
            "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BFLOAT16 else "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": max(1, cores // settings.streams),
            "ENABLE_CPU_PINNING": False,
        }
        self._float_path, self._properties = quantized_from or path, properties
        self._cuts = frozenset(cuts)
        self._names = [output.get_any_name() for output in network.outputs]
        #: Free streams; last in, first out, so that a single caller finds warm caches.
        self._free: LifoQueue[_Stream] = LifoQueue()
        _, *shape = network.input(0).get_partial_shape()
        self._has_lengths = any(dimension.is_dynamic for dimension in shape)
        sizes = (ANY,) if self._has_lengths else SIZES
        for stream in _streams(core, network, properties, settings.streams, sizes):
            self._free.put(stream)
        self.precision = Precision.INT8 if quantized_from else precision
        self.streams = settings.streams
        self.on_device = False
        self.stream_per_core = settings.streams >= cores
        self.is_immediate = False
        self.batch = TOKEN_BATCH if self._has_lengths else BATCH
        self.name = f"openvino {self.precision.value}"

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Compute features of rows.

        Args:
            rows: [n, ...] in the network's input dtype, n >= 1. Callable from many threads; as many run
                concurrently as there are streams.
            cuts: cuts whose activations are returned too; the network computes them anyway, so the views are
                bitwise the same.

        Returns:
            By name float32 [n, size], and for a cut [n, height, width, channels].
        """
        unwanted = self._cuts.difference(cuts)
        stream = self._free.get()
        try:
            parts = [self._infer(stream, part, unwanted) for part in self._parts(rows)]
        finally:
            self._free.put(stream)
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """Return the rows of a shape that use a stream fully, if fewer than `batch`."""
        if not self._has_lengths:
            return None
        return min(TOKEN_BATCH, max(BATCH, BATCH_TOKENS // shape[0]))

    def tail(self, plan: TailPlan, weights: TailWeights) -> OpenVinoTail:
        """Return a tail of this network; raise `TailMismatch` if the weights do not fit the plan."""
        return OpenVinoTail(self._float_path, plan, weights, self._properties, streams=self.streams)

    def _infer(self, stream: _Stream, rows: NDArray[np.generic], unwanted: Collection[str]) -> Views:
        request = stream[ANY if self._has_lengths else len(rows)]
        request.infer({0: rows}, share_inputs=True)
        # Copied, because the next call overwrites the request's memory.
        return {
            name: request.get_output_tensor(place).data.copy()
            for place, name in enumerate(self._names)
            if name not in unwanted
        }

    def _parts(self, rows: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
        """Split rows into parts of compiled sizes, none longer than useful."""
        most = self.most_rows(rows.shape[1:])
        if most is None:
            yield from _parts(rows)
        else:
            yield from (rows[start : start + most] for start in range(0, len(rows), most))


def _streams(
    core: Any, network: Any, properties: Mapping[str, object], count: int, sizes: Sequence[int]
) -> Iterator[_Stream]:
    requests: dict[int, list[Any]] = {}
    for size in sizes:
        sized = network.clone()
        _, *shape = sized.input(0).get_partial_shape()
        sized.reshape([size, *shape])
        compiled = (core.compile_model(sized, "CPU", properties) for _ in range(count))
        requests[size] = [one.create_infer_request() for one in compiled]
    for place in range(count):
        yield {size: requests[size][place] for size in sizes}


def _parts(rows: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """Split rows into parts of compiled sizes."""
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
