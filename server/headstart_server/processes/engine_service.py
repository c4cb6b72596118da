"""The engine's side of the boundary: backbones, features and jobs for the serving processes."""

import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import structlog

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Decoder
from headstart_server.backbones.contract.tail import Tail, TailMismatch, TailWeights
from headstart_server.backbones.contract.tail_training import TailRequest, TailResult
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import TAIL_ROWS, Embedder
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.queue import Lane, RowFeatures
from headstart_server.errors import HeadstartError
from headstart_server.processes.channel import Channel, pickled, received
from headstart_server.processes.shared_memory import OutputPlan, RowsRequest, SharedMemory

log = structlog.get_logger(__name__)

#: Maximum bytes of a request for rows.
REQUEST_BYTES = 256
#: First byte of a reply.
OK, FAILED = b"\0", b"\1"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedFacts:
    """Metadata of a backbone that the engine has loaded, for serving processes."""

    number: int  # its number in this connection
    info: BackboneInfo  # metadata
    digest: str  # see `Backbone.digest`
    runtime: str  # see `Backbone.runtime`
    streams: int  # concurrent batches of the engine
    batch: int  # rows of a batch
    on_device: bool  # see `Backbone.on_device`
    decoder: Decoder  # decodes its inputs


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineHooks:
    """Callbacks for requests of serving processes other than features."""

    wake: Callable[[], None]  # called after a job was queued
    cancel: Callable[[str], None]  # called with the ID of a job that was canceled
    drop: Callable[[Collection[str]], None]  # removes the cached features of contents
    erase: Callable[[Any], object]  # erases an example, and replaces the versions that were trained on it


class EngineService:
    """Serve the engine's backbones to serving processes.

    Args:
        pool: the backbones.
        cache: the cache of features.
        hooks: callbacks for other requests.
    """

    def __init__(self, pool: BackbonePool, cache: FeatureCache, hooks: EngineHooks) -> None:
        self._pool = pool
        self._cache = cache
        self._hooks = hooks
        self._lock = threading.Lock()
        self._clients: set[_Client] = set()

    def connect(self, descriptor: int) -> None:
        """Serve a serving process on a connected socket, in threads, until it ends."""
        client = _Client(Channel(socket.socket(fileno=descriptor)), self._pool, self._cache, self._hooks)
        with self._lock:
            self._clients.add(client)
        threading.Thread(target=self._serve, args=(client,), name="engine-client", daemon=True).start()
        threading.Thread(target=client.send_changes, name="engine-changes", daemon=True).start()

    def publish_change(self) -> None:
        """Let the serving processes read changed jobs and versions now, without waiting for them."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.changed.set()

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            client.channel.close()

    def _serve(self, client: "_Client") -> None:
        try:
            client.serve()
        finally:
            with self._lock:
                self._clients.discard(client)


class _Client:
    """One serving process."""

    def __init__(self, channel: Channel, pool: BackbonePool, cache: FeatureCache, hooks: EngineHooks) -> None:
        self.channel = channel
        #: Set to send a message about a change; several changes may share one message.
        self.changed = threading.Event()
        self._has_ended = False
        self._pool = pool
        self._cache = cache
        self._hooks = hooks
        self._embedders: list[Embedder] = []
        self._tails: dict[int, tuple[Embedder, Tail]] = {}
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Handle requests until the process ends."""
        try:
            with suppress(EOFError):
                while True:
                    (number, method, arguments), files = self.channel.receive()
                    self._handle(number, method, arguments, files)
        except Exception as error:  # noqa: BLE001 - the serving process waits for answers
            log.error("process_connection_failed", error=f"{type(error).__name__}: {error}")
            with suppress(OSError):
                self.channel.send(("failed", None, None))
        finally:
            self.channel.close()
            self._tails.clear()
            self._has_ended = True
            self.changed.set()

    def _handle(self, number: int, method: str, arguments: tuple[Any, ...], files: list[int]) -> None:
        if method in _NOTES:
            try:
                getattr(self, f"_{method}")(*arguments, *files)
            except Exception as error:  # noqa: BLE001 - later requests must be handled
                log.error("engine_request_failed", error=f"{type(error).__name__}: {error}")
        elif method in _SLOW:
            answer = threading.Thread(
                target=self._answer, args=(number, method, arguments), name=f"engine-{method}", daemon=True
            )
            try:
                answer.start()
            except RuntimeError as error:
                # The process cannot start another thread.
                self._refuse(number, error)
        else:
            self._answer(number, method, arguments)

    def send_changes(self) -> None:
        """Send a message after changes until the process ends.

        A process that does not read, because it is stopped or swapped out, delays this thread only.
        """
        while True:
            self.changed.wait()
            if self._has_ended:
                return
            self.changed.clear()
            with suppress(OSError):
                self.channel.send(("changed", None, None))

    def _answer(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            result = getattr(self, f"_{method}")(number, *arguments)
            # The process may have ended meanwhile.
            with suppress(OSError):
                self.channel.send(("result", number, result))
        except Exception as error:  # noqa: BLE001 - it belongs to the serving process
            self._refuse(number, error)

    def _refuse(self, number: int, error: Exception) -> None:
        with suppress(OSError):
            self.channel.send(("error", number, _portable(error)))

    def _load(self, _: int, name: str) -> LoadedFacts:
        embedder = self._pool.load(name)
        backbone = embedder.backbone
        with self._lock:
            self._embedders.append(embedder)
            number = len(self._embedders) - 1
        return LoadedFacts(
            number=number,
            info=backbone.info,
            digest=backbone.digest,
            runtime=backbone.runtime,
            streams=backbone.streams,
            batch=backbone.batch,
            on_device=backbone.on_device,
            decoder=backbone.decoder,
        )

    def _prepare(self, _: int, name: str) -> BackboneInfo:
        return self._pool.prepare(name)

    def _tail(self, number: int, backbone: int, weights: TailWeights) -> int:
        embedder = self._embedders[backbone]
        # The number of the request: positive, and unique in this connection.
        self._tails[number] = embedder, embedder.tail(weights)
        return number

    def _train_tail(self, number: int, backbone: int, request: TailRequest) -> TailResult:
        def checkpoint() -> None:
            if number in self._cancelled:
                raise RuntimeError("The training was stopped.")

        try:
            return self._embedders[backbone].train_tail(request, lambda _: None, checkpoint)
        finally:
            self._cancelled.discard(number)

    def _cached(self, _: int, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        return self._cache.get_many(backbone, digests)

    def _keep(self, backbone: str, digest: str, vectors: Vectors) -> None:
        self._cache.put(backbone, digest, vectors)

    def _drop(self, digests: Collection[str]) -> None:
        self._hooks.drop(digests)

    def _erase(self, _: int, request: object) -> object:
        return self._hooks.erase(request)

    def _drop_tail(self, number: int) -> None:
        self._tails.pop(number, None)

    def _stop_training(self, number: int) -> None:
        self._cancelled.add(number)

    def _wake(self) -> None:
        self._hooks.wake()

    def _cancel(self, job_id: str) -> None:
        self._hooks.cancel(job_id)

    def _stream(self, descriptor: int) -> None:
        stream = socket.socket(fileno=descriptor)
        threading.Thread(target=self._serve_rows, args=(stream,), name="engine-rows", daemon=True).start()

    def _serve_rows(self, stream: socket.socket) -> None:
        """Compute rows for one thread of the serving process, one request after the other."""
        memory: SharedMemory | None = None
        with stream, suppress(OSError):
            while True:
                message, files = received(stream, REQUEST_BYTES, 1)
                if not message:
                    return
                if files:
                    memory = SharedMemory.received(files[0])
                try:
                    self._compute(stream, memory, RowsRequest.unpacked(message))
                except Exception as error:  # noqa: BLE001 - it belongs to the serving process
                    stream.send(FAILED + pickled(_portable(error)))

    def _compute(self, stream: socket.socket, memory: SharedMemory | None, request: RowsRequest) -> None:
        if memory is None:
            raise ValueError("The first request of a stream must have memory.")
        embedder = self._embedders[request.backbone]
        rows = memory.array(0, request.shape, request.dtype)
        lane = Lane.TRAIN if request.is_training else Lane.PREDICT
        if request.tail:
            _, tail = self._tails[request.tail]
            futures = embedder.run_tail(tail, rows.astype(np.float32, copy=False), lane)
            outputs: list[tuple[str, tuple[int, ...]]] = [(LAST, (embedder.info.views[LAST],))]
        else:
            cuts = cut_names(embedder.info)
            wanted = frozenset(name for place, name in enumerate(cuts) if request.cuts >> place & 1)
            futures = embedder.run_rows(list(rows), lane, wanted)
            outputs = outputs_of(embedder.info, wanted)
        reply = _Reply(stream, memory, OutputPlan.of(request, outputs), len(futures))
        for place, future in enumerate(futures):
            future.add_done_callback(partial(reply.add, place, is_tail=bool(request.tail)))


#: Requests without an answer, and slow ones.
_NOTES = frozenset({"keep", "drop", "drop_tail", "stop_training", "wake", "cancel", "stream"})
_SLOW = frozenset({"load", "prepare", "tail", "train_tail", "erase"})


class _Reply:
    """Collects the features of a request, and replies when all are there."""

    def __init__(self, stream: socket.socket, memory: SharedMemory, plan: OutputPlan, count: int) -> None:
        self._stream = stream
        self._memory = memory
        self._plan = plan
        self._left = count
        self._error: Exception | None = None
        self._lock = threading.Lock()

    def add(self, place: int, future: "Future[RowFeatures]", *, is_tail: bool) -> None:
        """Add the features of one input, or of consecutive ones of a tail."""
        failure: Exception | None = None
        try:
            views = future.result().views
            if is_tail:
                self._plan.write_rows(self._memory, place * TAIL_ROWS, views)
            else:
                self._plan.write_row(self._memory, place, views)
        except Exception as error:  # noqa: BLE001 - it belongs to the serving process
            failure = error
        with self._lock:
            self._error = self._error or failure
            self._left -= 1
            if self._left:
                return
        message = OK if self._error is None else FAILED + pickled(_portable(self._error))
        # The process may have ended meanwhile.
        with suppress(OSError):
            self._stream.send(message)


def cut_names(info: BackboneInfo) -> list[str]:
    """Return the names of a backbone's cuts, in the order of a request's bits."""
    return sorted({plan.cut.name for plan in info.tails.values()})


def outputs_of(info: BackboneInfo, cuts: Collection[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Return the outputs of a backbone for requested cuts, with their shapes for one row."""
    shapes = {plan.cut.name: plan.cut.shape for plan in info.tails.values()}
    views: list[tuple[str, tuple[int, ...]]] = [(name, (size,)) for name, size in info.views.items()]
    return views + [(name, shapes[name]) for name in sorted(cuts)]


def _portable(error: Exception) -> Exception:
    """Return an error that another process can raise."""
    if isinstance(error, HeadstartError | TailMismatch):
        # Drop its cause, which may not be picklable.
        return error
    log.error("engine_request_failed", error=f"{type(error).__name__}: {error}")
    return RuntimeError(f"{type(error).__name__}: {error}")
