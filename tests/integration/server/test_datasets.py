"""Named datasets behind the port: written, repeated, used, erased and deleted, over gRPC and HTTP."""

import base64
import io
import json
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from headstart import AsyncClient, Client, Example
from headstart.inputs.checksum import NO_EXAMPLES, checksum_after
from headstart.v1 import dataset_service_pb2 as storing
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import example_service_pb2 as reading
from headstart.v1 import example_service_pb2_grpc, input_pb2, version_selector_pb2
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import TIMEOUT, Api, digit, example, refusal_of
from server_process import ServerProcess


def digits_of(start: int, count: int) -> list[input_pb2.Example]:
    return [
        example(digit(label, place), str(label), example_id=f"{label}-{place}")
        for place in range(start, start + count)
        for label in (0, 1, 7)
    ]


def write(
    api: Api, name: str, batch: int, examples: Sequence[input_pb2.Example], **fields: Any
) -> storing.Dataset:
    request = storing.WriteExamplesRequest(
        dataset=name, batch=batch, examples=tuning.ExampleBatch(examples=examples), **fields
    )
    return api.datasets.WriteExamples(request, timeout=TIMEOUT).dataset


@contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    found = refusal_of(caught.value)
    assert (found.code, found.reason) == (code, reason), found.message


@pytest.fixture
def name() -> str:
    return f"set-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def stored(api: Api, name: str) -> storing.Dataset:
    """A finished dataset of two batches."""
    api.datasets.CreateDataset(storing.CreateDatasetRequest(dataset=name, display_name="Digits"))
    write(api, name, 0, digits_of(0, 3))
    write(api, name, 1, digits_of(3, 3))
    return api.datasets.FinishDataset(storing.FinishDatasetRequest(dataset=name, example_count=18)).dataset


def test_a_dataset_is_trained_on_measured_on_and_compared_on(
    api: Api, model: str, stored: storing.Dataset
) -> None:
    sent = api.published(digits_of(0, 6), model=model)
    job = api.published([], model=model, dataset=stored.dataset)
    assert job.dataset_digest == stored.digest == sent.dataset_digest
    assert (job.spec.dataset, job.example_count) == (stored.dataset, 18)
    assert api.validate([], model=model, dataset=stored.dataset).valid

    target = version_selector_pb2.VersionSelector(model=model, version=2)
    spec = evaluating.EvaluateSpec(target=target, dataset=stored.dataset)
    measured = api.evaluation.Evaluate(iter([evaluating.EvaluateRequest(spec=spec)]), timeout=TIMEOUT)
    assert measured.trained_count == 18
    first = version_selector_pb2.VersionSelector(model=model, version=1)
    both = evaluating.CompareSpec(first=first, second=target, dataset=stored.dataset)
    compared = api.evaluation.Compare(iter([evaluating.CompareRequest(spec=both)]), timeout=TIMEOUT)
    assert compared.comparison.example_count == 18


def test_examples_are_sent_or_named_but_not_both(api: Api, model: str, stored: storing.Dataset) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_STREAM"):
        api.fine_tune(digits_of(0, 1), model=model, dataset=stored.dataset)
    target = version_selector_pb2.VersionSelector(
        model=api.published(digits_of(0, 6), model=model).spec.model
    )
    requests = [
        evaluating.EvaluateRequest(spec={"target": target, "dataset": stored.dataset}),
        evaluating.EvaluateRequest(examples={"examples": digits_of(0, 1)}),
    ]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_STREAM"):
        api.evaluation.Evaluate(iter(requests), timeout=TIMEOUT)


def test_the_checksum_is_that_of_the_contract(api: Api, name: str) -> None:
    api.datasets.CreateDataset(storing.CreateDatasetRequest(dataset=name))
    first = checksum_after(NO_EXAMPLES, digits_of(0, 1))
    assert write(api, name, 0, digits_of(0, 1), sha256=first).sha256 == first
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "CHECKSUM_MISMATCH"):
        write(api, name, 1, digits_of(1, 1), sha256=first)
    second = checksum_after(first, digits_of(1, 1))
    assert write(api, name, 1, digits_of(1, 1), sha256=second).next_batch == 2
    assert write(api, name, 0, digits_of(0, 1), sha256=first).next_batch == 2


def test_each_refusal_has_its_reason(api: Api, name: str) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND"):
        api.datasets.GetDataset(storing.GetDatasetRequest(dataset=name))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        api.datasets.CreateDataset(storing.CreateDatasetRequest(dataset="a b"))
    api.datasets.CreateDataset(storing.CreateDatasetRequest(dataset=name))
    with refused(grpc.StatusCode.ALREADY_EXISTS, "DATASET_EXISTS"):
        api.datasets.CreateDataset(storing.CreateDatasetRequest(dataset=name))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "BATCH_MISSING"):
        write(api, name, 1, digits_of(0, 1))
    write(api, name, 0, digits_of(0, 1))
    with refused(grpc.StatusCode.ABORTED, "BATCH_CONFLICT"):
        write(api, name, 0, digits_of(1, 1))
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "DATASET_NOT_READY"):
        api.fine_tune([], model="pets", dataset=name)
    finish = storing.FinishDatasetRequest(dataset=name, example_count=4)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "DATASET_NOT_READY"):
        api.datasets.FinishDataset(finish)
    finish.ClearField("example_count")
    api.datasets.FinishDataset(finish)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "DATASET_FINISHED"):
        write(api, name, 1, digits_of(1, 1))
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        api.datasets.DeleteDataset(storing.DeleteDatasetRequest(dataset=name, etag="x"))


def test_datasets_are_listed_in_pages_changed_and_erased_from(api: Api, stored: storing.Dataset) -> None:
    request = storing.UpdateDatasetRequest(dataset=stored.dataset, tags={"a": "b"})
    request.update_mask.paths.append("tags")
    changed = api.datasets.UpdateDataset(request).dataset
    assert (dict(changed.tags), changed.display_name) == ({"a": "b"}, "Digits")
    names, token = [], ""
    while True:
        page = api.datasets.ListDatasets(storing.ListDatasetsRequest(page_size=1, page_token=token))
        names += [each.dataset for each in page.datasets]
        if not (token := page.next_page_token):
            break
    assert stored.dataset in names
    assert names == sorted(names)
    erased = api.models.EraseExample(keeping.EraseExampleRequest(model="-", example_id="0-0"))
    assert stored.dataset in erased.datasets
    after = api.datasets.GetDataset(storing.GetDatasetRequest(dataset=stored.dataset)).dataset
    assert (after.example_count, after.class_counts["0"]) == (17, 5)


def test_the_examples_of_a_dataset_are_listed_with_their_contents(api: Api, stored: storing.Dataset) -> None:
    examples = example_service_pb2_grpc.ExampleServiceStub(api.channel)
    request = reading.ListExamplesRequest(dataset=stored.dataset, filter={"label": "7"}, page_size=4)
    page = examples.ListExamples(request, timeout=TIMEOUT)
    assert [each.example.example_id for each in page.examples] == ["7-0", "7-1", "7-2", "7-3"]
    assert page.example_count == 6
    request.page_token = page.next_page_token
    assert len(examples.ListExamples(request, timeout=TIMEOUT).examples) == 2
    content = reading.GetExampleContentRequest(dataset=stored.dataset, example_id="7-3")
    assert examples.GetExampleContent(content, timeout=TIMEOUT).content == digit(7, 3)
    content.dataset = "missing"
    with refused(grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND"):
        examples.GetExampleContent(content, timeout=TIMEOUT)


async def test_the_client_lists_the_examples_of_a_dataset(
    server: ServerProcess, stored: storing.Dataset
) -> None:
    with Client(server.target) as client:
        dataset = client.dataset(stored.dataset)
        records = list(dataset.examples(label="7"))
        assert [each.example.example_id for each in records] == [f"7-{place}" for place in range(6)]
        assert dataset.content(records[3]).content == dataset.content("7-3").content == digit(7, 3)
        assert dataset.thumbnail("7-3", 64).media_type == "image/jpeg"
        assert len(list(dataset.examples())) == 18
    async with AsyncClient(server.target) as client:
        dataset = client.dataset(stored.dataset)
        assert [each async for each in dataset.examples(label="7")] == records
        assert (await dataset.content("7-3")).content == digit(7, 3)
        assert (await dataset.thumbnail("7-3", 64)).media_type == "image/jpeg"


def test_pixels_of_a_dataset_are_returned_as_an_image(server: ServerProcess, name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    with Client(server.target) as client:
        dataset = client.dataset(name)
        dataset.upload([Example(pixels, "a", id="pixels")])
        content = dataset.content("pixels")
        (record,) = dataset.examples()
        assert record.media_type == content.media_type == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content.content))), pixels)
        assert dataset.thumbnail("pixels", 64).media_type == "image/jpeg"


def test_a_dataset_is_uploaded_over_http(server: ServerProcess, name: str) -> None:
    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"http://{server.event('http_listening')}{path}"
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers)
        ) as answer:
            return json.load(answer)

    post("/v1/datasets", {"dataset": name})
    for batch in (0, 0, 1):
        examples = [
            {
                "input": {"image": base64.b64encode(each.input.image).decode()},
                "label": {"className": each.label.class_name},
            }
            for each in digits_of(batch, 1)
        ]
        body = {"batch": str(batch), "examples": {"examples": examples}}
        dataset = post(f"/v1/datasets/{name}:write", body)["dataset"]
    assert (dataset["nextBatch"], dataset["exampleCount"], dataset["state"]) == (
        "2",
        "6",
        "DATASET_STATE_OPEN",
    )
    assert post(f"/v1/datasets/{name}:finish", {})["dataset"]["digest"]
