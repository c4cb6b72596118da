"""Conversions between messages of the contract and domain values: inputs, specs and pages."""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

from headstart.inputs import tensors
from headstart.v1 import example_record_pb2, input_pb2, job_pb2, label_pb2, version_selector_pb2
from headstart_server.api.grpc.messages.comparisons import gate_message, gate_of
from headstart_server.api.grpc.messages.encode import label_message, numbers_of
from headstart_server.api.grpc.messages.recipes import recipe_message, recipe_of
from headstart_server.api.grpc.messages.times import moment_of, optional_seconds, timestamp
from headstart_server.backbones.contract.backbone import Content
from headstart_server.errors import InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.example_checks import EDITS, EXAMPLES, ListKind
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.models.version import Selector

TASKS = numbers_of(Task, input_pb2.Task)


def content_of(message: input_pb2.Input, field: str) -> Content:
    """Return the content of an input. Raise InvalidField if it is missing, or its tensor is malformed."""
    kind = message.WhichOneof("content")
    if kind == "image":
        return message.image
    if kind == "text":
        return message.text
    if kind == "tensor":
        try:
            return tensors.decode(message.tensor)
        except ValueError as error:
            raise InvalidField(f"{field}.tensor: {error}", field=f"{field}.tensor") from None
    raise InvalidField(f"{field} has no content. Set its image, text or tensor.", field=field)


def contents_of(messages: Sequence[input_pb2.Input]) -> list[Content]:
    """Return the contents of the inputs of a call."""
    # A copy, because iteration over repeated fields ends with an error that protobuf formats.
    return [content_of(message, f"inputs[{place}]") for place, message in enumerate(messages[:])]


def examples_of(messages: Sequence[input_pb2.Example], start: int) -> list[Example]:
    """Return the examples of a batch; the first has the index `start`."""
    return [
        Example(
            content=content_of(message.input, f"examples[{index}].input"),
            target=target_of(message.label, index),
            id=message.example_id,
            held_out=message.held_out,
            weight=message.weight if message.HasField("weight") else 1.0,
        )
        for index, message in enumerate(messages, start)
    ]


def target_of(message: label_pb2.Label, index: int, entry: ListKind = EXAMPLES) -> Target:
    """Return the target of an example; without a label, an empty class name, which is rejected later."""
    kind = message.WhichOneof("value")
    if kind == "number":
        return Target.of_value(message.number)
    if kind == "probabilities":
        return Target.of_shares(message.probabilities.probabilities)
    if kind != "classes":
        return Target.of_label(message.class_name)
    names = list(message.classes.class_names)
    if len(set(names)) < len(names):
        # A Counter counts in one pass: there may be a million names.
        twice, _ = Counter(names).most_common(1)[0]
        raise InvalidField(
            f"Expected each class of {entry.noun} {index} once. Received: {twice[:24]!r} twice.",
            field=f"{entry.path}[{index}].label.classes",
        )
    return Target.of_labels(names)


def task_of(value: int, field: str) -> Task:
    """Return the task of a message's number."""
    for task, number in TASKS.items():
        if number == value:
            return task
    raise InvalidField(f"Expected a task of 1 to {len(TASKS)}. Received: {value}.", field=field)


def spec_of(message: job_pb2.FineTuneSpec) -> FineTuneSpec:
    """Return the spec of a message; `FineTuneSpec.check` checks its ranges."""
    parent = message.WhichOneof("parent")
    return FineTuneSpec(
        model=message.model,
        backbone=message.backbone,
        recipe=recipe_of(message.recipe),
        held_out_fraction=message.held_out_fraction,
        seed=message.seed,
        display_name=message.display_name,
        tags=dict(message.tags),
        alias=message.alias or None,
        ttl=optional_seconds(message, "ttl"),
        expire_time=moment_of(message.expire_time) if message.HasField("expire_time") else None,
        max_excluded_fraction=message.max_excluded_fraction,
        task=task_of(message.task, "spec.task") if message.HasField("task") else None,
        promote_if=gate_of(message.promote_if) if message.HasField("promote_if") else None,
        parent_version=message.parent_version if parent == "parent_version" else None,
        parent_alias=message.parent_alias if parent == "parent_alias" else None,
        edits=tuple(map(edit_of, message.edits, count())),
        discard_examples=message.discard_examples,
        priority=message.priority,
        backbone_candidates=tuple(message.backbone_candidates),
        backbone_time_budget=optional_seconds(message, "backbone_time_budget"),
        webhook=message.webhook or None,
        dataset_uri=message.dataset_uri or None,
        dataset=message.dataset or None,
    )


def spec_message(spec: FineTuneSpec) -> job_pb2.FineTuneSpec:
    """Return the message of a spec."""
    message = job_pb2.FineTuneSpec(
        model=spec.model,
        backbone=spec.backbone,
        recipe=recipe_message(spec.recipe),
        held_out_fraction=spec.held_out_fraction,
        seed=spec.seed,
        display_name=spec.display_name,
        tags=spec.tags,
        alias=spec.alias or "",
        max_excluded_fraction=spec.max_excluded_fraction,
        task=TASKS[spec.task] if spec.task else None,
        promote_if=gate_message(spec.promote_if),
        parent_version=spec.parent_version,
        edits=map(edit_message, spec.edits),
        discard_examples=spec.discard_examples,
        priority=spec.priority,
        backbone_candidates=spec.backbone_candidates,
        webhook=spec.webhook or "",
        dataset_uri=spec.dataset_uri or "",
        dataset=spec.dataset or "",
        expire_time=timestamp(spec.expire_time),
    )
    if spec.ttl is not None:
        message.ttl.FromNanoseconds(int(spec.ttl * 1e9))
    if spec.backbone_time_budget is not None:
        message.backbone_time_budget.FromNanoseconds(round(spec.backbone_time_budget * 1e9))
    return message


def edit_of(message: example_record_pb2.ExampleEdit, position: int) -> ExampleEdit:
    """Return the edit of a message."""
    return ExampleEdit(
        id=message.example_id,
        index=message.index if message.WhichOneof("example") == "index" else None,
        target=target_of(message.label, position, EDITS) if message.HasField("label") else None,
        weight=message.weight if message.HasField("weight") else None,
        held_out=message.held_out if message.HasField("held_out") else None,
        remove=message.remove,
    )


def edit_message(edit: ExampleEdit) -> example_record_pb2.ExampleEdit:
    """Return the message of an edit."""
    message = example_record_pb2.ExampleEdit(
        example_id=edit.id if edit.index is None else None,
        index=edit.index,
        label=None if edit.target is None else label_message(edit.target),
        weight=edit.weight,
        remove=edit.remove,
    )
    if edit.held_out is not None:
        message.held_out = edit.held_out
    return message


def selector_of(message: version_selector_pb2.VersionSelector, field: str) -> Selector:
    """Return the selector of a message. Raise InvalidField if the model is missing."""
    if not message.model:
        raise InvalidField(f"{field}.model is missing. Set it in the request.", field=f"{field}.model")
    kind = message.WhichOneof("selector")
    return Selector(
        model=message.model,
        number=message.version if kind == "version" else None,
        alias=message.alias if kind == "alias" else None,
    )


def page_token(key: Sequence[Any] | None) -> str:
    """Return the token of the page that follows a key; empty for None."""
    return "" if key is None else base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def page_key(token: str, *types: type) -> list[Any] | None:
    """Return the key in a page token; None for the first page."""
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or [type(part) for part in key] != list(types)
        or not all(map(_is_storable, key))
    ):
        raise InvalidField(
            f"Expected the next_page_token of a response of this method. Received: {token[:80]!r}.",
            field="page_token",
        )
    return key


def _is_storable(part: object) -> bool:
    """Return whether a database can store a value: JSON also has larger integers and lone surrogates."""
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return not isinstance(part, str) or not any("\ud800" <= char <= "\udfff" for char in part)
