import pickle

import grpc
import numpy as np
import pytest

from contract.fake_server import UNAVAILABLE, FakeServer, Fault, predicted, predicted_unless_bad
from headstart import (
    AbstentionReason,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Prediction,
    PredictionError,
    ResourceExhausted,
    StageTimes,
    Task,
    Text,
    Truncation,
    Unavailable,
    VersionRef,
)
from headstart.inputs import tensors
from headstart.results import ExampleReference
from headstart.v1 import input_pb2, label_pb2
from headstart.v1 import prediction_service_pb2 as predicting


def embedded(request: predicting.EmbedRequest) -> predicting.EmbedResponse:
    """Each input's feature vector is its length, twice."""
    features = np.array([[len(each.image)] * 2 for each in request.inputs], np.float32)
    views = {view: tensors.encode(features) for view in request.views}
    return predicting.EmbedResponse(features=predicting.Features(backbone="b", views=views))


def test_one_input_gives_one_prediction(client: Client):
    prediction = client.predict(b"cat", model="pets")

    assert prediction.label == "cat"
    assert prediction.probability == 0.75
    assert [each.name for each in prediction.classes] == ["cat", "other"]
    assert prediction.classes[0].index == 1
    assert (prediction.model, prediction.version) == ("pets", 3)


def test_a_list_gives_a_list_in_its_order(client: Client, tmp_path):
    (tmp_path / "dog.jpg").write_bytes(b"dog")

    predictions = client.predict([b"cat", tmp_path / "dog.jpg", Text("a fox")], model="pets")

    assert [each.label for each in predictions] == ["cat", "dog", "a fox"]


@pytest.mark.parametrize("shape", [(300,), (4, 5, 3), (4, 5)])
def test_a_row_or_an_image_is_one_input_however_long(client: Client, server: FakeServer, shape):
    array = np.zeros(shape, np.uint8 if len(shape) > 1 else np.float32)
    assert client.predict(array, model="m").label == "array"
    assert len(server.requests["Predict"][0].inputs) == 1


def test_an_array_of_rows_is_many_inputs(client: Client, server: FakeServer):
    assert len(client.predict(np.zeros((300, 4), np.float32), model="m")) == 300
    assert [len(request.inputs) for request in server.requests["Predict"]] == [256, 44]
    assert len(client.predict(features=[[1, 2], [3, 4]], model="m")) == 2
    assert client.predict(texts=["a", "b"], model="m")[1].label == "b"


def test_a_folder_a_table_and_a_generator_are_many_inputs(client: Client, tmp_path):
    for name in ("b.jpg", "a.jpg", "deep/c.jpg", ".hidden.jpg", "Thumbs.db"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(name.encode())
    (tmp_path / "rows.csv").write_text("said,label\nhello,\nbye,x\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "hello"}\n{"features": [1, 2]}\n')

    def labels(inputs, **settings):
        return [each.label for each in client.predict(inputs, model="m", **settings)]

    assert labels(tmp_path / "photos") == ["a.jpg", "b.jpg", "deep/c.jpg"]
    assert labels(str(tmp_path / "rows.csv"), text_column="said") == ["hello", "bye"]
    assert labels(tmp_path / "rows.jsonl") == ["hello", "array"]
    assert labels(Text(word) for word in "ab") == ["a", "b"]
    assert labels([{"text": "a"}, {"text": "b"}]) == ["a", "b"]


def test_errors_of_inputs_take_the_places_of_their_predictions(client: Client, server: FakeServer, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    (tmp_path / "ok.jpg").write_bytes(b"ok")
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    inputs = [
        b"cat",
        b"bad 1",
        tmp_path / "bad.jpg",
        tmp_path / "missing.jpg",
        tmp_path / "ok.jpg",
        *[b"dog"] * 255,
        b"bad 2",
        3,
    ]

    found = client.predict(inputs, model="pets@stable", errors="return")

    errors = [each for each in found if isinstance(each, PredictionError)]
    assert len(found) == len(inputs)
    assert [each.label for each in found if isinstance(each, Prediction)] == ["cat", "ok", *["dog"] * 255]
    assert [each.index for each in errors] == [1, 2, 3, 260, 261]
    assert all(found[each.index] is each for each in errors)
    missing = str(tmp_path / "missing.jpg")
    assert [each.name for each in errors] == ["", str(tmp_path / "bad.jpg"), missing, "", ""]
    assert errors[0].message == "Input 1: Expected an image. Received: bytes."
    assert errors[1].message == f"{tmp_path / 'bad.jpg'}: Expected an image. Received: bytes."
    assert errors[2].message == f"{missing}: No such file"
    assert errors[3].message == "Input 260: Expected an image. Received: bytes."
    assert [each.reason for each in errors] == [
        "UNDECODABLE_INPUT",
        "UNDECODABLE_INPUT",
        "INVALID_INPUT",
        "UNDECODABLE_INPUT",
        "INVALID_INPUT",
    ]
    assert pickle.loads(pickle.dumps(errors[1])).name == errors[1].name


def test_inputs_that_the_server_refuses_whole_calls_for_are_left_out_of_the_next(
    client: Client, server: FakeServer
):
    def refuse(request: predicting.PredictRequest) -> predicting.PredictResponse | Fault:
        request.skip_invalid_inputs = False
        return predicted_unless_bad(request)

    server.standing["Predict"] = refuse
    found = client.predict([b"a", b"bad", b"b", b"bad"], model="m", errors="return")
    assert [type(each) for each in found] == [Prediction, PredictionError] * 2
    assert [each.message for each in found[1::2]] == [
        f"Input {place}: Expected an image. Received: bytes." for place in (1, 3)
    ]
    assert [len(request.inputs) for request in server.requests["Predict"]] == [4, 2]


def test_only_bad_inputs_are_all_errors(client: Client, server: FakeServer, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    assert [type(each) for each in client.predict([b"bad"] * 2, model="m", errors="return")] == [
        PredictionError
    ] * 2
    one = client.predict(tmp_path / "missing.jpg", model="m", errors="return")
    assert isinstance(one, PredictionError)
    assert client.predict([], model="m", errors="return") == []


def test_an_error_that_is_about_no_input_is_raised(client: Client, server: FakeServer):
    server.standing["Predict"] = Fault(code=grpc.StatusCode.INVALID_ARGUMENT, violations={"top_k": "no"})
    with pytest.raises(InvalidArgument):
        client.predict([b"x"], model="m", errors="return")
    with pytest.raises(ValueError, match="errors must be 'raise' or 'return'"):
        client.predict([b"x"], model="m", errors="ignore")


def test_an_input_at_fault_is_named_by_its_path(client: Client, server: FakeServer, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(InvalidArgument) as caught:
        client.predict([b"x", tmp_path / "bad.jpg", b"bad"], model="m")
    assert caught.value.message == (
        f"{tmp_path / 'bad.jpg'}: Expected an image. Received: bytes. (2 of 3 inputs are at fault.)"
    )
    assert [each.field for each in caught.value.field_violations] == ["inputs[1]", "inputs[2]"]


@pytest.mark.parametrize("form", ["frame", "file"])
def test_a_row_with_another_number_of_features_gets_the_names_of_its_columns(
    client: Client, server: FakeServer, tmp_path, form
):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0], "b": [2.0], "target": [0]})
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    rows = path if form == "file" else frame
    server.standing["Predict"] = Fault(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        message="Input 0: Expected 2.",
        reason="UNDECODABLE_INPUT",
        violations={"inputs[0]": "Input 0: Expected 2."},
    )
    hint = "The columns are a, b, target: name the features with feature_columns (--feature-columns)."

    with pytest.raises(InvalidArgument) as caught:
        client.predict(rows, model="m")
    (error,) = client.predict(rows, model="m", errors="return")

    place = f"{path}, line 2" if form == "file" else "row 0"
    assert caught.value.message == error.message == f"{place}: Expected 2. {hint}"
    (named,) = client.predict(rows, model="m", errors="return", feature_columns=["a", "b", "target"])
    assert named.message == f"{place}: Expected 2."


def test_many_inputs_are_predicted_as_a_stream(client: Client, server: FakeServer, tmp_path):
    server.standing["Predict"] = predicted_unless_bad
    path = tmp_path / "rows.csv"
    path.write_text("text,key\n" + "".join(f"{'bad' if n == 3 else 'good'} {n},k{n}\n" for n in range(300)))

    stream = client.predict_stream(path, model="pets")
    first = next(stream)
    assert len(server.requests["Predict"]) == 1
    rest = list(stream)

    assert (first.name, first.cells["key"]) == (f"{path}, line 2", "k0")
    assert first.outcome.label == "good 0"
    assert isinstance(rest[2].outcome, PredictionError)
    assert [each.cells["key"] for each in rest] == [f"k{n}" for n in range(1, 300)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"Give one of inputs, texts, images and features\.$"),
        ({"texts": ["a"], "features": [[1]]}, "Received: texts and features"),
        ({"texts": "a"}, "texts must be several"),
        ({"inputs": [b"x"], "abstian": True}, "predict has no setting 'abstian'. Did you mean 'abstain'"),
        ({"inputs": [1.0, 2.0]}, r"inputs\[0\]: .*One row of features is a numpy array"),
    ],
)
def test_arguments_that_do_not_fit_are_named(client: Client, arguments, message):
    with pytest.raises(TypeError, match=message):
        client.predict(model="m", **arguments)


def test_an_empty_list_gives_an_empty_one_without_asking(client: Client, server: FakeServer):
    assert client.predict([], model="m") == []
    assert not server.requests["Predict"]


@pytest.mark.parametrize(
    ("which", "field"), [({"version": 2}, "version"), ({"alias": "stable"}, "alias"), ({}, None)]
)
def test_a_version_is_named_by_number_alias_or_not_at_all(client: Client, server: FakeServer, which, field):
    client.predict(b"x", model="pets", **which)

    target = server.requests["Predict"][0].targets[0]
    assert target.model == "pets"
    assert target.WhichOneof("selector") == field


def test_a_version_and_an_alias_together_are_refused(client: Client):
    with pytest.raises(ValueError, match="not both"):
        client.predict(b"x", model="pets", version=1, alias="stable")


@pytest.mark.parametrize(("wanted", "sent"), [(1, 1), (None, 2**31 - 1)])
def test_the_number_of_classes_is_sent_and_none_means_all(client: Client, server: FakeServer, wanted, sent):
    client.predict(b"x", model="m", top_k=wanted)

    assert server.requests["Predict"][0].HasField("top_k")
    assert server.requests["Predict"][0].top_k == sent


def test_a_long_list_goes_in_several_calls_to_one_version(client: Client, server: FakeServer):
    inputs = [str(n).encode() for n in range(600)]

    predictions = client.predict(inputs, model="pets", alias="stable")

    assert [each.label.encode() for each in predictions] == inputs
    assert [len(request.inputs) for request in server.requests["Predict"]] == [256, 256, 88]
    selectors = [request.targets[0].WhichOneof("selector") for request in server.requests["Predict"]]
    assert selectors == ["alias", "version", "version"]  # though the alias may be moved meanwhile


def test_large_inputs_go_in_messages_that_the_server_takes(client: Client, server: FakeServer):
    client.predict([bytes(6 * 2**20)] * 5, model="m")

    assert [len(request.inputs) for request in server.requests["Predict"]] == [2, 2, 1]


def test_an_input_at_fault_is_named_by_its_place_in_the_whole_list(client: Client, server: FakeServer):
    fault = Fault(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        message="Input 3: no image of 2 bytes.",
        reason="UNDECODABLE_INPUT",
        violations={"inputs[3].image": "inputs[3] is no image."},
    )
    server.script("Predict", server.standing["Predict"], fault)

    with pytest.raises(InvalidArgument) as caught:
        client.predict([b"x"] * 300, model="m")

    assert caught.value.message == "Input 259: no image of 2 bytes."
    assert caught.value.field_violations[0].field == "inputs[259].image"


def test_an_input_of_the_wrong_kind_is_named(client: Client):
    with pytest.raises(TypeError, match=r"inputs\[1\]: An input must be a path.*Received: int"):
        client.predict([b"x", 3], model="m")


def test_calls_that_no_server_answered_are_repeated_by_grpc(client: Client, server: FakeServer):
    server.script("Predict", UNAVAILABLE, UNAVAILABLE)

    assert client.predict(b"cat", model="pets").label == "cat"
    assert len(server.requests["Predict"]) == 3


def test_large_calls_are_repeated_too(client: Client, server: FakeServer):
    server.script("Predict", UNAVAILABLE)

    client.predict(bytes(10 * 2**20), model="pets")

    assert len(server.requests["Predict"]) == 2


def test_without_retries_the_first_failure_is_raised(server: FakeServer):
    server.script("Predict", UNAVAILABLE)

    with Client(server.target, retries=0) as client, pytest.raises(Unavailable):
        client.predict(b"cat", model="pets")


def test_a_call_carries_the_deadline_of_the_client_or_its_own(client: Client, server: FakeServer):
    client.predict(b"x", model="m")
    client.predict(b"x", model="m", timeout=5)

    first, second = server.remaining["Predict"]
    assert 19 < first < 20.1
    assert 4 < second < 5.1


def test_a_deadline_that_passes_has_its_own_error(client: Client):
    with pytest.raises(DeadlineExceeded):
        client.predict(b"x", model="m", timeout=0)


def test_a_stream_does_not_wait_beyond_its_deadline_for_a_busy_server(client: Client, server: FakeServer):
    server.standing["Predict"] = Fault(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="BACKBONE_QUEUE_FULL", retry_after=6
    )

    with pytest.raises(ResourceExhausted):
        list(client.predict_stream([b"x"], model="m", timeout=5))
    assert len(server.requests["Predict"]) == 1


def test_a_model_without_a_version_has_its_own_error(client: Client, server: FakeServer):
    server.script("Predict", Fault(code=grpc.StatusCode.FAILED_PRECONDITION, reason="MODEL_NOT_READY"))

    with pytest.raises(FailedPrecondition, match="MODEL_NOT_READY"):
        client.predict(b"x", model="m")


def test_several_models_answer_the_same_inputs(client: Client, server: FakeServer):
    answer = client.predict_many(
        [b"a", b"b"], ["pets", "pets@2", "breeds@stable", VersionRef("x", version=4)]
    )

    assert [(each.model, each.version) for each in answer.results] == [
        ("pets", 3),
        ("pets", 2),
        ("breeds", 3),
        ("x", 4),
    ]
    assert [each.label for each in answer.results[3].predictions] == ["a", "b"]
    assert isinstance(answer.times, StageTimes)
    assert answer.features == {}
    request = server.requests["Predict"][0]
    assert [each.WhichOneof("selector") for each in request.targets[1:]] == [
        "version",
        "alias",
        "version",
    ]


def test_requested_features_are_returned_and_joined_over_calls(client: Client, server: FakeServer):
    def with_features(request):
        response = server_predict(request)
        features = np.full((len(request.inputs), 2), len(server.requests["Predict"]), np.float32)
        response.features.add(backbone="b", views={"last": tensors.encode(features)})
        return response

    server_predict = server.standing["Predict"]
    server.standing["Predict"] = with_features

    answer = client.predict_many([b"x"] * 300, ["pets", "breeds"], return_features=True)

    assert server.requests["Predict"][0].return_features
    assert answer.features["b"]["last"].shape == (300, 2)
    assert answer.features["b"]["last"][[0, 299], 0].tolist() == [1, 2]
    assert [len(each.predictions) for each in answer.results] == [300, 300]
    assert answer.times.total_duration.total_seconds() == 0.004


def test_no_target_is_refused(client: Client):
    with pytest.raises(ValueError, match="at least one model"):
        client.predict_many([b"a"], [])


def test_features_of_a_list_have_a_row_for_each_input(client: Client, server: FakeServer):
    server.standing["Embed"] = embedded

    features = client.embed([bytes(n) for n in range(300)], backbone="b", views=["last", "taps"])

    assert features["last"].shape == (300, 2)
    assert features["last"].dtype == np.float32
    assert features["taps"][299].tolist() == [299, 299]
    assert server.requests["Embed"][0].backbone == "b"
    assert len(server.requests["Embed"]) == 2


def test_features_of_one_input_are_a_vector(client: Client, server: FakeServer):
    server.standing["Embed"] = embedded

    assert client.embed(b"123")["last"].tolist() == [3, 3]


def test_features_of_nothing_are_nothing(client: Client):
    assert client.embed([]) == {}


def evident(request: predicting.PredictRequest) -> predicting.PredictResponse:
    """Every input is unknown, near one example, and speaks for itself in its upper left."""
    shown = predicting.Saliency(
        map=tensors.encode(np.eye(2, dtype=np.float32)), class_name="cat", overlay=b"PNG"
    )
    cat = label_pb2.Label(class_name="cat")
    prediction = predicting.Prediction(
        label=cat,
        classes=[predicting.ClassProbability(name="cat", probability=0.5, index=0, selected=True)],
        abstained=True,
        abstention_reason="ABSTENTION_REASON_UNLIKE_TRAINING",
        typicality=0.01,
        neighbors=[
            predicting.Neighbor(
                example=label_pb2.ExampleReference(index=4, example_id="cat/1.jpg", label=cat), distance=0.25
            )
        ],
        saliency=shown if request.HasField("saliency") else None,
    )
    result = predicting.VersionPredictions(
        model="pets", version=3, task="TASK_SINGLE_LABEL", predictions=[prediction] * len(request.inputs)
    )
    return predicting.PredictResponse(results=[result])


def test_a_prediction_reports_an_unknown_input_and_its_evidence(client: Client, server: FakeServer):
    server.standing["Predict"] = evident

    prediction = client.predict(b"x", model="pets", abstain=0.01, neighbors=5, saliency="cat")

    request = server.requests["Predict"][0]
    assert request.abstention.false_alarm_rate == 0.01
    assert request.neighbors == 5
    assert request.saliency.class_name == "cat"
    assert prediction.abstained
    assert prediction.abstention_reason is AbstentionReason.UNLIKE_TRAINING
    assert prediction.typicality == pytest.approx(0.01)
    assert prediction.label == "cat"
    (neighbor,) = prediction.neighbors
    assert neighbor.example == ExampleReference(index=4, example_id="cat/1.jpg", label="cat")
    assert neighbor.distance == 0.25
    assert prediction.saliency.map.tolist() == [[1, 0], [0, 1]]
    assert prediction.saliency.overlay == b"PNG"


def test_a_routing_key_goes_with_every_call(client: Client, server: FakeServer):
    client.predict([b"x"] * 20, model="pets", alias="stable", saliency=True, routing_key="ann")

    assert len(server.requests["Predict"]) > 1
    assert {request.routing_key for request in server.requests["Predict"]} == {"ann"}


def test_inputs_with_saliency_go_few_in_a_call(client: Client, server: FakeServer):
    server.standing["Predict"] = evident

    assert len(client.predict([b"x"] * 20, model="pets", saliency=True)) == 20
    assert [len(request.inputs) for request in server.requests["Predict"]] == [8, 8, 4]


def test_a_number_comes_with_its_interval(client: Client, server: FakeServer):
    prediction = predicting.Prediction(label={"number": 2.5}, interval_low=2, interval_high=3)
    server.standing["Predict"] = predicting.PredictResponse(
        results=[
            predicting.VersionPredictions(
                model="ages", version=1, task="TASK_REGRESSION", predictions=[prediction]
            )
        ]
    )

    prediction = client.predict(b"x", model="ages")

    assert (prediction.task, prediction.value) == (Task.REGRESSION, 2.5)
    assert (prediction.interval_low, prediction.interval_high) == (2, 3)
    assert prediction.classes == ()
    assert prediction.typicality is None


def test_evidence_is_requested_of_several_versions_too(client: Client, server: FakeServer):
    client.predict_many(b"x", ["pets", "breeds"], abstain=True, neighbors=1)

    (request,) = server.requests["Predict"]
    assert request.HasField("abstention")
    assert request.neighbors == 1
    assert not request.HasField("saliency")


def test_a_text_whose_end_was_not_seen_says_so(client: Client, server: FakeServer):
    def half(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.results[0].predictions[1].truncation.kept_characters = 4
        response.results[0].predictions[1].truncation.characters = 9
        return response

    server.standing["Predict"] = half
    whole, cut = client.predict([Text("all"), Text("too long.")], model="reviews")

    assert whole.truncation is None
    assert cut.truncation == Truncation(kept_characters=4, characters=9)


def test_all_inputs_of_one_embed_go_to_the_backbone_that_the_first_ones_got(
    client: Client, server: FakeServer
):
    server.standing["Embed"] = embedded
    client.embed([b"x"] * 1200)

    first, *others = [request.backbone for request in server.requests["Embed"]]
    assert first == ""
    assert others
    assert set(others) == {"b"}


def test_a_closed_client_says_that_it_is_closed(server: FakeServer):
    with Client(server.target) as client:
        job = client.fine_tune([(b"meow", "cat"), (b"woof", "dog")], model="pets")

    for call in (
        lambda: client.predict(b"cat", model="pets"),
        lambda: client.fine_tune([(b"meow", "cat"), (b"woof", "dog")], model="pets"),
        job.result,
        lambda: client.with_options(timeout=1).predict(b"cat", model="pets"),
    ):
        with pytest.raises(ValueError, match="The client is closed"):
            call()


def test_an_alias_is_a_name(client: Client):
    with pytest.raises(TypeError, match=r"An alias must be a name, such as 'stable'\. Received: 3"):
        client.predict(b"cat", model="pets", alias=3)


def test_a_missing_file_of_a_table_is_named_with_its_row(client: Client, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"cat")
    (tmp_path / "list.csv").write_text("path\nno.jpg\na.jpg\n")

    error, found = client.predict(tmp_path / "list.csv", model="pets", errors="return")

    assert error.message == f"{tmp_path / 'list.csv'}, line 2: No such file: {tmp_path / 'no.jpg'}"
    assert found.label == "cat"
    with pytest.raises(FileNotFoundError, match=r"list\.csv, line 2: No such file"):
        client.predict(tmp_path / "list.csv", model="pets")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_predictions_than_inputs_is_an_invalid_response(
    client: Client, server: FakeServer, count: int
):
    def some(request: predicting.PredictRequest) -> predicting.PredictResponse:
        del request.inputs[:]
        request.inputs.extend(input_pb2.Input(text="a") for _ in range(count))
        return predicted(request)

    server.standing["Predict"] = some
    with pytest.raises(Internal, match="is invalid: predictions of 2 inputs are expected"):
        client.predict([Text("a"), Text("b")], model="pets")


def test_an_error_of_an_input_that_was_not_sent_is_an_invalid_response(client: Client, server: FakeServer):
    def faulty(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.faults.add(index=-1, reason="ERROR_REASON_UNDECODABLE_INPUT")
        return response

    server.standing["Predict"] = faulty
    with pytest.raises(Internal, match="is invalid: an error of input -1 of 2"):
        client.predict([Text("a"), Text("b")], model="pets", errors="return")


@pytest.mark.parametrize(
    ("views", "shape"), [(["last"], [1, 2]), (["last"], [2]), (["other"], [2, 2]), ([], [])]
)
def test_other_features_than_requested_are_an_invalid_response(
    client: Client, server: FakeServer, views: list[str], shape: list[int]
):
    tensor = tensors.encode(np.zeros(shape, np.float32))
    server.standing["Embed"] = predicting.EmbedResponse(features={"views": dict.fromkeys(views, tensor)})
    with pytest.raises(Internal, match="is invalid: "):
        client.embed([Text("a"), Text("b")])


def test_a_reason_of_a_newer_server_is_unspecified(client: Client, server: FakeServer):
    def newer(request: predicting.PredictRequest) -> predicting.PredictResponse:
        response = predicted(request)
        response.faults.add(index=0, reason=9999, message="Broken.")
        return response

    server.standing["Predict"] = newer
    first, _ = client.predict([Text("a"), Text("b")], model="pets", errors="return")
    assert (first.reason, first.message) == ("UNSPECIFIED", "Input 0: Broken.")
