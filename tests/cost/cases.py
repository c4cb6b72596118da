"""Requests of every RPC, over every protocol, that cost as much as they can within the limits."""

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cost.messages import fillings
from headstart.v1 import capture_policy_pb2, feedback_pb2, input_pb2, version_selector_pb2
from headstart.v1 import dataset_service_pb2 as storing
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import example_service_pb2 as reading
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from headstart.v1 import review_service_pb2 as reviewing
from headstart.v1 import server_service_pb2 as about
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.compat import tensorflow_serving_pb2 as tfs
from headstart_server.prediction.predict_options import MAX_OUTPUTS
from headstart_server.prediction.predictor import MAX_TARGETS
from headstart_server.settings.settings import Settings
from pathological_images import SIDE, bomb, comments, scans, tiny_frames

#: Bytes of the largest input.
INPUT_BYTES = Settings().limits.max_input_size
#: A model that the server has; its backbone takes any bytes for an image.
MODEL = "pets"
#: A model that the server has, too, which captures all inputs.
WATCHED = "watched"
#: A model of the most classes, which the server has, too.
KINDS, KINDS_COUNT = "kinds", Settings().limits.max_classes
#: An open dataset that the server has.
DATASET = "pets"
#: Finished datasets that the server has: one of many examples, and one of images made to cost much.
MANY, IMAGES = "many", "images"
#: Examples of the large dataset.
MANY_COUNT = 10_000
_JSON_BYTES = 15 << 20
#: Bytes of the pixels of the largest image.
_PIXEL_BYTES = 8 * SIDE * SIDE


#: Images whose thumbnails cost as much as they can.
COSTLY_IMAGES: dict[str, Callable[[], bytes]] = {
    "a JPEG of 10 scans": lambda: scans(10),
    "a PNG that unpacks to 512 MB": bomb,
    "a GIF with a long comment": lambda: comments(200_000),
    "a WebP of 100,000 frames": lambda: tiny_frames(100_000),
}


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        name: of the method and the field that is filled.
        path: of the method over gRPC, or of the URL over HTTP.
        messages: over gRPC; a stream has several.
        streams: whether the method takes a stream.
        body: over HTTP; None over gRPC.
        media_type: of the body.
        inflated: bytes of the largest file of an archive, or of the pixels of an image that is read.
    """

    name: str
    path: str
    messages: Sequence[bytes] = ()
    streams: bool = False
    body: bytes | None = None
    media_type: str = ""
    inflated: int = 0

    @property
    def nbytes(self) -> int:
        """The bytes of the request, as they are once unpacked."""
        return self.inflated + sum(map(len, self.messages)) + len(self.body or b"")


_TARGET = version_selector_pb2.VersionSelector(model=MODEL)
#: Requests that are as valid as they can be, for the fields that are not filled.
_VALID: dict[str, Message] = {
    "headstart.v1.PredictRequest": predicting.PredictRequest(targets=[_TARGET]),
    "headstart.v1.EmbedRequest": predicting.EmbedRequest(backbone="fake"),
    "headstart.v1.GetEvaluationRequest": keeping.GetEvaluationRequest(target=_TARGET),
    "headstart.v1.GetReportRequest": keeping.GetReportRequest(target=_TARGET),
    "headstart.v1.WriteExamplesRequest": storing.WriteExamplesRequest(dataset=DATASET),
    "headstart.v1.ListExamplesRequest": reading.ListExamplesRequest(version=_TARGET),
    "headstart.v1.GetExampleContentRequest": reading.GetExampleContentRequest(version=_TARGET, index=0),
    "headstart.v1.GetCaptureStatusRequest": reviewing.GetCaptureStatusRequest(model=WATCHED),
    "headstart.v1.ListReviewRequest": reviewing.ListReviewRequest(model=WATCHED),
    "headstart.v1.GetCapturedInputRequest": reviewing.GetCapturedInputRequest(model=WATCHED),
    "headstart.v1.SendFeedbackRequest": feedback_pb2.SendFeedbackRequest(
        model=WATCHED, label={"class_name": "cat"}
    ),
    "headstart.v1.ListFeedbackRequest": feedback_pb2.ListFeedbackRequest(model=WATCHED),
    "headstart.v1.GetFeedbackSummaryRequest": feedback_pb2.GetFeedbackSummaryRequest(model=WATCHED),
    "headstart.v1.EraseExampleRequest": keeping.EraseExampleRequest(model=MODEL),
    "headstart.v1.GetModelRequest": keeping.GetModelRequest(model=MODEL),
    "inference.ModelInferRequest": oip.ModelInferRequest(model_name=MODEL),
}
#: Streams: their first message, and the one whose fields are filled.
_SPECS: dict[str, tuple[Message, type[Any]]] = {
    "FineTuneRequest": (
        tuning.FineTuneRequest(spec={"model": "costly", "validate_only": True}),
        tuning.FineTuneRequest,
    ),
    "EvaluateRequest": (evaluating.EvaluateRequest(spec={"target": _TARGET}), evaluating.EvaluateRequest),
}


def grpc_cases(budget: int) -> Iterator[Case]:
    """Yield requests of every method of every service."""
    for file in (predicting, tuning, keeping, evaluating, reading, reviewing, storing, about, oip, tfs):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield from _of_method(f"/{service.full_name}/{method.name}", method, budget)


def _of_method(path: str, method: Any, budget: int) -> Iterator[Case]:
    kind = method.input_type
    base = _VALID.get(kind.full_name) or GetMessageClass(kind)()
    first = _SPECS.get(kind.name)
    for field, message in fillings(base, budget):
        content = message.SerializeToString()
        before = [] if first is None or field.startswith("spec") else [first[0].SerializeToString()]
        yield Case(f"{path} {field}", path, [*before, content], streams=method.client_streaming)


def stored_cases(budget: int) -> Iterator[Case]:
    """Yield requests that take much work: about many examples, and images made to cost much."""
    of_many: dict[str, Any] = {"dataset": MANY, "page_size": 1000}
    requests: dict[str, tuple[str, Message]] = {
        "a page": ("ExampleService/ListExamples", reading.ListExamplesRequest(**of_many)),
        "the last one": (
            "ExampleService/ListExamples",
            reading.ListExamplesRequest(filter={"example_id_prefix": f"{MANY_COUNT - 1}"}, **of_many),
        ),
        "one content": (
            "ExampleService/GetExampleContent",
            reading.GetExampleContentRequest(dataset=MANY, index=MANY_COUNT - 1),
        ),
        "a ranking": ("ReviewService/ListReview", reviewing.ListReviewRequest(model=WATCHED, page_size=1000)),
        "feedback": (
            "ReviewService/SendFeedback",
            feedback_pb2.SendFeedbackRequest(
                model=WATCHED,
                # In `make test` less: a busy machine takes several times as long to copy 20 MiB.
                input={"image": bytes(min(INPUT_BYTES, 8 * budget))},
                label={"class_name": "cat"},
            ),
        ),
        "an erasure from a dataset": (
            "ModelService/EraseExample",
            keeping.EraseExampleRequest(model="-", example_id="7"),
        ),
        "an erasure with rebuild": (
            "ModelService/EraseExample",
            keeping.EraseExampleRequest(model=WATCHED, example_id="cat:0", rebuild=True, request_id="r"),
        ),
    }
    for place, name in enumerate(COSTLY_IMAGES):
        requests[f"a thumbnail of {name}"] = (
            "ExampleService/GetExampleContent",
            reading.GetExampleContentRequest(dataset=IMAGES, index=place, thumbnail_size=512),
        )
    for name, (method, message) in requests.items():
        path = f"/headstart.v1.{method}"
        inflated = _PIXEL_BYTES if "thumbnail" in name else 0
        yield Case(f"stored {path}, {name}", path, [message.SerializeToString()], inflated=inflated)


def response_cases() -> Iterator[Case]:
    """Yield small requests whose responses are as large as they may be, or would be larger."""
    inputs = [
        input_pb2.Input(image=f"input {place}".encode()) for place in range(Settings().limits.max_inputs)
    ]
    kinds = version_selector_pb2.VersionSelector(model=KINDS)
    requests: dict[str, predicting.PredictRequest] = {
        "all classes": predicting.PredictRequest(targets=[kinds], top_k=KINDS_COUNT),
        "the highest top_k": predicting.PredictRequest(targets=[kinds], top_k=(1 << 31) - 1),
        "most targets of two classes": predicting.PredictRequest(targets=[_TARGET] * MAX_TARGETS),
        "most outputs": predicting.PredictRequest(
            targets=[kinds] * (MAX_OUTPUTS // KINDS_COUNT // len(inputs))
        ),
        "most targets": predicting.PredictRequest(targets=[kinds] * MAX_TARGETS, top_k=(1 << 31) - 1),
        "neighbors": predicting.PredictRequest(targets=[kinds] * 5, top_k=1, neighbors=100),
    }
    for name, request in requests.items():
        request.inputs.extend(inputs)
        path = "/headstart.v1.PredictionService/Predict"
        yield Case(f"response {path}, {name}", path, [request.SerializeToString()])
        target = request.targets[0].model
        body = MessageToJson(predicting.PredictRequest(inputs=inputs, top_k=request.top_k)).encode()
        path = f"/v1/models/{target}:predict"
        yield Case(f"response HTTP {path}, {name}", path, body=body, media_type="application/json")
    images = tf.TensorProto(
        dtype=tf.DT_STRING,
        string_val=[each.image for each in inputs],
        tensor_shape=tf.TensorShapeProto(dim=[tf.TensorShapeProto.Dim(size=len(inputs))]),
    )
    listed = tfs.Input()
    for each in inputs:
        feature = listed.example_list.examples.add().features.feature["image"]
        feature.bytes_list.value.append(each.image)
    spec = tfs.ModelSpec(name=KINDS)
    raw = b"".join(len(each.image).to_bytes(4, "little") + each.image for each in inputs)
    tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype="BYTES", shape=[len(inputs), 1])
    others: dict[str, Message] = {
        "tensorflow.serving.PredictionService/Predict": tfs.PredictRequest(
            model_spec=spec, inputs={"inputs": images}
        ),
        "tensorflow.serving.PredictionService/Classify": tfs.ClassificationRequest(
            model_spec=spec, input=listed
        ),
        "tensorflow.serving.PredictionService/MultiInference": tfs.MultiInferenceRequest(
            tasks=[{"model_spec": spec, "method_name": "tensorflow/serving/classify"}] * MAX_TARGETS,
            input=listed,
        ),
        "inference.GRPCInferenceService/ModelInfer": oip.ModelInferRequest(
            model_name=KINDS,
            inputs=[tensor],
            raw_input_contents=[raw],
            outputs=[
                oip.ModelInferRequest.InferRequestedOutputTensor(
                    name="probabilities",
                    parameters={"classification": oip.InferParameter(int64_param=KINDS_COUNT)},
                )
            ],
        ),
    }
    for method, message in others.items():
        yield Case(f"response /{method}", f"/{method}", [message.SerializeToString()])


def tensor_cases(budget: int) -> Iterator[Case]:
    """Yield requests of other protocols whose tensors take much work or memory."""
    raw = oip.ModelInferRequest(
        model_name=MODEL,
        inputs=[{"name": "input", "datatype": "BF16", "shape": [1, budget // 2]}],
        raw_input_contents=[bytes(budget // 2 * 2)],
    )
    yield Case("tensors of bfloat16", "/inference.GRPCInferenceService/ModelInfer", [raw.SerializeToString()])
    spec = tfs.ModelSpec(name=MODEL)
    number = tf.Feature(int64_list=tf.Int64List(value=[1] * budget))
    numbers = tfs.ClassificationRequest(
        model_spec=spec,
        input={"example_list": {"examples": [tf.Example(features=tf.Features(feature={"x": number}))]}},
    )
    path = "/tensorflow.serving.PredictionService"
    yield Case("tensors of integers in an example", f"{path}/Classify", [numbers.SerializeToString()])
    for values in ([1.0], [1.0, 2.0]):
        repeated = tf.TensorProto(dtype=tf.DT_FLOAT, float_val=values)
        repeated.tensor_shape.dim.extend(tf.TensorShapeProto.Dim(size=size) for size in (256, 65_536))
        request = tfs.PredictRequest(model_spec=spec, inputs={"inputs": repeated})
        name = f"tensors of repeated values, {len(values)} given"
        yield Case(name, f"{path}/Predict", [request.SerializeToString()])


def http_cases(budget: int) -> Iterator[Case]:
    """Yield requests over HTTP in every form: JSON, JSON lines, forms and archives."""
    predict, tune = f"/v1/models/{MODEL}:predict", "/v1/models/costly:fineTune?validateOnly=true"
    size = min(budget, _JSON_BYTES)
    texts: dict[str, bytes] = {
        "one string": b'{"inputs": [{"image": "' + b"A" * size + b'"}]}',
        "escapes": b'{"inputs": [{"text": "' + b"\\n" * (size // 2) + b'"}]}',
        "empty objects": b'{"inputs": [' + b"{}," * (size // 3) + b"{}]}",
        "empty lists": b'{"inputs": [' + b"[]," * (size // 3) + b"[]]}",
        "numbers": b'{"topK": [' + b"1e1," * (size // 4) + b"0]}",
        "depth": b"[" * size,
        "spaces": b" " * size + b"{}",
    }
    for name, text in texts.items():
        yield Case(f"HTTP JSON, {name}", predict, body=text, media_type="application/json")
        listed = text.replace(b"inputs", b"examples")
        yield Case(f"HTTP JSON examples, {name}", tune, body=listed, media_type="application/json")
    for path, base in (
        (predict, _VALID["headstart.v1.PredictRequest"]),
        ("/v1/backbones/fake:embed", _VALID["headstart.v1.EmbedRequest"]),
    ):
        for field, message in fillings(base, size // 2):
            body = MessageToJson(message).encode()
            if len(body) <= size:
                yield Case(f"HTTP {path} {field}", path, body=body, media_type="application/json")
    lines = {
        "empty": b"\n" * budget,
        "examples": b'{"label":"a","input":{"image":"QQ=="}}\n' * (budget // 40),
        "objects": b"{}\n" * (budget // 3),
        "one": b'{"label":"' + b"a" * size + b'"}',
        "one of escapes": b'{"label":"' + b"\\n" * (size // 2) + b'"}',
        "one of many values": b'{"label":[' + b"1," * 99_000 + b"1]}",
        "a row of many values": b'{"text":"a","label":"b"}\n{"text":[' + b"1," * (size // 2 - 50) + b"1]}",
        "a spec of escapes": b'{"spec":{"displayName":"' + b"\\n" * (size // 2 - 50) + b'"}}',
    }
    for name, body in lines.items():
        yield Case(f"HTTP JSON lines, {name}", tune, body=body, media_type="application/jsonl")
    yield from _forms(predict, tune, budget)
    yield from _archives(tune, budget)


def _forms(predict: str, tune: str, budget: int) -> Iterator[Case]:
    media_type = "multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\r\n'
    header = b"--x\r\n" + b"a: b\r\n" * 1300 + b"\r\n"
    request = b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n' + b"[" * budget + b"\r\n"
    bodies = {
        "empty parts": part * (budget // len(part)),
        "headers": header * (budget // len(header)),
        "one part": part[:-2] + bytes(budget - 1000) + b"\r\n",
        "no boundary": b"\r\n--" * (budget // 4),
        "request": request,
    }
    for name, body in bodies.items():
        for kind, path in (("inputs", predict), ("examples", tune)):
            yield Case(f"HTTP form, {kind}, {name}", path, body=body + b"--x--\r\n", media_type=media_type)


def _archives(tune: str, budget: int) -> Iterator[Case]:
    files = {
        "bomb": [("a/1.jpg", INPUT_BYTES)],
        "many": [(f"a/{place}", 0) for place in range(budget // 120)],
    }
    for name, entries in files.items():
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, size in entries:
                archive.writestr(file, bytes(size))
        with zipfile.ZipFile(out) as archive:
            inflated = max(entry.file_size for entry in archive.infolist())
        yield Case(
            f"HTTP archive, {name}",
            tune,
            body=out.getvalue(),
            media_type="application/zip",
            inflated=inflated,
        )


def examples(model: str) -> list[bytes]:
    """Return the messages of the fine-tune that makes a model."""
    labels, count = [f"kind {place}" for place in range(KINDS_COUNT)], 2
    if model != KINDS:
        labels, count = ["cat", "dog"], 5
    made = [
        input_pb2.Example(
            example_id=f"{label}:{place}",
            input=input_pb2.Input(image=f"{label}:{place}".encode()),
            label={"class_name": label},
        )
        for label in labels
        for place in range(count)
    ]
    return [
        tuning.FineTuneRequest(spec={"model": model}).SerializeToString(),
        tuning.FineTuneRequest(examples=tuning.ExampleBatch(examples=made)).SerializeToString(),
    ]


def datasets() -> Iterator[tuple[str, Message]]:
    """Yield the calls that make the datasets of the server."""
    labels = ("cat", "dog")
    many = [
        input_pb2.Example(
            example_id=str(place),
            input={"image": str(place).encode()},
            label={"class_name": labels[place % 2]},
        )
        for place in range(MANY_COUNT)
    ]
    images = [
        input_pb2.Example(input={"image": make()}, label={"class_name": labels[place % 2]})
        for place, make in enumerate(COSTLY_IMAGES.values())
    ]
    for name, stored in ((DATASET, []), (MANY, many), (IMAGES, images)):
        yield "CreateDataset", storing.CreateDatasetRequest(dataset=name)
        if stored:
            batch = tuning.ExampleBatch(examples=stored)
            yield "WriteExamples", storing.WriteExamplesRequest(dataset=name, examples=batch)
            yield "FinishDataset", storing.FinishDatasetRequest(dataset=name)


def captures() -> Iterator[tuple[str, Message]]:
    """Yield the calls after which a model has captured inputs."""
    capture = capture_policy_pb2.CapturePolicy(random_fraction=1.0)
    yield (
        "ModelService/UpdateModel",
        keeping.UpdateModelRequest(model=WATCHED, capture=capture, update_mask={"paths": ["capture"]}),
    )
    target = version_selector_pb2.VersionSelector(model=WATCHED)
    for start in range(0, 2000, 50):
        inputs = [input_pb2.Input(image=f"captured {start + place}".encode()) for place in range(50)]
        yield "PredictionService/Predict", predicting.PredictRequest(targets=[target], inputs=inputs)
