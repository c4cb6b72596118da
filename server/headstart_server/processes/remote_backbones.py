"""Backbones of the engine: a serving process decodes inputs, and the engine runs their rows."""

import os
import pickle
import socket
import threading
import weakref
from collections.abc import Callable, Collection, Sequence

import numpy as np
import structlog
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import (
    LAST,
    Backbone,
    BackboneInfo,
    Views,
)
from headstart_server.backbones.contract.tail import Float32, TailWeights
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.backbones.contract.vectors import size_of
from headstart_server.embedding.backbone_pool import BackboneSource
from headstart_server.processes.engine_client import EngineClient, EngineConnection, engine_restarting
from headstart_server.processes.engine_service import OK, LoadedFacts, cut_names, outputs_of
from headstart_server.processes.shared_memory import OutputPlan, RowsRequest, SharedMemory

log = structlog.get_logger(__name__)

#: Maximum bytes of a reply, which only an error reaches.
_REPLY_BYTES = 1 << 16
#: Minimum concurrent batches of a process.
_MIN_STREAMS = 2


class EngineBackbones:
    """The backbones of the engine. Those without a network, `features:SIZE`, run in this process.

    Args:
        local: the same backbones in this process, for their metadata.
        engine: the engine.
        processes: number of serving processes, which share the engine's streams.
    """

    def __init__(self, local: BackboneSource, engine: EngineClient, *, processes: int) -> None:
        self.local = local
        self._engine = engine
        self._processes = processes
        self._infos: dict[str, BackboneInfo] = {}

    def list(self) -> Sequence[BackboneInfo]:
        """Return the known metadata of every listed backbone, from this process or the engine."""
        return [self._infos.get(info.name, info) for info in self.local.list()]

    def info(self, name: str) -> BackboneInfo:
        """Return the known metadata of one backbone, from this process or the engine."""
        return self._infos.get(name) or self.local.info(name)

    def prepare(self, name: str) -> BackboneInfo:
        """Let the engine, or the next one, prepare a backbone."""
        info = self.local.info(name)
        if size_of(name) is None and not info.is_prepared:
            _, info = self._engine.call_when_connected("prepare", name)
            self._infos[name] = info
        return info

    def load(self, name: str) -> Backbone:
        """Let the engine, or the next one, load a backbone."""
        if size_of(name) is not None:
            return self.local.load(name)
        facts: LoadedFacts
        connection, facts = self._engine.call_when_connected("load", name)
        self._infos[name] = facts.info
        streams = max(_MIN_STREAMS, -(-2 * facts.streams // self._processes))
        return RemoteBackbone(self._engine, _Attachment(connection, facts), streams=streams)

    def remaining(self, name: str) -> float | None:
        """Return the seconds until a backbone is prepared, if this process prepares it."""
        return self.local.remaining(name)

    def close(self) -> None:
        """Cancel preparations of this process, and wait for no engine any more."""
        self.local.close()
        self._engine.end_waits()


class RemoteBackbone:
    """A backbone of the engine; after a restart of the engine it is loaded there again.

    Args:
        engine: the engine.
        attachment: the backbone in the current engine process.
        streams: maximum concurrent batches of this process.
    """

    def __init__(self, engine: EngineClient, attachment: "_Attachment", *, streams: int) -> None:
        self._engine = engine
        self._attachment = attachment
        facts = attachment.facts
        self.info = facts.info
        self.digest = facts.digest
        self.runtime = facts.runtime
        self.decoder = facts.decoder
        self.decode = facts.decoder.decode
        self.decode_with_truncation = facts.decoder.decode_with_truncation
        self.truncation = facts.decoder.truncation
        self.streams = streams
        self.stream_per_core = False  # a batch in the engine uses no core of this process
        self.on_device = facts.on_device
        self.is_immediate = False
        self.batch = facts.batch
        self._lock = threading.Lock()

    def most_rows(self, shape: tuple[int, ...]) -> int | None:  # noqa: ARG002 - the engine divides batches
        return None

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        return self._run(rows, cuts, is_training=False)

    def run_training(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """As `run`, on the engine's train lane."""
        return self._run(rows, cuts, is_training=True)

    def tail(self, weights: TailWeights) -> "RemoteTail":
        tail = RemoteTail(self.attached, weights, self.info.views[LAST])
        # Checked now, because a mismatch is an error of its version.
        tail.number(self.attached())
        return tail

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        del progress
        attachment = self.attached()
        result: TailResult = attachment.connection.call(
            "train_tail", attachment.facts.number, request, checkpoint=checkpoint
        )
        return result

    def attached(self) -> "_Attachment":
        """Return the backbone in the current engine process, which loads it if necessary.

        Raise Loading if the engine is being restarted.
        """
        attachment = self._attachment
        if attachment.connection is self._engine.connection:
            return attachment
        with self._lock:
            connection = self._engine.current(self.info.name)
            if self._attachment.connection is not connection:
                facts: LoadedFacts = connection.call("load", self.info.name)
                if (facts.digest, facts.runtime) != (self.digest, self.runtime):
                    # Its features would differ, and this process may have tails and heads for the old ones.
                    log.warning("backbone_replaced", backbone=self.info.name)
                    self._engine.on_failure()
                    raise engine_restarting(self.info.name)
                self._attachment = _Attachment(connection, facts)
            return self._attachment

    def _run(self, rows: NDArray[np.generic], cuts: Collection[str], *, is_training: bool) -> Views:
        attachment = self.attached()
        request = RowsRequest(
            is_training=is_training,
            backbone=attachment.facts.number,
            cuts=sum(1 << place for place, name in enumerate(cut_names(self.info)) if name in cuts)
            if cuts
            else 0,
            tail=0,
            shape=rows.shape,
            dtype=rows.dtype,
        )
        outputs = attachment.outputs if not cuts else outputs_of(self.info, cuts)
        return attachment.run(request, rows, outputs, self.batch)


class RemoteTail:
    """A tail that the engine runs; a new engine process receives its weights again.

    Args:
        attached: returns the backbone in the current engine process.
        weights: its weights.
        size: size of its view.
    """

    def __init__(self, attached: Callable[[], "_Attachment"], weights: TailWeights, size: int) -> None:
        self._attached = attached
        self._weights = weights
        self._outputs = [(LAST, (size,))]
        self._lock = threading.Lock()
        self._number: tuple[EngineConnection, int] | None = None

    def number(self, attachment: "_Attachment") -> int:
        """Return its number in an engine process, which prepares it if necessary."""
        with self._lock:
            if self._number is None or self._number[0] is not attachment.connection:
                connection = attachment.connection
                number: int = connection.call("tail", attachment.facts.number, self._weights)
                self._number = connection, number
                weakref.finalize(self, connection.note, "drop_tail", number)
            return self._number[1]

    def run(self, activations: Float32) -> Float32:
        attachment = self._attached()
        request = RowsRequest(
            is_training=False,
            backbone=attachment.facts.number,
            cuts=0,
            tail=self.number(attachment),
            shape=activations.shape,
            dtype=activations.dtype,
        )
        return attachment.run(request, activations, self._outputs, len(activations))[LAST]


class _Attachment:
    """A backbone in one engine process, and the streams to it."""

    def __init__(self, connection: EngineConnection, facts: LoadedFacts) -> None:
        self.connection = connection
        self.facts = facts
        self.outputs = outputs_of(facts.info, ())
        # A list's pop and append are atomic. The last used stream is reused first: its memory is cached.
        self._idle: list[_Stream] = []

    def run(
        self,
        request: RowsRequest,
        rows: NDArray[np.generic],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        most_rows: int,
    ) -> dict[str, Float32]:
        """Let the engine compute the outputs of rows."""
        try:
            stream = self._idle.pop()
        except IndexError:
            stream = _Stream(self.connection)
        try:
            views = stream.run(request, rows, OutputPlan.of(request, outputs), most_rows)
        except OSError:
            raise engine_restarting(self.facts.info.name) from None
        self._idle.append(stream)
        return views


class _Stream:
    """A connection for one batch at a time, with its memory."""

    def __init__(self, connection: EngineConnection) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        weakref.finalize(self, self._socket.close)
        with other:
            connection.note("stream", files=(other.fileno(),))
        self._memory: SharedMemory | None = None

    def run(
        self, request: RowsRequest, rows: NDArray[np.generic], plan: OutputPlan, most_rows: int
    ) -> dict[str, Float32]:
        """Send rows and return their outputs.

        Raises:
            OSError: the engine ended.
            Exception: the engine could not compute them; the stream stays usable only after `HeadstartError`.
        """
        memory, is_new = self._memory, False
        if memory is None or memory.nbytes < plan.nbytes:
            # Sized for the largest batch, so that it is rarely replaced.
            count = request.shape[0]
            memory = SharedMemory(plan.nbytes * -(-max(most_rows, count) // count))
            is_new = True
        memory.array(0, request.shape, request.dtype)[...] = rows
        if is_new:
            try:
                socket.send_fds(self._socket, [request.packed()], [memory.descriptor])
            finally:
                os.close(memory.descriptor)
            self._memory = memory
        else:
            self._socket.send(request.packed())
        reply = self._socket.recv(_REPLY_BYTES)
        if not reply:
            raise ConnectionResetError("The engine ended.")
        if reply[:1] != OK:
            raise pickle.loads(reply[1:])
        return plan.read(memory)
