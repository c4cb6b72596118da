"""Annotations of Label Studio as feedback."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from google.rpc import error_details_pb2

from headstart.v1 import feedback_pb2 as pb
from headstart_server.api.grpc.caller import tenant
from headstart_server.api.http.json_text import in_json_thread
from headstart_server.api.http.long_strings import LongString
from headstart_server.api.label_studio.calls import SEND_FEEDBACK, CallFailedError, Calls, ServedVersion
from headstart_server.api.label_studio.contents import TaskContents
from headstart_server.api.label_studio.labeling import Labeling, check_task, labeling_of, region_ids
from headstart_server.errors import HeadstartError, InvalidField

log = structlog.get_logger(__name__)

#: The events that have annotations.
EVENTS = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"})
#: Maximum annotations of one event.
MAX_ANNOTATIONS = 1000
_MAX_PREDICTION_ID = 64
_NOT_CAPTURED = "PREDICTION_NOT_CAPTURED"
#: The namespace of request IDs that are derived from annotations.
_NAMESPACE = uuid.UUID("6e0a6f5e-7a4e-4a37-9d3f-0d9c0f0a7b52")


class AnnotationReceiver:
    """Record annotations as feedback."""

    def __init__(self, contents: TaskContents) -> None:
        self._contents = contents

    async def receive(
        self, calls: Calls, version: ServedVersion, event: Mapping[str, Any]
    ) -> list[pb.SendFeedbackResponse]:
        """Record the annotations of an event; return the responses.

        Label Studio neither displays nor retries failures, so they are also logged. Raise HeadstartError or
        CallFailedError if an annotation is malformed, or its feedback is rejected.
        """
        try:
            return await self._receive(calls, version, event)
        except (HeadstartError, CallFailedError) as error:
            log.warning("label_studio_annotation_failed", model=version.model, error=str(error))
            raise

    async def _receive(
        self, calls: Calls, version: ServedVersion, event: Mapping[str, Any]
    ) -> list[pb.SendFeedbackResponse]:
        await calls.require(SEND_FEEDBACK, version.model, pb.SendFeedbackRequest(model=version.model))
        project = event.get("project")
        config = project.get("label_config") if isinstance(project, dict) else None
        labeling = await in_json_thread(labeling_of, config)
        check_task(labeling, version.task, version.name)
        annotations, tasks = _many(event, "annotation"), _many(event, "task")
        if len(annotations) != len(tasks) or len(annotations) > MAX_ANNOTATIONS:
            raise InvalidField(
                f"Expected as many tasks as annotations, at most {MAX_ANNOTATIONS}. Received: {len(tasks)} "
                f"and {len(annotations)}.",
                field="annotation",
            )
        sent = [
            await self._send(calls, version, labeling, annotation, task)
            for annotation, task in zip(annotations, tasks, strict=True)
        ]
        return [each for each in sent if each is not None]

    async def _send(
        self,
        calls: Calls,
        version: ServedVersion,
        labeling: Labeling,
        annotation: Mapping[str, Any],
        task: Mapping[str, Any],
    ) -> pb.SendFeedbackResponse | None:
        """Record one annotation; return None if it was skipped or has no answer."""
        if annotation.get("was_cancelled"):
            return None
        label = labeling.label_of(annotation.get("result"))
        if label is None:
            return None
        # In a thread, because results of other controls, such as masks, can be large.
        request_id = await asyncio.to_thread(_request_id, annotation)
        request = pb.SendFeedbackRequest(model=version.model, label=label, request_id=request_id)
        # An accepted pre-annotation has the ID of its prediction. Other results have IDs of Label Studio,
        # which match no captured prediction.
        for prediction_id in region_ids(annotation.get("result"), labeling)[:1]:
            request.prediction_id = prediction_id[:_MAX_PREDICTION_ID]
            try:
                return await _call(calls, request)
            except CallFailedError as error:
                if _reason(error) != _NOT_CAPTURED:
                    raise
        request.input.CopyFrom(await self._contents.input_of(labeling, task.get("data"), tenant()))
        return await _call(calls, request)


async def _call(calls: Calls, request: pb.SendFeedbackRequest) -> pb.SendFeedbackResponse:
    response: pb.SendFeedbackResponse = await calls.call(SEND_FEEDBACK, request)
    return response


def _many(event: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    values = event.get(name)
    found: Sequence[Any] = values if isinstance(values, list) else [values]
    if not all(isinstance(each, dict) for each in found):
        raise InvalidField(f"Expected an object, or a list of objects, in {name}.", field=name)
    return found


def _request_id(annotation: Mapping[str, Any]) -> str:
    """Return an ID for the state of an annotation, which is the same if Label Studio sends it again."""
    known = [
        annotation.get(name) for name in ("unique_id", "id", "project", "task", "created_at", "updated_at")
    ]
    return str(uuid.uuid5(_NAMESPACE, json.dumps([*known, annotation.get("result")], default=_digest)))


def _digest(string: LongString) -> str:
    return hashlib.sha256(string.content).hexdigest()


def _reason(error: CallFailedError) -> str:
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for packed in error.status.details if packed.Unpack(info)), "")
