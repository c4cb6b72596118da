"""Calls that send feedback to a model, and let it retrain from it."""

import time
import uuid
from functools import partial
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from chaos.caller import CALL_SECONDS, CLASSES, Caller
from headstart.v1 import feedback_pb2, input_pb2, job_pb2, label_pb2, model_service_pb2, retrain_policy_pb2
from headstart.v1 import fine_tuning_service_pb2 as tuning
from histories.stored_data import content_of
from integration.server.calls import TERMINAL, Api, example, stream

ALIAS = "learned"
#: Seconds of an erasure with its refits.
ERASE_SECONDS = 60.0


def begin(caller: Caller, model: str, *, min_feedback_count: int, max_delay: float) -> None:
    """Fine-tune the first version of a model, and set its policy."""
    examples = [example(f"quick:{label}:{place}".encode(), label) for place in range(10) for label in CLASSES]

    def fine_tune(api: Api, request_id: str) -> str:
        requests = stream(examples, model=model, alias=ALIAS, request_id=request_id)
        return str(api.fine_tuning.FineTune(requests, timeout=CALL_SECONDS).job.job_id)

    def end_of(api: Api, job_id: str) -> job_pb2.Job | None:
        job = api.fine_tuning.Status(tuning.StatusRequest(job_id=job_id), timeout=CALL_SECONDS).job
        return job if job.state in TERMINAL else None

    version = 0
    while not version:
        # Again, where a job that kills its server made it fail, or the queue was full.
        request_id = uuid.uuid4().hex
        job_id = caller.insist("Begin", model, {}, partial(fine_tune, request_id=request_id))
        job = None
        while job_id is not None and job is None:
            job = caller.insist("Begin", model, {}, partial(end_of, job_id=job_id))
            time.sleep(0.1)
        version = 0 if job is None else job.version
    policy = retrain_policy_pb2.RetrainPolicy(
        alias=ALIAS,
        min_feedback_count=min_feedback_count,
        max_delay_duration=_duration(max_delay),
        min_interval_duration=_duration(0.0),
        max_failures=100,
    )
    change = model_service_pb2.UpdateModelRequest(
        model=model, retrain=policy, update_mask=FieldMask(paths=["retrain"])
    )
    caller.insist("Begin", model, {}, lambda api: _update(api, change))


def _update(api: Api, change: model_service_pb2.UpdateModelRequest) -> None:
    api.models.UpdateModel(change, timeout=CALL_SECONDS)


def send(caller: Caller, model: str, name: str) -> str | None:
    """Send the label of an input until a server acknowledges it; at times once more after that.

    Args:
        name: of its content.

    Returns:
        The ID of the feedback.
    """
    content = content_of(name)
    request = feedback_pb2.SendFeedbackRequest(
        model=model,
        input=input_pb2.Input(image=content),
        label=label_pb2.Label(class_name=CLASSES[len(content) % len(CLASSES)]),
        request_id=uuid.uuid4().hex,
    )

    def call(api: Api) -> str:
        return str(api.review.SendFeedback(request, timeout=CALL_SECONDS).feedback.feedback_id)

    sent: dict[str, Any] = {"request_id": request.request_id, "content": name}
    found = None
    for _ in range(1 + (caller.chance.random() < 0.05)):
        found = caller.insist("SendFeedback", model, sent, call)
    return found


def erase(caller: Caller, model: str, feedback_id: str, *, rebuild: bool = False) -> None:
    """Erase the example of feedback, which has the ID of the feedback."""
    request = model_service_pb2.EraseExampleRequest(
        example_id=feedback_id,
        model=model,
        rebuild=rebuild,
        request_id=uuid.uuid4().hex if rebuild else "",
    )

    def call(api: Api) -> int:
        return int(api.models.EraseExample(request, timeout=ERASE_SECONDS).deleted_contents)

    caller.insist("EraseExample", feedback_id, {"rebuild": rebuild, "model": model}, call)


def is_settled(api: Api, model: str) -> bool:
    """Return whether no feedback waits or is trained on."""
    request = feedback_pb2.ListFeedbackRequest(
        model=model,
        states=[feedback_pb2.FEEDBACK_STATE_PENDING, feedback_pb2.FEEDBACK_STATE_TRAINING],
        page_size=1,
    )
    try:
        return not api.review.ListFeedback(request, timeout=CALL_SECONDS).feedback
    except grpc.RpcError:
        return False


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
