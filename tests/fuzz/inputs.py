"""What is fed to parsers: good things with damage, and nonsense of the right kind."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load, save

from fakes import make_head, make_manifest, make_tail
from headstart.inputs import tensors
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.column_json import dump_columns
from headstart_server.learning.analysis.neighbors import NeighborExample, index_neighbors
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import HiddenLayer
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.models import evidence, store
from headstart_server.models.version_files import encode_evaluation
from report_samples import of_classes, of_numbers, of_several_labels


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


def either(first: st.SearchStrategy[bytes], second: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """One of two, each half of the time, of however many kinds the other is made."""
    return st.booleans().flatmap(lambda is_first: first if is_first else second)


def images() -> list[bytes]:
    """A small image in every format, and in the modes that are decoded apart."""
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
        image = pixels.convert("L").convert("I;16") if mode == "I;16" else pixels.convert(mode)
        out = io.BytesIO()
        image.save(out, kind)
        files.append(out.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    pixels.save(out, "JPEG", exif=exif, progressive=True)
    return [*files, out.getvalue()]


def messages() -> dict[str, list[bytes]]:
    """Good requests of each method, serialized, by the method's path."""
    target = version_selector_pb2.VersionSelector(model="digits", version=1)
    inputs = [
        input_pb2.Input(image=images()[3]),
        input_pb2.Input(text="a text"),
        input_pb2.Input(tensor=tensors.encode(np.arange(6, dtype=np.float32))),
    ]
    service = "/headstart.v1."
    return {
        service + "PredictionService/Predict": [
            predicting.PredictRequest(targets=[target], inputs=[each], top_k=3).SerializeToString()
            for each in inputs
        ],
        service + "PredictionService/Embed": [
            predicting.EmbedRequest(inputs=inputs[:1], views=["taps"]).SerializeToString()
        ],
        service + "FineTuningService/Status": [tuning.StatusRequest(job_id="job").SerializeToString()],
        service + "FineTuningService/ListJobs": [
            tuning.ListJobsRequest(model="digits", page_size=3, page_token="abc").SerializeToString()
        ],
        service + "ModelService/ListVersions": [
            keeping.ListVersionsRequest(model="digits", page_token="WzEsMV0=").SerializeToString()
        ],
        service + "ModelService/SetAlias": [
            keeping.SetAliasRequest(model="digits", alias="a", version=1).SerializeToString()
        ],
        service + "ModelService/GetEvaluation": [
            keeping.GetEvaluationRequest(target=target).SerializeToString()
        ],
        service + "ModelService/GetReport": [keeping.GetReportRequest(target=target).SerializeToString()],
    }


def json_bodies() -> list[bytes]:
    """Good bodies of a Predict, with each form of inputs, and with escapes."""
    bodies: list[object] = [
        {"inputs": [{"image": "iVBORw0KGgo="}, {"image": "-_8\n"}], "topK": 3},
        {"inputs": [{"text": 'a "text"\n\\ of é and 😀'}], "targets": [{"model": "digits", "version": "1"}]},
        {
            "inputs": [{"features": [1, -2.5e3, 0.1]}],
            "abstention": {"falseAlarmRate": 0.05},
            "routingKey": "a",
        },
        {"inputs": [{"tensor": {"dataType": "DATA_TYPE_UINT8", "shape": ["2"], "data": "AAA="}}]},
    ]
    return [json.dumps(body).encode() for body in bodies]


def forms() -> list[bytes]:
    """Good forms with the boundary `x`, after the size of the pieces in which they come."""
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n%s\r\n%s\r\n'
    parts = [
        part % (b"spec", b"", b"", b'{"alias": "stable"}'),
        part % (b"cat", b'; filename="a/1.jpg"', b"Content-Type: image/jpeg\r\n", b"\xff\xd8\r\n--y"),
    ]
    return [bytes([size]) + b"".join(parts) + b"--x--\r\n" for size in (0, 1, 7)]


def example_lists() -> list[bytes]:
    """Stored lists of examples, with a long one, whose columns have several lines."""
    example = StoredExample(
        target=Target.of_label("cat"), id="e", held_out=True, digest="d", kind="text", archive="a"
    )
    outcome = PredictionOutcome(
        labels=("cat",), value=None, probability=0.5, loss=0.7, held_out=False, counted=True
    )
    short = ExampleList(examples=[example], outcomes=[outcome], left_out=["m"])
    return [dump_columns(each.to_json()).encode() for each in (short, ExampleList(examples=[example] * 1100))]


def stream() -> list[bytes]:
    """The messages of a good fine-tune, serialized."""
    examples = [
        input_pb2.Example(input=input_pb2.Input(image=image), label={"class_name": str(place % 2)})
        for place, image in enumerate(images()[:4])
    ]
    recipe = job_pb2.Recipe(ridge=job_pb2.RidgeRecipe())
    spec = job_pb2.FineTuneSpec(model="fuzzed", seed=3, tags={"a": "b"}, recipe=recipe)
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
    hidden = HiddenLayer(weights=np.ones((12, 4), np.float32), bias=np.ones(4, np.float32))
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
    return [store.encode_tail(make_tail())]


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


def changed_json(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """JSON files with some values at any depth replaced by any others, or gone."""

    def apply(original: bytes, changes: list[tuple[int, object]]) -> bytes:
        values = json.loads(original)
        for place, value in changes:
            inner = _containers(values)
            chosen = inner[place % len(inner)]
            keys = list(chosen) if isinstance(chosen, dict) else list(range(len(chosen)))
            if not keys:
                continue
            key = keys[place // len(inner) % len(keys)]
            if value is _GONE:
                del chosen[key]
            else:
                chosen[key] = value
        return json.dumps(values).encode()

    # Mostly small changes: one of a kind that fits is taken by more parsers than one of any kind.
    value = st.one_of(
        json_values(), st.just(_GONE), st.integers(-2, 3), st.floats(-2, 2), st.text(max_size=4)
    )
    return st.builds(
        apply, st.sampled_from(originals), st.lists(st.tuples(st.integers(0, 1 << 20), value), max_size=3)
    )


_GONE = object()


def _containers(values: object) -> list[Any]:
    found, waiting = [], [values]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            found.append(one)
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return found


def with_changed_facts(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files of tensors whose facts, JSON in a tensor of their own, are changed, and nothing else."""
    loaded = [load(original) for original in originals]
    facts = [changed_json([tensors_["facts"].tobytes()]) for tensors_ in loaded]

    def apply(place: int, changed: Sequence[bytes]) -> bytes:
        return save({**loaded[place], "facts": np.frombuffer(changed[place], np.uint8)})

    return st.builds(apply, st.integers(0, len(loaded) - 1), st.tuples(*facts))


def typicality_model() -> list[bytes]:
    """A file with a typicality model."""
    rng = np.random.default_rng(0)
    views = {"last": rng.normal(size=(6, 8)).astype(np.float32)}
    digests = [f"{place:064x}" for place in range(6)]
    learned = fit_typicality_model(views, ("last",), digests, digests)
    assert learned is not None
    return [evidence.typicality_model_to_bytes(learned)]


def neighbors() -> list[bytes]:
    """Files of near examples, of each task."""
    rng = np.random.default_rng(0)
    views = {"last": rng.normal(size=(3, 8)).astype(np.float32)}
    digests = [f"{place:064x}" for place in range(3)]
    kinds = (
        [Target.of_label(name) for name in "aba"],
        [Target.of_labels(names) for names in ("ab", "", "c")],
        [Target.of_value(value) for value in (0.5, 1, 2)],
    )
    return [
        evidence.neighbors_bytes(
            index_neighbors(
                views,
                ("last",),
                [
                    NeighborExample(index=place, id=f"id{place}", target=target)
                    for place, target in enumerate(targets)
                ],
                digests,
            )
        )
        for targets in kinds
    ]


def evaluations() -> list[bytes]:
    """Files of evaluations and findings, of few classes, several labels and numbers."""
    return [
        encode_evaluation(facts.evaluation, facts.findings)
        for facts in (of_classes(3, 60), of_several_labels(), of_numbers())
        if facts.evaluation is not None and facts.findings is not None
    ]


def lists() -> list[tuple[str, bytes]]:
    """Lists of examples, by the endings of their names."""
    return [
        (".csv", b'path,label,id,held_out,weight\na/1.jpg,cat,one,yes,0.5\n"b,2.jpg",dog,,,\n'),
        (".csv", b"text,labels\nof several,a|b\nof none,\n"),
        (".tsv", b"text\tvalue\nlong\t1.5\n"),
        (".jsonl", b'{"path": "a.jpg", "label": "a"}\n{"text": "t", "label": "b", "weight": 2}\n'),
        (".jsonl", b'{"text": "t", "probabilities": {"a": 0.25, "b": 0.75}, "id": "x"}\n'),
        (".jsonl", b'{"text": "t", "labels": ["a", "b"]}\n'),
    ]


def uris() -> list[bytes]:
    """URIs and paths of a list, a line each: the URI that is allowed, the list's, and what it names."""
    return [
        b"s3://bucket/sets\ns3://bucket/sets/labels.csv\na/1.jpg",
        b"https://data.example.com/sets\nhttps://data.example.com/sets/labels.csv\na b.jpg",
        b"/data/sets\nfile:///data/sets/labels.csv\nfile:///data/sets/a/1.jpg",
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
