"""Executes a network in OpenVINO, the fastest runtime on CPUs, without importing Keras or TensorFlow."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import Views
from headstart_server.backbones.cores import available_cores
from headstart_server.backbones.openvino_import import load_openvino
from headstart_server.backbones.openvino_tail import OpenVinoTail
from headstart_server.backbones.runtimes import Precision, RuntimeSettings
from headstart_server.backbones.tail import TailPlan, TailWeights

#: Rows of a batch. Longer ones are hardly faster on a CPU, where the streams fill the cores.
BATCH = 2
#: Numbers of rows that a stream is compiled for. OpenVINO computes a row in 0.91 of the time when it knows
#: how many there are, and in 0.83 when they are two.
SIZES = (BATCH, 1)
#: Changes with what a preparation writes, so that one of an earlier release is made anew.
FORM = "card1"
#: The converted network's file; its weights lie beside it.
NETWORK_FILE = "network.xml"


#: The infer requests of one stream, by the shape of rows.
_Stream = dict[tuple[int, ...], Any]


class OpenVinoRuntime:
    """Runs a converted network. A row's features do not depend on its batch, bit by bit.

    Each stream has compiled networks of its own, one for each size of batch, which run in the thread that
    brings the batch. Where rows have several lengths, as texts do, it has one for each of those, too,
    compiled when the first row of the length comes: that takes 0.3 s once, and a row 0.8 of the time that a
    network for any length needs. Streams of one compiled network hand batches to OpenVINO's threads, pinned
    to cores that the rest of a server needs too.

    Args:
        path: the converted network, from [n, ...] to outputs of [n, size]. Dimensions that it leaves open
            are those of the rows that come; there must be few different ones.
        settings: precision and streams, with every choice made.
        cuts: names of the outputs that are activations at cuts; given only when asked for.
    """

    def __init__(self, path: Path, settings: RuntimeSettings, cuts: Collection[str] = ()) -> None:
        precision = settings.precision or Precision.FLOAT32
        cores = available_cores()
        core = load_openvino().Core()
        network = core.read_model(path)
        properties = {
            # Always named: on some processors OpenVINO would choose bfloat16 by itself.
            "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BFLOAT16 else "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": max(1, cores // settings.streams),
            "ENABLE_CPU_PINNING": False,
        }
        self._path, self._properties, self._cuts = path, properties, frozenset(cuts)
        self._core, self._network = core, network
        self._names = [output.get_any_name() for output in network.outputs]
        #: Streams that are free; last in, first out, so that one caller alone finds its caches warm.
        self._free: LifoQueue[_Stream] = LifoQueue()
        for _ in range(settings.streams):
            self._free.put({})
        _, *shape = network.input(0).get_partial_shape()
        if all(dimension.is_static for dimension in shape):
            self._compile_all([dimension.get_length() for dimension in shape], settings.streams)
        self.precision = precision
        self.streams = settings.streams
        self.stream_per_core = settings.streams >= cores
        self.batch = BATCH
        self.name = f"openvino {precision.value}"

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Features of rows.

        Args:
            rows: [n, ...] in the network's input dtype, n >= 1. May be called from many threads; as many run
                at once as there are streams.
            cuts: names of the cuts whose activations are wanted too. The network has them anyway, so the
                views are the same, bit by bit.

        Returns:
            By name float32 [n, size], and of a cut [n, height, width, channels].
        """
        unwanted = self._cuts.difference(cuts)
        stream = self._free.get()
        try:
            parts = [self._infer(stream, part, unwanted) for part in _parts(rows)]
        finally:
            self._free.put(stream)
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def tail(self, plan: TailPlan, weights: TailWeights) -> OpenVinoTail:
        """A tail of this network.

        Raises:
            TailMismatch: the weights do not fit the plan.
        """
        return OpenVinoTail(self._path, plan, weights, self._properties, streams=self.streams)

    def _infer(self, stream: _Stream, rows: NDArray[np.generic], unwanted: Collection[str]) -> Views:
        request = stream.get(rows.shape)
        if request is None:
            request = stream[rows.shape] = self._compiled(rows.shape)
        request.infer({0: rows}, share_inputs=True)
        # Copied: the request's own memory is written anew by the next call.
        return {
            name: request.get_output_tensor(place).data.copy()
            for place, name in enumerate(self._names)
            if name not in unwanted
        }

    def _compile_all(self, shape: Sequence[int], streams: int) -> None:
        """Compile every stream for rows of a shape, those of one size after each other."""
        free = [self._free.get() for _ in range(streams)]
        for size in SIZES:
            for stream in reversed(free):
                stream[size, *shape] = self._compiled((size, *shape))
        for stream in reversed(free):
            self._free.put(stream)

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        network = self._network.clone()
        network.reshape(list(shape))
        return self._core.compile_model(network, "CPU", self._properties).create_infer_request()


def _parts(rows: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """Rows in parts of the sizes that are compiled."""
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size
