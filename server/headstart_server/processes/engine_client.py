"""The serving process's side of the boundary: requests to the engine, which may be restarted meanwhile."""

import itertools
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import structlog

from headstart_server.embedding.feature_rows import Vectors
from headstart_server.errors import NOT_STARTED, BackboneUnavailable, Draining, Loading
from headstart_server.processes.channel import Channel

log = structlog.get_logger(__name__)

#: Seconds between two calls of the checkpoint of a long request.
_CHECK_SECONDS = 0.1
#: Engines that may end while they handle a request before it is given up: it may be what ends them.
MAX_ENDS = 2


class EngineClient:
    """Requests to the current engine process. Safe to use from many threads.

    Args:
        on_change: called in a thread after the engine changed jobs or versions, and after it connected.
        on_failure: called in a thread when this process must be restarted: its connection failed although the
            engine may still run, or the engine was restarted with another backbone of the same name.
    """

    def __init__(
        self, on_change: Callable[[], None] = lambda: None, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        self.on_change = on_change
        self.on_failure = on_failure
        self.connection: EngineConnection | None = None
        self._may_wait = True
        self._condition = threading.Condition()

    def connect(self, descriptor: int) -> None:
        """Use a new engine process, connected by a socket."""
        connection = EngineConnection(Channel(socket.socket(fileno=descriptor)), self._changed)
        with self._condition:
            self.connection = connection
            self._condition.notify_all()
        connection.start(self._lost)
        self._changed()

    def end_waits(self) -> None:
        """End every `call_when_connected` that waits for an engine; calls to a connected one continue."""
        with self._condition:
            self._may_wait = False
            self._condition.notify_all()

    def close(self) -> None:
        """End all waits and close the connection."""
        self.end_waits()
        if (connection := self.connection) is not None:
            connection.channel.close()

    def current(self, backbone: str = "") -> "EngineConnection":
        """Return the current connection.

        Raise Loading if the engine is being restarted.
        """
        connection = self.connection
        if connection is None:
            raise engine_restarting(backbone)
        return connection

    def call_when_connected(self, method: str, backbone: str) -> "tuple[EngineConnection, Any]":
        """Send a request that may be repeated, and wait for its answer, also while the engine is restarted.

        Return the connection to the engine that answered, and the answer. Raise BackboneUnavailable if the
        request may be what ends engines, and Draining after `end_waits` if the engine ended.
        """
        for _ in range(MAX_ENDS):
            connection = self._next_connection()
            try:
                return connection, connection.call(method, backbone)
            except Loading:
                if not connection.has_ended:
                    raise
        raise BackboneUnavailable(
            f"The process that runs the backbones ended {MAX_ENDS} times while it handled '{method}' of the "
            f"backbone '{backbone}'. Read its log, and check the memory of the machine.",
            metadata={"backbone": backbone},
        )

    def note(self, method: str, *arguments: object) -> None:
        """Send a request without an answer; it is not repeated for a restarted engine."""
        if (connection := self.connection) is not None:
            connection.note(method, *arguments)

    def _next_connection(self) -> "EngineConnection":
        with self._condition:
            self._condition.wait_for(lambda: self.connection is not None or not self._may_wait)
            if self.connection is None:
                raise Draining(
                    "The server is stopping. Try again at another replica.", metadata=dict([NOT_STARTED])
                )
            return self.connection

    def _changed(self) -> None:
        self.on_change()

    def _lost(self, connection: "EngineConnection", has_failed: bool) -> None:
        with self._condition:
            if self.connection is connection:
                self.connection = None
        if has_failed:
            self.on_failure()


class EngineConnection:
    """The connection to one engine process."""

    def __init__(self, channel: Channel, changed: Callable[[], None]) -> None:
        self.channel = channel
        self._changed = changed
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self.has_ended = False

    def start(self, lost: "Callable[[EngineConnection, bool], None]") -> None:
        """Receive answers in a thread until the engine ends; then call `lost` with whether it failed."""
        threading.Thread(target=self._receive, args=(lost,), name="engine-answers", daemon=True).start()

    def call(self, method: str, *arguments: object, checkpoint: Callable[[], None] | None = None) -> Any:
        """Send a request and wait for its answer; `checkpoint` runs meanwhile and may raise to stop.

        Raise Loading if the engine ended, and HeadstartError if it could not handle the request.
        """
        number, future = self._begin(method, arguments)
        if checkpoint is None:
            return future.result()
        try:
            while True:
                checkpoint()
                with suppress(TimeoutError):
                    return future.result(_CHECK_SECONDS)
        except BaseException:
            if not future.done():
                self.note("stop_training", number)
            raise

    def note(self, method: str, *arguments: object, files: tuple[int, ...] = ()) -> None:
        """Send a request without an answer; one that cannot be sent is lost with the engine."""
        with suppress(OSError):
            self.channel.send((0, method, arguments), files)

    def _begin(self, method: str, arguments: tuple[object, ...]) -> "tuple[int, Future[Any]]":
        number, future = next(self._numbers), Future[Any]()
        with self._lock:
            if self.has_ended:
                raise engine_restarting()
            self._waiting[number] = future
        try:
            self.channel.send((number, method, arguments))
        except OSError:
            with self._lock:
                self._waiting.pop(number, None)
            raise engine_restarting() from None
        return number, future

    def _receive(self, lost: "Callable[[EngineConnection, bool], None]") -> None:
        has_failed = True
        try:
            while True:
                self._handle(*self.channel.receive()[0])
        except EOFError:
            has_failed = False
        except Exception as error:  # noqa: BLE001 - the waiting calls must end
            log.error("process_connection_failed", error=f"{type(error).__name__}: {error}")
        finally:
            lost(self, has_failed)
            self._end()

    def _handle(self, kind: str, number: int, value: Any) -> None:
        if kind == "changed":
            self._changed()
            return
        if kind == "failed":
            raise RuntimeError("The engine could not receive a request.")
        with self._lock:
            future = self._waiting.pop(number, None)
        if future is not None:
            (future.set_exception if kind == "error" else future.set_result)(value)

    def _end(self) -> None:
        with self._lock:
            self.has_ended = True
            left, self._waiting = self._waiting, {}
        for future in left.values():
            future.set_exception(engine_restarting())
        self.channel.close()


def engine_restarting(backbone: str = "") -> Loading:
    """Return the error of a call that needs the engine while it is being restarted."""
    return Loading(
        "The process that runs the backbones is being restarted. Try again in 1 second.",
        metadata={"backbone": backbone} if backbone else {},
        retry_after=1.0,
    )


class RemoteFeatureStore:
    """Features in the engine's cache. Without an engine, features are missing.

    Args:
        engine: the engine.
    """

    #: The engine's metrics count its bytes.
    nbytes = 0

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the cached features of contents on a backbone, by digest."""
        try:
            found: dict[str, Vectors] = self._engine.current().call("cached", backbone, list(digests))
        except Loading:
            return {}
        return found

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Add features to the cache."""
        self._engine.note("keep", backbone, digest, vectors)

    def touch(self, backbone: str, digests: Collection[str]) -> None:
        """Do nothing: the engine records each use."""

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the features of contents on all backbones."""
        del backbone
        self._engine.note("drop", list(digests))

    def close(self) -> None:
        """Do nothing: the engine closes its cache."""
