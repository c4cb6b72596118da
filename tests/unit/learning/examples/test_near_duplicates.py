"""Near-duplicates: found whatever their number, joined, and never in two folds."""

import tracemalloc
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets

from headstart_server.backbones.contract.backbone import LAST, Modality
from headstart_server.learning.examples import near_duplicates
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import (
    Float32,
    Ints,
    Scaling,
    normalized,
    scale_features,
)
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Auto
from headstart_server.learning.heads.split import assign_folds


def images(seed: int, *, each: int, classes: int = 3, d: int = 64) -> tuple[Float32, Ints]:
    """Different images of some classes, features positive and of some size as a backbone gives them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    features = np.abs(rng.normal(size=(classes, d))[labels] + rng.normal(size=(len(labels), d)))
    return features.astype(np.float32), labels


def names(count: int) -> list[str]:
    return [f"{place:06d}" for place in range(count)]


@given(st.integers(0, 500), st.integers(4, 12), st.sampled_from([0.0, 1e-6, 0.01]))
@settings(max_examples=40, deadline=None)
def test_near_duplicates_share_a_group_and_a_fold_and_others_do_not(
    seed: int, each: int, change: float
) -> None:
    features, labels = images(seed, each=each)
    rng = np.random.default_rng(seed)
    again = rng.permutation(len(labels))[: len(labels) // 3]
    changed = features[again] * (1 + change * rng.normal(size=features[again].shape))
    both = np.concatenate([features, changed.astype(np.float32)])
    joined = group_near_duplicates(both, np.append(labels, labels[again]), names(len(both)))
    expected = [*names(len(features)), *(names(len(features))[place] for place in again)]
    assert joined == expected
    folds = assign_folds(np.append(labels, labels[again]), joined, folds=0, seed=seed)
    assert folds.assignment[len(features) :].tolist() == folds.assignment[again].tolist()


def test_a_chain_of_near_duplicates_is_several_groups_that_stay_near_their_representative() -> None:
    features, labels = images(1, each=10)
    step = 0.1 * (features[1] - features[0])
    chain = np.stack([features[0] + place * step for place in range(11)])
    joined = group_near_duplicates(
        np.concatenate([chain, features[2:]]).astype(np.float32), np.append([0] * 9, labels), names(39)
    )
    assert len(set(joined[11:])) == len(labels) - 2
    places = {name: [place for place in range(11) if joined[place] == name] for name in set(joined[:11])}
    assert 2 <= len(places) < 11
    # The chain leads from one example to another; no group reaches that far.
    assert max(max(group) - min(group) for group in places.values()) < 10


def test_copies_of_an_example_join_it_and_not_each_other_by_chance() -> None:
    features, labels = images(4, each=20)
    rng = np.random.default_rng(5)
    copies = features[[0] * 6] * (1 + 0.05 * rng.normal(size=(6, features.shape[1])))
    both = np.concatenate([copies.astype(np.float32), features])
    joined = group_near_duplicates(both, np.append([0] * 6, labels), names(len(both)))
    assert len(set(joined[:7])) == 1
    assert len(set(joined[7:])) == len(labels) - 1


# Feature rows


def row_names(rows: Float32) -> list[str]:
    return [sha256(row.tobytes()).hexdigest() for row in rows]


def grouped_rows(rows: Float32, labels: Ints) -> list[str]:
    return group_near_duplicates(rows, labels, row_names(rows), modality=Modality.TENSOR)


def largest(groups: list[str]) -> int:
    return max(Counter(groups).values())


def test_dense_rows_of_two_half_moons_are_no_duplicates() -> None:
    rows, labels = datasets.make_moons(400, noise=0.2, random_state=0)
    groups = grouped_rows(rows.astype(np.float32), labels)
    assert len(set(groups)) > 390
    assert largest(groups) <= 2


def test_rows_of_breast_cancer_are_no_duplicates() -> None:
    rows, labels = datasets.load_breast_cancer(return_X_y=True)
    assert len(set(grouped_rows(rows.astype(np.float32), labels))) == 569


@pytest.mark.parametrize("size", [2, 3, 5, 10, 30, 60])
@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e6])
def test_a_dense_cloud_of_rows_stays_apart_in_any_unit(size: int, spread: float) -> None:
    rows = (np.random.default_rng(size).normal(size=(2000, size)) * spread + spread).astype(np.float32)
    groups = grouped_rows(rows, np.zeros(2000, np.int64))
    assert len(set(groups)) > 1900
    assert largest(groups) <= 4


def test_an_outlier_does_not_make_all_other_rows_equal() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    rows[0] = [1e30, 1e30, -1e30]
    assert len(set(grouped_rows(rows, np.zeros(300, np.int64)))) > 290


def rows_of_counts(count: int, seed: int) -> tuple[Float32, Ints]:
    """Rows of which most numbers are 0, of two classes that overlap."""
    labels = np.arange(count) % 2
    rates = np.where(labels == 1, 0.35, 0.2)[:, np.newaxis]
    rows = np.random.default_rng(seed).poisson(rates, (count, 40)).astype(np.float32)
    return rows, labels


@pytest.mark.parametrize("wrong", [-9999.0, 1e6])
def test_a_wrong_row_does_not_make_rows_of_counts_equal(wrong: float) -> None:
    rows, labels = rows_of_counts(400, seed=0)
    rows[7] = wrong
    # Equal rows are near-duplicates.
    assert len(set(grouped_rows(rows, labels))) == len({row.tobytes() for row in rows})


def test_a_wrong_row_does_not_raise_the_reported_accuracy() -> None:
    rows, labels = rows_of_counts(400, seed=0)
    rows[7] = -9999.0
    targets = Targets.of_labels(labels, ["few", "many"])
    fitted = fit(Auto(), {LAST: rows}, targets, row_names(rows), seed=0, modality=Modality.TENSOR)
    fresh, expected = rows_of_counts(3000, seed=1)
    accuracy = (fitted.head.outputs({LAST: fresh}).argmax(axis=1) == expected).mean()
    # Was 0.995 of 200 examples.
    assert fitted.metrics.example_count >= 390
    assert fitted.metrics.accuracy == pytest.approx(accuracy, abs=0.1)


def test_rows_that_were_rounded_or_converted_are_near_duplicates() -> None:
    rows = np.random.default_rng(0).lognormal(size=(200, 20)).astype(np.float32)
    again = rows[:50].astype(np.float16).astype(np.float32)
    groups = grouped_rows(np.concatenate([rows, again]), np.zeros(250, np.int64))
    assert groups[200:] == groups[:50]
    assert len(set(groups)) == 200


def test_equal_rows_of_different_contents_are_one_group() -> None:
    rows = np.ones((40, 3), np.float32)
    found = group_near_duplicates(rows, np.zeros(40, np.int64), names(40), modality=Modality.TENSOR)
    assert set(found) == {"000000"}


def test_classes_that_are_tight_and_far_apart_stay_apart_within() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 8)
    rows = 100 * np.eye(2, 30)[labels] + 1 + 0.01 * rng.normal(size=(16, 30))
    joined = group_near_duplicates(rows.astype(np.float32), labels, names(16))
    assert joined == names(16)


def test_equal_content_is_one_group_already_and_equal_features_become_one() -> None:
    features = np.ones((5, 4), np.float32)
    assert group_near_duplicates(features, np.array([0, 0, 1, 1, 1]), list("abbcd")) == ["a"] * 5


def test_many_examples_are_searched_through_projections_with_the_same_result() -> None:
    features, labels = images(2, each=900, d=200)
    rng = np.random.default_rng(3)
    again = np.arange(0, len(features), 90)
    changed = features[again] * (1 + 0.01 * rng.normal(size=features[again].shape))
    both = np.concatenate([features, changed.astype(np.float32)])
    joined = group_near_duplicates(both, np.append(labels, labels[again]), names(len(both)))
    assert joined == [*names(len(features)), *(names(len(features))[place] for place in again)]


def test_contents_that_are_slightly_too_far_apart_are_scaled_a_few_times_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, clusters = 4200, 6
    rng = np.random.default_rng(0)
    centers, apart = rng.normal(size=(clusters, 384)), rng.normal(size=(count, 384))
    # Within a cluster all pairs are at 1.4 times the limit, and the projections cannot exclude them.
    share = 0.14 * (1 - 1 / clusters) / (1 - 0.14)
    rows = np.sqrt(1 - share) * normalized(centers)[np.arange(count) % clusters]
    rows += np.sqrt(share) * normalized(apart)
    features = (np.sign(rows) * rows**2).astype(np.float32)
    scaled = 0

    def counted(features: Float32, scaling: Scaling) -> Float32:
        nonlocal scaled
        scaled += len(features)
        return scale_features(features, scaling)

    monkeypatch.setattr(near_duplicates, "scale_features", counted)
    labels = np.zeros(count, np.int64)
    assert group_near_duplicates(features, labels, names(count), modality=Modality.TEXT) == names(count)
    # Once for the spread, once for the projection, and once for each block of candidates and all others.
    assert scaled <= 10 * count


def peak_of_search(features: Float32, labels: Ints, modality: Modality) -> int:
    """Return the most bytes that a search has allocated at one time."""
    tracemalloc.start()
    try:
        group_near_duplicates(features, labels, names(len(features)), modality=modality)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_deviations_of_many_rows_are_computed_without_copies_of_all_rows() -> None:
    rows = np.random.default_rng(0).standard_normal((8192, 512), np.float32)
    # The peak of copies in double precision would be 7 times the rows.
    assert peak_of_search(rows, np.zeros(len(rows), np.int64), Modality.TENSOR) < 3 * rows.nbytes


def test_as_many_classes_as_examples_take_no_memory_each() -> None:
    features = np.abs(np.random.default_rng(0).standard_normal((4096, 1024), np.float32))
    # With a sum for each class the peak would be 6 times the features; blocks of rows take 4 times.
    assert peak_of_search(features, np.arange(len(features)), Modality.IMAGE) < 5 * features.nbytes
