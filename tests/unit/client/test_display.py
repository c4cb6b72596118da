"""What notebooks show of results."""

import io
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from contract import fake_server as fake
from headstart.decode import decode, decode_comparison
from headstart.display import heatmap_png
from headstart.results import (
    EvaluationResult,
    JobEvent,
    JobStatus,
    Model,
    ModelPredictions,
    Prediction,
    Predictions,
    Report,
    Saliency,
    Version,
    VersionEvaluation,
)
from headstart.v1 import evaluation_service_pb2, model_service_pb2
from headstart.v1 import prediction_service_pb2 as predicting

HOSTILE = "<script>alert('\"&')</script>"


class Page(HTMLParser):
    """The texts and tags of a fragment; fails for tags that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def prediction(**fields) -> Prediction:
    classes = [{"name": HOSTILE, "probability": 0.75, "index": 0}, {"name": "dog", "probability": 0.25}]
    message = predicting.Prediction(**{"classes": classes} | fields)
    return decode(message, Prediction, model="pets", version=3)


RESULTS = {
    "prediction": prediction(),
    "unknown": prediction(abstained=True, abstention_reason="ABSTENTION_REASON_UNLIKE_TRAINING"),
    "number": Prediction(
        classes=(), model="p", version=1, predicted=1.5, interval_low=1.0, interval_high=2.0
    ),
    "nothing": Prediction(classes=(), model="p", version=1),
    "predictions": Predictions(
        results=(ModelPredictions(model="pets", version=3, predictions=(prediction(),) * 30),),
        features={},
        times=None,
    ),
    "version": decode(fake.version(3, display_name=HOSTILE), Version),
    "model": decode(fake.model(), Model, versions=(decode(fake.version(3), Version),)),
    "comparison": decode_comparison(
        evaluation_service_pb2.CompareResponse(
            first={"model": HOSTILE, "version": 1},
            second={"model": HOSTILE, "version": 2},
            comparison=fake.comparison(verdict=HOSTILE),
            first_trained_count=1200,
        )
    ),
    "evaluation": decode(
        evaluation_service_pb2.EvaluateResponse(
            model="pets", version=3, evaluation=fake.evaluation(), trained_count=3
        ),
        EvaluationResult,
    ),
    "version evaluation": decode(
        model_service_pb2.GetEvaluationResponse(
            version=fake.version(3), evaluation=fake.evaluation(), findings=fake.findings()
        ),
        VersionEvaluation,
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_well_formed_html_that_contains_no_foreign_tags(name):
    page = Page(RESULTS[name]._repr_html_())

    assert set(page.tags) <= {"div", "b", "table", "tr", "th", "td"}


def test_a_prediction_shows_its_classes():
    page = Page(prediction()._repr_html_())
    assert [text for text in page.texts if text.strip()] == ["pets@3", HOSTILE, "75.0%", "dog", "25.0%"]
    assert "unknown: unlike training" in Page(RESULTS["unknown"]._repr_html_()).texts
    assert "1.5 (1 to 2)" in Page(RESULTS["number"]._repr_html_()).texts


def test_a_comparison_names_the_version_that_was_trained_on_the_examples():
    [note] = [text for text in Page(RESULTS["comparison"]._repr_html_()).texts if "trained" in text]
    assert note.endswith("@1 was trained on 1,200 of the examples")


def test_a_long_list_is_cut():
    page = Page(RESULTS["predictions"]._repr_html_())
    assert page.tags.count("tr") == 21
    assert "and 10 more" in page.texts


def test_a_report_is_shown_in_its_own_frame():
    report = Report(model="m", version=1, media_type="text/html; charset=utf-8", content=b"<p>\"x'</p>")
    assert 'srcdoc="&lt;p&gt;&quot;x&#x27;&lt;/p&gt;"' in report._repr_html_()
    assert 'sandbox="allow-scripts"' in report._repr_html_()
    text = Report(model="m", version=1, media_type="text/plain", content=b"a < b")
    assert text._repr_html_() == "<pre>a &lt; b</pre>"


@pytest.mark.parametrize("values", [[[1.0, -0.5], [0.0, np.nan]], [[0.0, 0.0]], [[np.inf, -np.inf]]])
def test_a_map_without_an_overlay_is_a_separate_image(values, tmp_path):
    saliency = Saliency(map=np.array(values, np.float32), class_name="cat", overlay=b"")

    path = saliency.save(tmp_path / "map.png")

    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    rows, columns = np.shape(values)
    assert (image.size, image.mode) == ((columns * 16, rows * 16), "RGBA")
    if values[0][0] == 1.0:
        assert image.getpixel((0, 0)) == (214, 69, 65, 255)
        assert image.getpixel((16, 0)) == (49, 106, 184, 128)
        assert image.getpixel((0, 16))[3] == 0


def test_an_overlay_is_shown_and_saved_as_it_is(tmp_path):
    saliency = Saliency(map=np.zeros((1, 1), np.float32), class_name="cat", overlay=b"png")
    assert saliency._repr_png_() == b"png"
    assert saliency.save(tmp_path / "a.png").read_bytes() == b"png"


def test_probabilities_are_a_dict():
    assert prediction().probabilities == {HOSTILE: 0.75, "dog": 0.25}


def test_representations_are_short():
    status = decode(fake.job("RUNNING", progress={"step": "JOB_STEP_FIT", "fraction": 0.5}), JobStatus)
    ended = decode(fake.job("SUCCEEDED", version=3), JobStatus)
    event = JobEvent(job_id="j", number=2, event_time=datetime.now(UTC), state=ended.state, progress=None)

    assert repr(status) == "JobStatus('job-1', pets, RUNNING, fit 50%)"
    assert repr(ended) == "JobStatus('job-1', pets@3, SUCCEEDED)"
    assert repr(event) == "JobEvent('j', 2, SUCCEEDED)"
    assert repr(RESULTS["model"]) == "Model('pets', 3 versions, stable: 2)"
    assert repr(RESULTS["predictions"].results[0]) == "ModelPredictions(pets@3, 30 predictions)"


def test_a_large_map_is_not_enlarged():
    image = Image.open(io.BytesIO(heatmap_png(np.zeros((3000, 2)))))
    assert image.size == (2, 3000)
