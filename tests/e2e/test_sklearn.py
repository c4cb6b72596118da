"""The classifier of scikit-learn against a real server, by scikit-learn's own checks."""

import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from headstart import Client
from headstart.sklearn import HeadstartClassifier
from server_process import running

EXPECTED_FAILED_CHECKS: dict[str, str] = {}
"""Checks that cannot pass, and why. There are none."""

SKIPPED_CHECKS = {
    "check_array_api_input": "runs only where SCIPY_ARRAY_API is set; the rows are numpy's",
}
"""Checks that scikit-learn itself skips, and why."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("sklearn") / "data"
    with running(folder, "--default-backbone", "features:2") as server:
        server.wait_until_serving()
        yield server.target


@pytest.fixture(autouse=True)
def server(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HEADSTART_SERVER", address)
    return address


@pytest.mark.timeout(600)
def test_every_check_of_an_estimator_passes():
    outcomes: dict[str, list[str]] = {"passed": [], "skipped": [], "xfail": [], "failed": []}

    def note(*, check_name: str, status: str, exception: Any, **_: Any) -> None:
        outcomes[status].append(check_name if status != "failed" else f"{check_name}: {exception!r}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(
            HeadstartClassifier(),
            expected_failed_checks=EXPECTED_FAILED_CHECKS,
            on_skip=None,
            on_fail=None,
            callback=note,
        )

    assert outcomes["failed"] == []
    assert set(outcomes["xfail"]) == set(EXPECTED_FAILED_CHECKS)
    assert set(outcomes["skipped"]) <= set(SKIPPED_CHECKS)
    assert len(outcomes["passed"]) > 40


def test_it_is_part_of_pipelines_searches_and_cross_validation():
    rows, classes = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), HeadstartClassifier(model="wine"))

    assert cross_val_score(pipeline, rows, classes, cv=3).min() > 0.9
    search = GridSearchCV(pipeline, {"headstartclassifier__recipe": ["ridge", "logistic"]}, cv=2)
    assert search.fit(rows, classes).best_score_ > 0.9


def test_a_fitted_classifier_outlives_its_process_and_newer_versions():
    rows, classes = load_wine(return_X_y=True, as_frame=True)
    names = np.array(["red", "white", "rosé"])[classes]
    fitted = HeadstartClassifier(model="kept", settings={"alias": "stable"}).fit(rows, names)
    before = fitted.predict_proba(rows)

    copy = pickle.loads(pickle.dumps(fitted))
    HeadstartClassifier(model="kept").fit(rows[:60], names[:60])

    assert fitted.version_ == 1
    assert list(copy.classes_) == sorted(set(names))
    np.testing.assert_array_equal(copy.predict_proba(rows), before)
    assert list(copy.feature_names_in_) == list(rows.columns)
    with Client() as client:
        assert client.model("kept").alias("stable").get().version == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": "videos"}, "inputs must be features, texts or images. Received: 'videos'"),
        ({"recipe": "svm"}, "recipe must be one of"),
    ],
)
def test_a_bad_parameter_is_named_when_it_is_fitted(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeadstartClassifier(**arguments).fit([[0.0, 1.0], [1.0, 0.0]] * 4, [0, 1] * 4)
