"""EvaluationService: evaluate and compare versions on labeled examples."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from headstart.v1 import evaluation_service_pb2 as pb
from headstart.v1 import evaluation_service_pb2_grpc as stubs
from headstart.v1.input_pb2 import Example
from headstart.v1.version_selector_pb2 import VersionRef
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.messages.common import examples_of, selector_of
from headstart_server.api.grpc.messages.comparisons import comparison_message
from headstart_server.api.grpc.messages.evaluations import evaluation_message
from headstart_server.api.grpc.messages.examples import differing_messages
from headstart_server.api.grpc.messages.jobs import fault_message
from headstart_server.api.grpc.requests.example_stream import stream_parts
from headstart_server.api.grpc.requests.request_parsing import request_bytes
from headstart_server.datasets.dataset_catalog import NamedExamples
from headstart_server.errors import InvalidStream
from headstart_server.evaluation.evaluator import ComparisonRun, EvaluationRun, Evaluator

_Result = TypeVar("_Result")


class EvaluationService(stubs.EvaluationServiceServicer):
    """Decodes, calls and encodes; all work is the `jobs` room's."""

    def __init__(self, bench: Evaluator, executor: BoundedExecutor, named: NamedExamples) -> None:
        self._bench = bench
        self._executor = executor
        self._named = named

    async def Evaluate(
        self, request_iterator: AsyncIterator[pb.EvaluateRequest], context: Context
    ) -> pb.EvaluateResponse:
        async with aclosing(stream_parts(request_iterator, "Evaluate", context)) as parts:
            spec = await anext(parts)
            open_run = partial(
                self._executor.run, self._bench.evaluation, selector_of(spec.target, "spec.target")
            )
            run = await self._bench.pool.when_ready(open_run, request_bytes)
            await self._fed(run, parts, spec.dataset)
        evaluation = await self._ended(run, lambda: evaluation_message(run.evaluation()))
        version = run.predictor.versions[0]
        return pb.EvaluateResponse(
            model=version.model,
            version=version.number,
            evaluation=evaluation,
            faults=[fault_message(fault) for fault in run.predictor.faults],
            fault_count=run.predictor.fault_count,
            trained_count=run.trained_count,
        )

    async def Compare(
        self, request_iterator: AsyncIterator[pb.CompareRequest], context: Context
    ) -> pb.CompareResponse:
        async with aclosing(stream_parts(request_iterator, "Compare", context)) as parts:
            spec = await anext(parts)
            first, second = selector_of(spec.first, "spec.first"), selector_of(spec.second, "spec.second")
            open_run = partial(self._executor.run, self._bench.comparison, first, second)
            run = await self._bench.pool.when_ready(open_run, request_bytes)
            await self._fed(run, parts, spec.dataset)
        versions = [VersionRef(model=one.model, version=one.number) for one in run.predictor.versions]
        comparison, differing = await self._ended(
            run,
            lambda: (comparison_message(run.comparison()), differing_messages(run.differing(), versions)),
        )
        return pb.CompareResponse(
            first=versions[0],
            second=versions[1],
            comparison=comparison,
            differing_examples=differing,
            faults=[fault_message(fault) for fault in run.predictor.faults],
            fault_count=run.predictor.fault_count,
            first_trained_count=run.trained_counts[0],
            second_trained_count=run.trained_counts[1],
        )

    async def _fed(
        self, run: EvaluationRun | ComparisonRun, batches: AsyncIterator[Sequence[Example]], dataset: str
    ) -> None:
        """Run the batches of a stream, or the examples of the dataset that the spec names."""
        count = 0
        async for batch in batches:
            if dataset and batch:
                raise InvalidStream(
                    "The spec has a dataset, and the stream has examples, too. Send one or the other."
                )
            await self._ended(run, partial(_add, run, batch, count))
            count += len(batch)
        if dataset:
            named = self._named.batches(dataset)
            while examples := await self._ended(run, partial(next, named, None)):
                await self._ended(run, partial(run.add, examples))

    async def _ended(self, run: EvaluationRun | ComparisonRun, work: Callable[[], _Result]) -> _Result:
        """Return the result of a run's work, done in a thread: even messages of many classes take long."""
        try:
            return await self._executor.run(work)
        except asyncio.CancelledError:
            # The thread does not end with the call: signal it to stop.
            run.predictor.leave()
            raise


def _add(run: EvaluationRun | ComparisonRun, messages: Sequence[Example], start: int) -> None:
    run.add(examples_of(messages, start))
