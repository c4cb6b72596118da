"""The statistics of a version, in the form of Triton's extension `statistics`."""

from headstart_server.api.compat import open_inference_pb2 as pb
from headstart_server.prediction.statistics import VersionCounts


def statistics_message(model: str, number: int, counts: VersionCounts) -> pb.ModelStatistics:
    """The statistics of a version.

    An execution is a call: backbones run batches of many versions' inputs, and a head runs once for a call.
    """

    def of_calls(seconds: float) -> pb.StatisticDuration:
        return _duration(counts.calls, seconds)

    return pb.ModelStatistics(
        name=model,
        version=str(number),
        last_inference=int(counts.last * 1000),
        inference_count=counts.inputs,
        execution_count=counts.calls,
        inference_stats=pb.InferStatistics(
            success=of_calls(counts.total),
            fail=_duration(counts.failed, counts.failed_seconds),
            queue=of_calls(counts.queue),
            compute_input=of_calls(counts.decode),
            compute_infer=of_calls(counts.backbone),
            compute_output=of_calls(counts.head),
        ),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))
