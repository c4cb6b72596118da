"""The messages of an erasure and its certificate."""

from headstart.v1 import model_service_pb2 as pb
from headstart.v1.version_selector_pb2 import VersionRef
from headstart_server.api.grpc.messages.common import timestamp
from headstart_server.api.grpc.messages.comparisons import promotion_message
from headstart_server.auth.tenants import own_name
from headstart_server.datasets.erasure_log import ErasureRecord, RebuiltVersion
from headstart_server.datasets.example_eraser import Erasure


def erasure_message(erasure: Erasure, record: ErasureRecord | None) -> pb.EraseExampleResponse:
    """Return the response to an erasure; a complete record gives its certificate."""
    return pb.EraseExampleResponse(
        versions=[VersionRef(model=model, version=number) for model, number in erasure.versions],
        unread_versions=[VersionRef(model=model, version=number) for model, number in erasure.unread],
        job_ids=erasure.job_ids,
        deleted_contents=erasure.contents,
        datasets=map(own_name, erasure.datasets),
        certificate=None if record is None else _certificate(record),
    )


def _certificate(record: ErasureRecord) -> pb.ErasureCertificate:
    return pb.ErasureCertificate(
        request_id=record.request.request_id,
        example_id=record.request.example_id,
        start_time=timestamp(record.started),
        end_time=None if record.finished is None else timestamp(record.finished),
        versions=[_rebuilt(*key, result) for key, result in record.versions.items() if result is not None],
        deleted_contents=record.contents,
    )


def _rebuilt(model: str, number: int, result: RebuiltVersion) -> pb.RebuiltVersion:
    return pb.RebuiltVersion(
        model=model,
        version=number,
        head_digest=result.head_digest,
        dataset_digest=result.dataset_digest,
        new_version=result.number or None,
        new_head_digest=result.new_head_digest,
        new_dataset_digest=result.new_dataset_digest,
        aliases=result.aliases,
        promotion=promotion_message(result.promotion),
        skipped_reason=result.skipped_reason,
    )
