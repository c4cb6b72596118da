import pytest

from headstart import AbstentionReason, ClassProbability, Prediction, Task


def predicted_as(*classes: tuple[str, float, bool], **fields) -> Prediction:
    found = tuple(
        ClassProbability(name=name, probability=probability, index=0, selected=selected)
        for name, probability, selected in classes
    )
    return Prediction(**{"classes": found, "model": "pets", "version": 3, **fields})


ONE = predicted_as(("cat", 0.75, True), ("dog", 0.25, False), task=Task.SINGLE_LABEL)
SEVERAL = predicted_as(("red", 0.9, True), ("round", 0.8, True), ("big", 0.1, False), task=Task.MULTI_LABEL)
NUMBER = predicted_as(task=Task.REGRESSION, predicted=3.14159, interval_low=3, interval_high=3.5)


def test_one_class_of_several_is_a_label_and_the_only_one_of_its_labels():
    assert (ONE.label, ONE.probability, ONE.labels) == ("cat", 0.75, ("cat",))


def test_a_server_of_0_1_that_sends_no_task_predicts_labels():
    assert predicted_as(("cat", 1.0, False)).label == "cat"


def test_several_classes_are_those_that_reach_their_thresholds():
    assert SEVERAL.labels == ("red", "round")
    with pytest.raises(ValueError, match=r"no single label\. Read `labels`"):
        _ = SEVERAL.label
    with pytest.raises(ValueError, match="no single probability"):
        _ = SEVERAL.probability


def test_a_number_has_no_label_and_says_where_it_is():
    assert NUMBER.labels == ()
    with pytest.raises(ValueError, match=r"has no label\. Read `value`"):
        _ = NUMBER.label


@pytest.mark.parametrize(
    ("prediction", "shown"),
    [
        (ONE, "Prediction(cat 75.0%, pets@3)"),
        (SEVERAL, "Prediction(red 90.0%, round 80.0%, pets@3)"),
        (predicted_as(("red", 0.1, False), task=Task.MULTI_LABEL), "Prediction(no class, pets@3)"),
        (NUMBER, "Prediction(3.14159 (3 to 3.5), pets@3)"),
        (predicted_as(task=Task.REGRESSION, predicted=2.0), "Prediction(2, pets@3)"),
        (
            predicted_as(
                ("cat", 0.75, True), abstained=True, abstention_reason=AbstentionReason.UNLIKE_TRAINING
            ),
            "Prediction(cat 75.0%, abstained: unlike_training, pets@3)",
        ),
    ],
)
def test_a_prediction_shows_what_it_predicts(prediction, shown):
    assert repr(prediction) == shown
