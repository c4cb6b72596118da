"""Predict the tasks of a Label Studio request, a few at a time to limit the memory of their contents."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.rpc import code_pb2

from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.api.grpc.caller import tenant
from headstart_server.api.label_studio.calls import PREDICT, CallFailedError, Calls, ServedVersion
from headstart_server.api.label_studio.contents import TaskContents
from headstart_server.api.label_studio.labeling import Labeling, no_pre_annotation, pre_annotation
from headstart_server.errors import DeadlineExceeded, HeadstartError, InvalidField
from headstart_server.prediction.prediction_capture import outside_traffic

#: Maximum tasks of one request. Label Studio sends all tasks that a user selects in one request.
MAX_TASKS = 10_000
#: Maximum seconds of one request, less than Label Studio's timeout.
PREDICT_SECONDS = 95.0
#: Contents that are read concurrently, and maximum contents and bytes of one Predict.
_READ_AT_ONCE = 4
_INPUTS = 64
_BYTES = 16 << 20
#: Maximum batches whose contents are in memory, of all requests together. Requests take turns, so that long
#: ones do not keep others waiting.
_BATCHES = 2
#: Seconds after which no further contents are added to a batch.
_BATCH_SECONDS = 2.0


@dataclass(slots=True)
class _Batch:
    """The inputs of one Predict, and the indexes of their tasks."""

    places: list[int]
    inputs: list[input_pb2.Input]
    nbytes: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.inputs) >= _INPUTS or self.nbytes >= _BYTES


class TaskPredictor:
    """Predict tasks."""

    def __init__(self, contents: TaskContents, max_inputs: int) -> None:
        self._contents = contents
        self._inputs = min(_INPUTS, max_inputs)
        self._slots = asyncio.Semaphore(_BATCHES)

    async def predict(
        self, calls: Calls, version: ServedVersion, labeling: Labeling, tasks: Any
    ) -> list[dict[str, Any]]:
        """Return a pre-annotation for each task; an empty one if its content is unusable.

        Raise HeadstartError or CallFailedError if no task can be predicted.
        """
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise InvalidField("Expected a list of objects in tasks.", field="tasks")
        if len(tasks) > MAX_TASKS:
            raise InvalidField(
                f"Expected at most {MAX_TASKS} tasks. Received: {len(tasks)}. Select fewer.", field="tasks"
            )
        await calls.require(PREDICT, version.model, pb.PredictRequest(targets=[version.selector]))
        try:
            async with asyncio.timeout(PREDICT_SECONDS):
                return await self._predict(calls, version, labeling, tasks)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The tasks are not predicted within {PREDICT_SECONDS:g} s. Select fewer tasks."
            ) from None

    async def _predict(
        self, calls: Calls, version: ServedVersion, labeling: Labeling, tasks: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        found = [no_pre_annotation(version.name) for _ in tasks]
        failures: list[Exception] = []
        predicted = 0
        reader = _Reader(self._contents, self._inputs, labeling, tasks)
        while not reader.has_ended:
            async with self._slots:
                batch = await reader.read_batch(failures)
                if not batch.inputs:
                    continue
                try:
                    response = await self._predicted(calls, version, batch)
                except CallFailedError as error:
                    if error.status.code != code_pb2.INVALID_ARGUMENT:
                        raise
                    failures.append(error)
                    continue
            faults = {fault.index for fault in response.faults}
            for place, (index, each) in zip(
                batch.places, enumerate(response.results[0].predictions), strict=True
            ):
                if index not in faults:
                    found[place] = pre_annotation(labeling, each, version.name)
                    predicted += 1
        if failures and not predicted:
            raise failures[0]
        return found

    async def _predicted(self, calls: Calls, version: ServedVersion, batch: _Batch) -> Any:
        """Return the response for a batch, whose inputs are dropped to free their memory."""
        request = await asyncio.to_thread(_request, version, batch.inputs)
        batch.inputs.clear()
        # Tasks that were chosen for labeling do not represent the inputs of the model's callers.
        with outside_traffic():
            return await calls.call(PREDICT, request)


class _Reader:
    """Reads the contents of the tasks of one request, a batch at a time."""

    def __init__(
        self, contents: TaskContents, max_inputs: int, labeling: Labeling, tasks: Sequence[dict[str, Any]]
    ) -> None:
        self._contents = contents
        self._max_inputs = max_inputs
        self._labeling = labeling
        self._tasks = tasks
        self._next = 0
        #: Inputs that were read with the previous batch, and the indexes of their tasks.
        self._left: deque[tuple[int, input_pb2.Input]] = deque()

    @property
    def has_ended(self) -> bool:
        """Whether all tasks were returned."""
        return self._next >= len(self._tasks) and not self._left

    async def read_batch(self, failures: list[Exception]) -> _Batch:
        """Return the next inputs, without unreadable ones, whose errors are added to `failures`."""
        loop = asyncio.get_running_loop()
        batch, begun = _Batch([], []), loop.time()
        while not self.has_ended and loop.time() - begun <= _BATCH_SECONDS:
            if not self._left:
                await self._read_some(failures)
            while self._left:
                place, content = self._left.popleft()
                batch.places.append(place)
                batch.inputs.append(content)
                # In a thread, because it takes some milliseconds per MiB.
                batch.nbytes += await asyncio.to_thread(content.ByteSize)
                if batch.is_full or len(batch.inputs) >= self._max_inputs:
                    return batch
        return batch

    async def _read_some(self, failures: list[Exception]) -> None:
        start, self._next = self._next, self._next + _READ_AT_ONCE
        group = self._tasks[start : self._next]
        contents = await asyncio.gather(*(self._input(task) for task in group))
        for place, content in enumerate(contents, start):
            if isinstance(content, Exception):
                failures.append(content)
            else:
                self._left.append((place, content))

    async def _input(self, task: dict[str, Any]) -> input_pb2.Input | Exception:
        try:
            return await self._contents.input_of(self._labeling, task.get("data"), tenant())
        except HeadstartError as error:
            return error


def _request(version: ServedVersion, inputs: Sequence[input_pb2.Input]) -> bytes:
    """Return the request that predicts inputs."""
    request = pb.PredictRequest(
        targets=[version.selector], inputs=inputs, top_k=10_000, skip_invalid_inputs=True
    )
    return request.SerializeToString()
