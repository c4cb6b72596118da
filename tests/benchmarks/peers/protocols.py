"""How each server is called with one image, and how its answer is read.

A request is put together from parts made beforehand, so that asking takes next to none of the cores that the
servers are measured on.
"""

import json
import struct
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb
from peers import inference
from peers.variants import CLASSES


class Asking(Protocol):
    """One way to ask.

    Attributes:
        method: the full name of a gRPC method; None: HTTP.
    """

    method: str | None

    def request(self, variant: str, image: int) -> bytes:
        """What to send: a serialised message, or a whole HTTP request."""

    def probabilities(self, answer: bytes) -> Sequence[float]:
        """The probabilities in an answer: a serialised message, or the body of a response."""


class HeadstartAsking:
    """Predict of Headstart, over gRPC; it answers all classes, as the others do."""

    method = "/headstart.v1.PredictionService/Predict"

    def __init__(self, variants: Sequence[str], files: Sequence[bytes]) -> None:
        self._targets = {
            name: pb.PredictRequest(
                targets=[version_selector_pb2.VersionSelector(model=name)], top_k=CLASSES
            ).SerializeToString()
            for name in variants
        }
        self._inputs = [
            pb.PredictRequest(inputs=[input_pb2.Input(image=file)]).SerializeToString() for file in files
        ]

    def request(self, variant: str, image: int) -> bytes:
        # Messages of one type put end to end are merged when read.
        return self._targets[variant] + self._inputs[image]

    def probabilities(self, answer: bytes) -> Sequence[float]:
        (prediction,) = pb.PredictResponse.FromString(answer).results[0].predictions
        return [entry.probability for entry in prediction.classes]


class InferenceAsking:
    """The open inference protocol (version 2) over gRPC, files as raw bytes.

    Args:
        variants: their names.
        files: the images.
        shape: of one file; servers that batch want a first dimension for it.
    """

    method = "/inference.GRPCInferenceService/ModelInfer"

    def __init__(self, variants: Sequence[str], files: Sequence[bytes], shape: Sequence[int]) -> None:
        self._models = {
            name: inference.Request(model_name=name, inputs=[_tensor(shape)]).SerializeToString()
            for name in variants
        }
        # Elements of type BYTES are raw bytes behind their length.
        self._contents = [
            inference.Request(raw_input_contents=[struct.pack("<I", len(file)) + file]).SerializeToString()
            for file in files
        ]

    def request(self, variant: str, image: int) -> bytes:
        return self._models[variant] + self._contents[image]

    def probabilities(self, answer: bytes) -> Sequence[float]:
        response = inference.Response.FromString(answer)
        if response.raw_output_contents:
            return np.frombuffer(response.raw_output_contents[0], np.float32).tolist()
        contents = response.outputs[0].contents
        return [*contents.fp32_contents, *contents.fp64_contents]


class MinimalAsking:
    """The message of the minimal server, over gRPC: a name, a zero byte, and an image file."""

    method = "/minimal.Classifier/Classify"

    def __init__(self, files: Sequence[bytes]) -> None:
        self._files = files

    def request(self, variant: str, image: int) -> bytes:
        return variant.encode() + b"\0" + self._files[image]

    def probabilities(self, answer: bytes) -> Sequence[float]:
        return np.frombuffer(answer, np.float32).tolist()


class FormAsking:
    """A form with a file, over HTTP; the answer is JSON.

    Args:
        variants: their names.
        files: the images.
        field: name of the file's field.
        path: with ``{}`` for the variant; without, the form has a field ``variant``.
    """

    method = None

    def __init__(self, variants: Sequence[str], files: Sequence[bytes], *, field: str, path: str) -> None:
        disposition = 'Content-Disposition: form-data; name="{}"'
        part = disposition.format(field) + '; filename="image.jpg"\r\nContent-Type: image/jpeg'
        self._bodies = [
            b"--frontier\r\n" + part.encode() + b"\r\n\r\n" + file + b"\r\n--frontier" for file in files
        ]
        self._ends = dict.fromkeys(variants, b"--\r\n")
        if "{}" not in path:
            named = "\r\n" + disposition.format("variant") + "\r\n\r\n{}\r\n--frontier--\r\n"
            self._ends = {name: named.format(name).encode() for name in variants}
        self._heads = {
            name: f"POST {path.format(name)} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
            "Content-Type: multipart/form-data; boundary=frontier\r\nContent-Length: ".encode()
            for name in variants
        }

    def request(self, variant: str, image: int) -> bytes:
        body, end = self._bodies[image], self._ends[variant]
        return b"%b%d\r\n\r\n%b%b" % (self._heads[variant], len(body) + len(end), body, end)

    def probabilities(self, answer: bytes) -> Sequence[float]:
        parsed = json.loads(answer)
        return np.ravel(parsed["probabilities"] if isinstance(parsed, dict) else parsed).tolist()


def _tensor(shape: Sequence[int]) -> "inference.Tensor":
    return inference.Tensor(name="image", datatype="BYTES", shape=shape)
