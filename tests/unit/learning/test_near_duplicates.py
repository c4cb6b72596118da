"""Near-duplicates: found whatever their number, joined, and never in two folds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.near_duplicates import group_near_duplicates
from headstart_server.learning.rows import Float32, Ints
from headstart_server.learning.split import assign_folds


def pictures(seed: int, *, each: int, classes: int = 3, d: int = 64) -> tuple[Float32, Ints]:
    """Different pictures of some classes, features positive and of some size as a backbone gives them."""
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
    features, labels = pictures(seed, each=each)
    rng = np.random.default_rng(seed)
    again = rng.permutation(len(labels))[: len(labels) // 3]
    changed = features[again] * (1 + change * rng.normal(size=features[again].shape))
    both = np.concatenate([features, changed.astype(np.float32)])
    joined = group_near_duplicates(both, np.append(labels, labels[again]), names(len(both)))
    expected = [*names(len(features)), *(names(len(features))[place] for place in again)]
    assert joined == expected
    folds = assign_folds(np.append(labels, labels[again]), joined, folds=0, seed=seed)
    assert folds.of[len(features) :].tolist() == folds.of[again].tolist()


def test_a_chain_of_near_duplicates_is_one_group() -> None:
    features, labels = pictures(1, each=10)
    step = 0.02 * (features[1] - features[0])
    chain = np.stack([features[0] + place * step for place in range(4)])
    joined = group_near_duplicates(
        np.concatenate([chain[[2, 0, 3, 1]], features[1:]]).astype(np.float32),
        np.append([0, 0, 0], labels),
        names(len(labels) + 3),
    )
    assert len(set(joined[:4])) == 1
    assert len(set(joined[4:])) == len(labels) - 1


def test_classes_that_are_tight_and_far_apart_stay_apart_within() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 8)
    rows = 100 * np.eye(2, 30)[labels] + 1 + 0.01 * rng.normal(size=(16, 30))
    joined = group_near_duplicates(rows.astype(np.float32), labels, names(16))
    assert joined == names(16)


def test_equal_content_is_one_group_already_and_equal_features_become_one() -> None:
    features = np.ones((5, 4), np.float32)
    assert group_near_duplicates(features, np.array([0, 0, 1, 1, 1]), list("abbcd")) == ["a"] * 5


def test_many_are_searched_through_projections_and_found_all_the_same() -> None:
    features, labels = pictures(2, each=900, d=200)
    rng = np.random.default_rng(3)
    again = np.arange(0, len(features), 90)
    changed = features[again] * (1 + 0.01 * rng.normal(size=features[again].shape))
    both = np.concatenate([features, changed.astype(np.float32)])
    joined = group_near_duplicates(both, np.append(labels, labels[again]), names(len(both)))
    assert joined == [*names(len(features)), *(names(len(features))[place] for place in again)]
