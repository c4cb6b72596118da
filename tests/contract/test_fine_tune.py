import threading
from datetime import timedelta

import grpc
import numpy as np
import pytest

from contract.fake_server import UNAVAILABLE, FakeServer, Fault, job
from headstart import (
    Client,
    Example,
    InvalidArgument,
    PromotionGate,
    ResourceExhausted,
    Ridge,
    Text,
    Unavailable,
)
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2


def sent(server: FakeServer, call: int = -1) -> list:
    """The examples of a FineTune stream."""
    _, *batches = server.requests["FineTune"][call]
    return [example for batch in batches for example in batch.examples.examples]


def test_the_spec_comes_first_and_carries_every_setting(client: Client, server: FakeServer):
    job = client.fine_tune(
        [(b"meow", "cat"), (b"woof", "dog")],
        model="pets",
        backbone="efficientnet-lite0",
        recipe=Ridge(regularization=0.5, folds=3),
        held_out_fraction=0.25,
        seed=7,
        display_name="Pets",
        tags={"team": "vision"},
        alias="stable",
        ttl=timedelta(minutes=5),
        max_excluded_fraction=0.1,
        priority=3,
        request_id="r-1",
    )

    first, *_ = server.requests["FineTune"][0]
    assert job.job_id == "job-1"
    assert first.spec.model == "pets"
    assert first.spec.backbone == "efficientnet-lite0"
    assert first.spec.recipe.ridge.regularization == 0.5
    assert first.spec.recipe.ridge.folds == 3
    assert not first.spec.recipe.ridge.HasField("temperature")
    assert first.spec.held_out_fraction == 0.25
    assert first.spec.seed == 7
    assert first.spec.display_name == "Pets"
    assert first.spec.tags == {"team": "vision"}
    assert first.spec.alias == "stable"
    assert first.spec.ttl.seconds == 300
    assert first.spec.max_excluded_fraction == 0.1
    assert first.spec.priority == 3
    assert first.spec.request_id == "r-1"
    assert not first.spec.validate_only


def test_examples_may_be_added_to_those_of_a_version(client: Client, server: FakeServer):
    client.fine_tune(
        [],
        model="pets",
        parent="stable",
        remove=("cat/1.jpg", "cat/2.jpg"),
        alias="stable",
        promote_if=PromotionGate(max_drop=0.0),
        task="single_label",
        discard_examples=True,
    )

    ((first,),) = server.requests["FineTune"]
    assert first.spec.parent_alias == "stable"
    assert [(edit.example_id, edit.remove) for edit in first.spec.edits] == [
        ("cat/1.jpg", True),
        ("cat/2.jpg", True),
    ]
    assert first.spec.promote_if.HasField("max_drop")
    assert not first.spec.promote_if.HasField("max_class_drop")
    assert first.spec.task == input_pb2.TASK_SINGLE_LABEL
    assert first.spec.discard_examples


def test_each_kind_of_content_goes_into_its_own_field(client: Client, server: FakeServer, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")

    client.fine_tune(
        [
            (str(tmp_path / "a.jpg"), "x"),
            (tmp_path / "a.jpg", "x"),
            (b"bytes", "y"),
            (np.zeros((2, 2, 3), np.uint8), "y"),
            Example(Text("hello"), "z", id="greeting", held_out=True),
        ],
        model="m",
    )

    images, texts, tensors = [], [], []
    for example in sent(server):
        images.append(example.input.image)
        texts.append(example.input.text)
        tensors.append(list(example.input.tensor.shape))
    assert images == [b"jpeg", b"jpeg", b"bytes", b"", b""]
    assert texts == ["", "", "", "", "hello"]
    assert tensors == [[], [], [], [2, 2, 3], []]
    assert sent(server)[-1].example_id == "greeting"
    assert sent(server)[-1].held_out


def test_a_broken_upload_is_sent_again_with_the_same_request_id(client: Client, server: FakeServer):
    server.script("FineTune", Fault(code=grpc.StatusCode.UNAVAILABLE, after_messages=1), UNAVAILABLE)

    client.fine_tune([(b"1", "a"), (b"2", "b")], model="m")

    streams = server.requests["FineTune"]
    assert len(streams) == 3
    assert len({stream[0].spec.request_id for stream in streams}) == 1
    assert streams[0][0].spec.request_id
    assert [example.input.image for example in sent(server)] == [b"1", b"2"]


def test_two_fine_tunes_have_different_request_ids(client: Client, server: FakeServer):
    for _ in range(2):
        client.fine_tune([(b"1", "a")], model="m")

    first, second = server.requests["FineTune"]
    assert first[0].spec.request_id != second[0].spec.request_id


def test_examples_that_can_be_iterated_once_are_sent_again_too(client: Client, server: FakeServer):
    server.script("FineTune", Fault(code=grpc.StatusCode.UNAVAILABLE, after_messages=3), UNAVAILABLE)

    client.fine_tune(((str(n).encode(), "ab"[n % 2]) for n in range(2000)), model="m")

    assert [example.input.image for example in sent(server)] == [str(n).encode() for n in range(2000)]


def test_after_enough_tries_the_error_of_the_last_is_raised(client: Client, server: FakeServer):
    server.standing["FineTune"] = UNAVAILABLE

    with pytest.raises(Unavailable) as caught:
        client.fine_tune([(b"1", "a")], model="m")

    assert caught.value.reason == "DRAINING"
    assert len(server.requests["FineTune"]) == 4


def test_no_retries_means_one_try(server: FakeServer):
    server.standing["FineTune"] = UNAVAILABLE

    with Client(server.target, retries=0) as client, pytest.raises(Unavailable):
        client.fine_tune([(b"1", "a")], model="m")

    assert len(server.requests["FineTune"]) == 1


def test_other_errors_are_not_tried_again(client: Client, server: FakeServer):
    server.script(
        "FineTune",
        Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="JOB_QUEUE_FULL", retry_after=1.5),
    )

    with pytest.raises(ResourceExhausted) as caught:
        client.fine_tune([(b"1", "a")], model="m")

    assert caught.value.retry_after == timedelta(seconds=1.5)
    assert len(server.requests["FineTune"]) == 1


def test_an_error_that_comes_before_the_end_of_a_long_stream_stops_the_upload(
    client: Client, server: FakeServer
):
    server.script(
        "FineTune", Fault(code=grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", after_messages=1)
    )

    def endless():
        while True:
            yield b"x" * 100_000, "a"

    with pytest.raises(InvalidArgument):
        client.fine_tune(endless(), model="m")


def test_a_job_that_is_answered_before_the_stream_was_read_is_taken(client: Client, server: FakeServer):
    server.script(
        "FineTune", lambda messages: tuning.FineTuneResponse(job=job(job_id=f"after-{len(messages)}"))
    )

    assert client.fine_tune([(b"1", "a")], model="m").job_id == "after-2"


def test_a_fault_of_the_caller_s_own_is_raised_as_it_is_and_the_server_gets_no_half_dataset(
    client: Client, server: FakeServer
):
    class Broken(Exception):
        pass

    def examples():
        yield b"1", "a"
        assert server.started.wait(60)
        raise Broken

    server.expects_broken = True
    with pytest.raises(Broken):
        client.fine_tune(examples(), model="m")

    assert server.broken.wait(60)
    assert server.received == []


def test_a_missing_file_is_named(client: Client):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        client.fine_tune([("nowhere.jpg", "a")], model="m")


def test_examples_are_read_in_the_caller_s_own_thread(client: Client):
    threads = set()

    def examples():
        for n in range(3):
            threads.add(threading.current_thread())
            yield bytes([n]), "ab"[n % 2]

    client.fine_tune(examples(), model="m")

    assert threads == {threading.current_thread()}


def test_progress_of_the_upload_is_reported_up_to_the_total(client: Client):
    reports = []

    client.fine_tune(
        {"a": [b"1"] * 300, "b": [b"2"]}, model="m", on_upload=lambda *report: reports.append(report)
    )

    assert reports == [(0, 301), (256, 301), (301, 301)]


def test_the_total_of_a_generator_is_known_at_its_end(client: Client):
    reports = []

    client.fine_tune(iter([(b"1", "a")]), model="m", on_upload=lambda *report: reports.append(report))

    assert reports == [(0, None), (1, None), (1, 1)]


def test_an_upload_without_examples_is_reported_as_complete(client: Client):
    reports = []

    client.fine_tune(model="m", dataset="stored", on_upload=lambda *report: reports.append(report))

    assert reports[-1] == (0, 0)


def test_validation_asks_for_findings_and_makes_no_job(client: Client, server: FakeServer):
    server.script(
        "FineTune",
        tuning.FineTuneResponse(
            validation=tuning.Validation(
                valid=False,
                example_count=2,
                class_counts={"b": 1, "a": 1},
                faults=[
                    {
                        "index": 1,
                        "example_id": "x",
                        "reason": "ERROR_REASON_UNDECODABLE_INPUT",
                        "message": "no image",
                    }
                ],
                fault_count=1,
                message="One example cannot be used.",
            )
        ),
    )

    found = client.validate([(b"1", "a"), (b"2", "b")], model="m", seed=3)

    assert server.requests["FineTune"][0][0].spec.validate_only
    assert server.requests["FineTune"][0][0].spec.seed == 3
    assert not found.valid
    assert found.class_counts == {"a": 1, "b": 1}
    assert found.faults[0].reason == "UNDECODABLE_INPUT"


def test_an_unknown_setting_is_refused_with_those_there_are(client: Client):
    with pytest.raises(TypeError, match=r"fine_tune has no setting 'sede'. Did you mean 'seed'?"):
        client.fine_tune([], model="m", sede=1)


def test_metadata_and_token_are_sent_along(server: FakeServer):
    with Client(server.target, metadata={"X-Tenant": "a"}, token="secret") as client:
        client.fine_tune([(b"1", "a")], model="m")
        client.models()

    for method in ("FineTune", "ListModels"):
        assert server.metadata[method][0]["x-tenant"] == "a"
        assert server.metadata[method][0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("uri", ["s3://bucket/a.csv", "gs://b/a.csv", "https://h/a.jsonl", "file:///a.csv"])
def test_a_uri_is_left_to_the_server_to_read(client: Client, server: FakeServer, uri: str):
    client.fine_tune(uri, model="pets")

    first, *others = server.requests["FineTune"][0]
    assert first.spec.dataset_uri == uri
    assert not others


def test_a_uri_is_read_for_fine_tunes_only(client: Client, server: FakeServer):
    with pytest.raises(ValueError, match="for fine-tunes only"):
        client.evaluate("s3://bucket/a.csv", model="pets")
    assert not server.requests["Evaluate"]
