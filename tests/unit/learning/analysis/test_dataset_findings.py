"""What is found in datasets: each fault where it was made, and none where none was."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.analysis import duplicates, learning_curve
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_analysis import analyze_dataset, find_outliers
from headstart_server.learning.analysis.dataset_findings import DatasetFindings, RecommendationKind
from headstart_server.learning.analysis.duplicates import find_duplicates, near_duplicate_groups
from headstart_server.learning.analysis.label_issues import find_label_issues
from unit.learning.labeled_features import analyzed, features, labels_of, of_labels, of_numbers, of_several


def found(looked_at: AnalyzedDataset) -> DatasetFindings:
    return analyze_dataset(looked_at, near_duplicate_groups(looked_at), seed=0)


def kinds(findings: DatasetFindings) -> list[RecommendationKind]:
    return [recommendation.kind for recommendation in findings.recommendations]


def plain(count: int = 80) -> AnalyzedDataset:
    labels = labels_of(count)
    return analyzed(features(labels), of_labels(labels))


# Duplicates


def test_examples_that_differ_are_no_duplicates() -> None:
    assert find_duplicates(plain(), near_duplicate_groups(plain())) == ([], 0)


def test_equal_and_all_but_equal_examples_are_grouped_contradicting_ones_first() -> None:
    labels = np.append(labels_of(40), [0, 2, 3])
    views = features(labels)
    for rows in views.values():
        rows[40] = rows[4]
        rows[41] = rows[5] * 1.001
        rows[42] = rows[7]
    looked_at = analyzed(views, of_labels(labels))
    groups, count = find_duplicates(looked_at, near_duplicate_groups(looked_at))
    assert count == 6
    assert [[one.index for one in group.examples] for group in groups] == [[5, 41], [4, 40], [7, 42]]
    assert [group.contradicting for group in groups] == [True, False, False]
    assert [group.exact for group in groups] == [False, True, True]
    assert [one.label.text for one in groups[0].examples] == ["class 1", "class 2"]
    (message,) = (
        each.message
        for each in found(looked_at).recommendations
        if each.kind is RecommendationKind.CONTRADICTIONS
    )
    assert message == (
        "1 group of equal or nearly equal examples has different labels, such as example 5 ('id 5') with "
        "'class 1' and example 41 ('id 41') with 'class 2'. Correct wrong labels."
    )


def test_copies_on_both_sides_of_the_held_out_split_are_reported() -> None:
    labels = np.append(labels_of(40), [0, 1])
    views = features(labels)
    for rows in views.values():
        rows[40] = rows[4]
        rows[41] = rows[5]
    findings = found(analyzed(views, of_labels(labels), held_out=[40]))
    assert [group.across_held_out for group in findings.duplicates] == [True, False]
    assert RecommendationKind.LEAKAGE in kinds(findings)


def test_only_so_many_members_of_a_group_are_listed_and_all_are_counted() -> None:
    labels = np.append(labels_of(40), np.zeros(30, int))
    views = features(labels)
    for rows in views.values():
        rows[40:] = rows[0]
    (group,) = found(analyzed(views, of_labels(labels))).duplicates
    assert (len(group.examples), group.count) == (20, 31)


def test_numbers_of_duplicates_never_contradict() -> None:
    values = np.append(np.linspace(0, 10, 40), [0.3, 9.0])
    views = features(np.zeros(42, int), spread=1.0)
    for rows in views.values():
        rows[40] = rows[0]
        rows[41] = rows[1]
    groups, _ = find_duplicates(looked := analyzed(views, of_numbers(values)), near_duplicate_groups(looked))
    assert [(group.examples[0].index, group.contradicting) for group in groups] == [(0, False), (1, False)]


def test_above_a_bound_equal_contents_alone_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "NEAR_UP_TO", 30)
    labels = np.append(labels_of(40), [0, 1])
    views = features(labels)
    for rows in views.values():
        rows[40] = rows[4]
        rows[41] = rows[5] * 1.001
    looked_at = analyzed(views, of_labels(labels))
    groups, count = find_duplicates(looked_at, near_duplicate_groups(looked_at))
    assert count == 2
    assert groups[0].exact


# Suspects


def test_wrong_labels_are_ranked_first_with_what_they_look_like() -> None:
    labels = labels_of(80)
    views = features(labels)
    given = labels.copy()
    given[[3, 10, 21]] = [0, 1, 3]
    label_issues, count = find_label_issues(analyzed(views, of_labels(given)))
    assert {issue.example.index for issue in label_issues[:3]} == {3, 10, 21}
    assert count == len(label_issues) <= 5
    looks = {issue.example.index: issue.suggested_label.text for issue in label_issues[:3]}
    assert looks == {3: "class 3", 10: "class 2", 21: "class 1"}
    assert all(issue.suggested_probability >= 5 * issue.given_probability for issue in label_issues)


def test_correct_labels_are_rarely_issues() -> None:
    assert find_label_issues(plain(200))[1] <= 1


def test_a_wrong_one_of_several_labels_is_reported_once_with_all_suggested_labels() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.integers(0, 2, (120, 3))
    directions = rng.normal(size=(3, 40))
    rows = (matrix @ directions + 0.2 * rng.normal(size=(120, 40))).astype(np.float32)
    given = matrix.copy()
    given[7, 1] = 1 - given[7, 1]
    label_issues, _ = find_label_issues(analyzed({"last": rows, "taps": rows[:, :9]}, of_several(given)))
    assert label_issues[0].example.index == 7
    looks = [f"class {place}" for place in np.flatnonzero(matrix[7])]
    assert label_issues[0].suggested_label.text == ", ".join(looks)


def test_a_number_far_from_its_prediction_is_an_issue() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(120, 40)).astype(np.float32)
    values = rows[:, 0] + 0.3 * rows[:, 1] + 5
    given = values.copy()
    given[17] += 6
    label_issues, count = find_label_issues(analyzed({"last": rows, "taps": rows[:, :9]}, of_numbers(given)))
    assert label_issues[0].example.index == 17
    assert label_issues[0].given_probability < 0.001 < 0.99 < label_issues[0].suggested_probability
    assert abs(float(label_issues[0].suggested_label.text) - values[17]) < 3
    assert count < 6


def test_without_validation_there_are_no_label_issues() -> None:
    labels = np.arange(4)
    assert find_label_issues(analyzed(features(labels), of_labels(labels))) == ([], 0)


def test_held_out_examples_are_no_issues_but_count_in_indexes() -> None:
    labels = labels_of(82)
    views = features(labels)
    given = labels.copy()
    given[60] = (given[60] + 1) % 4
    label_issues, _ = find_label_issues(analyzed(views, of_labels(given), held_out=[0, 1, 2, 3, 4]))
    assert label_issues[0].example.index == 60


# Outliers


def test_an_example_unlike_all_others_is_an_outlier() -> None:
    labels = labels_of(80)
    views = features(labels)
    for rows in views.values():
        rows[13] = 3 * np.random.default_rng(1).normal(size=rows.shape[1])
    outliers, count = find_outliers(
        looked := analyzed(views, of_labels(labels)), near_duplicate_groups(looked)
    )
    assert [outlier.example.index for outlier in outliers[:1]] == [13]
    assert outliers[0].distance_ratio > 1.5
    assert count <= 2


def test_copies_of_an_outlier_do_not_hide_it() -> None:
    labels = labels_of(80)
    views = features(labels)
    for rows in views.values():
        rows[13] = rows[17] = 3 * np.random.default_rng(1).normal(size=rows.shape[1])
    outliers, _ = find_outliers(looked := analyzed(views, of_labels(labels)), near_duplicate_groups(looked))
    assert {outlier.example.index for outlier in outliers[:2]} == {13, 17}


def test_examples_all_equal_have_no_outliers() -> None:
    labels = labels_of(40)
    views = {name: np.ones_like(rows) for name, rows in features(labels).items()}
    looked_at = analyzed(views, of_labels(labels))
    assert find_outliers(looked_at, near_duplicate_groups(looked_at)) == ([], 0)


# The learning curve


def test_the_curve_rises_and_ends_with_twice_as_many() -> None:
    labels = labels_of(160)
    curve = found(analyzed(features(labels, spread=3.5), of_labels(labels))).learning_curve
    assert [point.example_count for point in curve] == [40, 80, 128, 320]
    assert [point.extrapolated for point in curve] == [False, False, False, True]
    scores = [point.score for point in curve]
    assert 0.25 < scores[0] < scores[2] < scores[3] < 1


def test_with_too_few_examples_a_recommendation_replaces_the_curve() -> None:
    labels = labels_of(20)
    findings = found(analyzed(features(labels), of_labels(labels)))
    assert findings.learning_curve == ()
    assert "too few examples to estimate" in findings.recommendations[-1].message


def test_numbers_have_a_curve_of_r_squared() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 40)).astype(np.float32)
    values = rows @ rng.normal(size=40) + 2 * rng.normal(size=200)
    curve = found(analyzed({"last": rows, "taps": rows[:, :9]}, of_numbers(values))).learning_curve
    assert len(curve) == 4
    assert curve[0].score < curve[2].score <= curve[3].score < 1


def test_the_curve_of_many_examples_uses_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_curve, "SAMPLE", 100)
    labels = labels_of(400)
    curve = found(analyzed(features(labels, spread=2.0), of_labels(labels))).learning_curve
    assert [point.example_count for point in curve] == [25, 50, 320, 800]


# All together


def test_a_clean_dataset_has_few_recommendations() -> None:
    findings = found(plain(200))
    assert kinds(findings) == [RecommendationKind.MORE_DATA]
    assert findings.imbalance == 1.0


def test_small_classes_and_imbalance_have_recommendations() -> None:
    labels = np.append(np.zeros(60, int), [1] * 20 + [2] * 20 + [3])
    findings = found(analyzed(features(labels), of_labels(labels)))
    assert findings.imbalance == 60
    by_kind = {recommendation.kind: recommendation.message for recommendation in findings.recommendations}
    assert (
        "1 of 4 classes have fewer than 5 examples: 'class 3' 1"
        in by_kind[RecommendationKind.TOO_FEW_EXAMPLES]
    )
    assert "'class 0' has 60 times" in by_kind[RecommendationKind.IMBALANCE]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 30))
def test_the_order_of_the_examples_changes_nothing(seed: int) -> None:
    labels = labels_of(60)
    given = labels.copy()
    given[5] = 3
    views = features(labels, spread=1.0)
    order = np.random.default_rng(seed).permutation(60)
    one = analyzed(views, of_labels(given))
    other = analyzed(
        {name: rows[order] for name, rows in views.items()},
        of_labels(given[order]),
        ids=[f"id {place}" for place in order],
        indexes=order,
    )
    first, second = found(one), found(other)
    assert [issue.example.id for issue in first.label_issues] == [
        issue.example.id for issue in second.label_issues
    ]
    assert [outlier.example for outlier in first.outliers] == [outlier.example for outlier in second.outliers]
    np.testing.assert_allclose(
        [point.score for point in first.learning_curve],
        [point.score for point in second.learning_curve],
        atol=1e-6,
    )


def test_findings_survive_being_written_as_json() -> None:
    labels = np.append(labels_of(80), [0])
    views = features(labels)
    given = labels.copy()
    given[5] = 3
    for rows in views.values():
        rows[80] = rows[4]
        rows[13] = 3 * np.random.default_rng(1).normal(size=rows.shape[1])
    findings = found(analyzed(views, of_labels(given)))
    assert findings.duplicates
    assert findings.label_issues
    assert findings.outliers
    assert DatasetFindings.from_json(json.loads(json.dumps(findings.to_json()))) == findings


class StoppedError(Exception):
    pass


def test_a_checkpoint_stops_it() -> None:
    looked_at = plain(120)

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        found(replace(looked_at, checkpoint=stop))


# Truncated examples


def test_truncated_examples_are_counted_and_the_first_are_named() -> None:
    looked_at = plain()
    assert RecommendationKind.TRUNCATION not in kinds(found(looked_at))

    places = (3, 7, 20, 21)
    cut = replace(looked_at, truncated={looked_at.digests[place] for place in places})
    findings = found(cut)
    assert [one.index for one in findings.truncated] == [int(cut.indexes[place]) for place in places]
    assert findings.truncated_count == 4
    (recommendation,) = [one for one in findings.recommendations if one.kind is RecommendationKind.TRUNCATION]
    assert recommendation.message.startswith("The head learned only from the beginning of 4 examples, ")
    assert "and 1 more" in recommendation.message
    assert DatasetFindings.from_json(json.loads(json.dumps(findings.to_json()))) == findings


def test_findings_without_truncation_are_read() -> None:
    written = found(plain()).to_json()
    del written["truncated"], written["truncated_count"]
    assert DatasetFindings.from_json(written) == found(plain())


def test_at_most_a_hundred_truncated_examples_are_listed() -> None:
    looked_at = plain(240)
    findings = found(replace(looked_at, truncated=set(looked_at.digests)))
    assert (len(findings.truncated), findings.truncated_count) == (100, 240)
