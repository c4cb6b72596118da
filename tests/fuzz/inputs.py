"""What is fed to parsers: good things with damage, and nonsense of the right kind."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save

from fakes import make_head, make_manifest, make_tail
from headstart import tensors
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.learning.calibration import Calibration
from headstart_server.learning.head import Hidden
from headstart_server.learning.task import Task
from headstart_server.models import tail_file


def damaged(original: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them changed, cut out, put in or cut off."""
    place = st.integers(0, len(original))

    def apply(edits: Iterable[tuple[int, int, bytes]], end: int) -> bytes:
        changed = original
        for start, length, insert in edits:
            changed = changed[:start] + insert + changed[start + length :]
        return changed[:end]

    edit = st.tuples(place, st.integers(0, 16), st.binary(max_size=8))
    ends = st.one_of(st.just(len(original) + 64), place)
    return st.builds(apply, st.lists(edit, max_size=8), ends)


def any_of(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of some good files with damage, or any bytes."""
    return st.one_of(*(damaged(original) for original in originals), st.binary(max_size=400))


def pictures() -> list[bytes]:
    """A small picture in every format, and in the modes that are decoded apart."""
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 255, (24, 32, 3)).astype(np.uint8))
    files = []
    for kind, mode in [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("PNG", "1"),
        ("GIF", "P"),
        ("WEBP", "RGBA"),
        ("BMP", "RGB"),
    ]:
        picture = pixels.convert("L").convert("I;16") if mode == "I;16" else pixels.convert(mode)
        out = io.BytesIO()
        picture.save(out, kind)
        files.append(out.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    pixels.save(out, "JPEG", exif=exif, progressive=True)
    return [*files, out.getvalue()]


def messages() -> dict[str, list[bytes]]:
    """Good requests of each method, serialized, by the method's path."""
    target = predicting.VersionSelector(model="digits", version=1)
    inputs = [
        input_pb2.Input(image=pictures()[3]),
        input_pb2.Input(text="a text"),
        input_pb2.Input(tensor=tensors.encode(np.arange(6, dtype=np.float32))),
    ]
    service = "/headstart.v1."
    return {
        service + "PredictionService/Predict": [
            predicting.PredictRequest(target=target, inputs=[each], top_k=3).SerializeToString()
            for each in inputs
        ],
        service + "PredictionService/Embed": [
            predicting.EmbedRequest(inputs=inputs[:1], views=["taps"]).SerializeToString()
        ],
        service + "FineTuningService/Status": [tuning.StatusRequest(job_id="job").SerializeToString()],
        service + "FineTuningService/ListJobs": [
            tuning.ListJobsRequest(model="digits", page_size=3, page_token="abc").SerializeToString()
        ],
        service + "ModelService/GetModel": [
            keeping.GetModelRequest(model="digits", page_token="WzFd").SerializeToString()
        ],
        service + "ModelService/SetAlias": [
            keeping.SetAliasRequest(model="digits", alias="a", version=1).SerializeToString()
        ],
        service + "ModelService/GetEvaluation": [
            keeping.GetEvaluationRequest(target=target).SerializeToString()
        ],
        service + "ModelService/GetReport": [keeping.GetReportRequest(target=target).SerializeToString()],
    }


def stream() -> list[bytes]:
    """The messages of a good fine-tune, serialized."""
    examples = [
        input_pb2.Example(input=input_pb2.Input(image=picture), label=str(place % 2))
        for place, picture in enumerate(pictures()[:4])
    ]
    recipe = job_pb2.Recipe(ridge=job_pb2.RidgeRecipe())
    spec = job_pb2.FineTuneSpec(model="fuzzed", seed=3, labels={"a": "b"}, recipe=recipe)
    return [
        tuning.FineTuneRequest(spec=spec).SerializeToString(),
        tuning.FineTuneRequest(examples=tuning.ExampleBatch(examples=examples)).SerializeToString(),
    ]


def features() -> st.SearchStrategy[input_pb2.Tensor]:
    """Three numbers, any of them."""
    number = st.floats(width=32)
    return st.lists(number, min_size=3, max_size=3).map(
        lambda numbers: tensors.encode(np.array(numbers, np.float32))
    )


def heads() -> list[bytes]:
    """Files of heads of every kind."""
    plain = make_head()
    hidden = Hidden(weights=np.ones((12, 4), np.float32), bias=np.ones(4, np.float32))
    several = Calibration(
        task=Task.MULTI_LABEL,
        slopes=np.ones(3, np.float32),
        offsets=np.ones(3, np.float32),
        thresholds=np.ones(3, np.float32),
    )
    made = [
        plain,
        replace(plain, hidden=hidden, weights=np.ones((4, 3), np.float32)),
        replace(plain, calibration=several),
    ]
    return [save(head.tensors(), metadata={"input": "unit last"}) for head in made]


def tails() -> list[bytes]:
    """A file of a tail."""
    return [tail_file.encode(make_tail())]


def manifests() -> list[bytes]:
    """Manifests as they are stored."""
    return [
        json.dumps(make_manifest(**changes).to_json()).encode()
        for changes in ({}, {"task": Task.MULTI_LABEL, "thresholds": (0.1, 0.2, 0.3)})
    ]


def json_values() -> st.SearchStrategy[object]:
    """Any JSON values."""
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    )


def changed_manifests() -> st.SearchStrategy[bytes]:
    """Manifests with some fields replaced by any values."""
    (good, other) = (json.loads(each) for each in manifests())

    def apply(which: bool, changes: dict[str, object]) -> bytes:
        return json.dumps({**(good if which else other), **changes}).encode()

    return st.builds(
        apply, st.booleans(), st.dictionaries(st.sampled_from(sorted(good)), json_values(), max_size=3)
    )


def evidence() -> list[bytes]:
    """Files of what answers rest on, of both kinds, with few facts."""
    rows = {"scales": np.ones(2, np.float32)}
    facts = np.frombuffer(b'{"views": ["last"], "ids": ["a", "b"], "targets": [{}, {}]}', np.uint8)
    return [
        save(
            {
                **rows,
                "references": np.ones((2, 3), np.int8),
                "distances": np.ones(2, np.float32),
                "facts": facts,
            }
        ),
        save({**rows, "rows": np.ones((2, 3), np.int8), "places": np.arange(2), "facts": facts}),
    ]


def checkpoints() -> list[bytes]:
    """PyTorch's files, in both of their forms."""
    import torch

    files = []
    for new in (True, False):
        out = io.BytesIO()
        torch.save({"a.weight": torch.ones(2, 3)}, out, _use_new_zipfile_serialization=new)
        files.append(out.getvalue())
    return files
