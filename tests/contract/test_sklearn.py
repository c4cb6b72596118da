"""What the classifier of scikit-learn sends."""

import numpy as np
import pytest

from contract.fake_server import FakeServer
from headstart.sklearn import HeadstartClassifier
from headstart.v1 import prediction_service_pb2 as predicting


@pytest.fixture(autouse=True)
def environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADSTART_SERVER", server.target)


def test_texts_and_images_are_sent_as_such(server: FakeServer, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"image")

    HeadstartClassifier(inputs="texts").fit(["good", "bad"], [True, False])
    HeadstartClassifier(inputs="images", settings={"alias": "stable"}).fit([path, b"other"], ["x", "y"])

    (texts, images) = [
        [(each.input.text or each.input.image, each.label.class_name) for each in stream[1].examples.examples]
        for stream in server.requests["FineTune"]
    ]
    assert texts == [("good", "True"), ("bad", "False")]
    assert images == [(b"image", "x"), (b"other", "y")]
    assert server.requests["FineTune"][1][0].spec.alias == "stable"
    assert server.requests["FineTune"][1][0].spec.model == "sklearn"


def test_probabilities_are_in_the_order_of_the_classes(server: FakeServer):
    classifier = HeadstartClassifier().fit(np.eye(3), [20, 3, 100])
    server.standing["Predict"] = predicting.PredictResponse(
        results=[
            predicting.VersionPredictions(
                model="sklearn",
                version=3,
                predictions=[
                    {"classes": [{"name": "100", "probability": 0.75}, {"name": "20", "probability": 0.25}]}
                ],
            )
        ]
    )

    np.testing.assert_array_equal(classifier.predict_proba([[0, 0, 1]]), [[0, 0.25, 0.75]])
    assert classifier.predict([[0, 0, 1]]) == [100]
    request = server.requests["Predict"][0]
    assert request.targets[0].version == 3
    assert request.top_k > 1000, "all classes"
    assert server.requests["FineTune"][0][0].spec.backbone == "features:3"
