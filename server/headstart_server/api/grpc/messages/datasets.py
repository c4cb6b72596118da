"""The messages of named datasets."""

from typing import Any

from headstart.v1 import dataset_service_pb2 as pb
from headstart_server.api.grpc.messages.encode import message_of
from headstart_server.api.grpc.messages.versions import check_mask, check_tags
from headstart_server.datasets.named_dataset import DatasetState, NamedDataset

_DETAILS = ("display_name", "description", "tags")


def dataset_message(dataset: NamedDataset, retention: float | None) -> pb.Dataset:
    """Return the message of a dataset.

    Args:
        retention: seconds that an open dataset is kept after its last batch; None for ever.
    """
    expires = None
    if dataset.state is DatasetState.OPEN and retention is not None:
        expires = dataset.written + retention
    return message_of(
        dataset,
        pb.Dataset,
        dataset=dataset.name,
        byte_count=dataset.nbytes,
        digest=dataset.digest or "",
        sha256=dataset.checksum,
        expire_time=expires,
    )


def new_details_of(request: pb.CreateDatasetRequest) -> dict[str, Any]:
    """Return the details of a new dataset. Raise InvalidField if a tag has no key."""
    check_tags(request.tags)
    return {
        "display_name": request.display_name,
        "description": request.description,
        "tags": dict(request.tags),
    }


def changed_details_of(request: pb.UpdateDatasetRequest) -> dict[str, Any]:
    """Return the new details that a request names in its mask."""
    check_mask(request.update_mask.paths, _DETAILS)
    check_tags(request.tags)
    values = {
        "display_name": request.display_name,
        "description": request.description,
        "tags": dict(request.tags),
    }
    return {name: values[name] for name in request.update_mask.paths}
