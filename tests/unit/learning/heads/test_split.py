"""How examples are dealt into folds and held out: whole groups, class by class, whatever their order."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.split import assign_folds, folds_for, held_out, held_out_for

Table = tuple[NDArray[np.int64], list[str]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Labels and groups; a group is of one class and may come several times."""
    members = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=60))
    present = sorted({label for label, _ in members})
    labels = np.array([present.index(label) for label, _ in members], np.int64)
    return labels, [f"{label}/{name}" for label, name in members]


SEEDS = st.integers(0, 2**64 - 1)
FOLDS = st.sampled_from([0, 2, 3, 5, 20])


def groups_of(labels: NDArray[np.int64], groups: list[str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for label, group in zip(labels.tolist(), groups, strict=True):
        found.setdefault(label, set()).add(group)
    return found


@given(tables(), FOLDS, SEEDS)
@settings(deadline=None)
def test_a_group_is_never_divided_between_folds(table: Table, folds: int, seed: int) -> None:
    labels, groups = table
    dealt = assign_folds(labels, groups, folds=folds, seed=seed)
    homes: dict[str, set[int]] = {}
    for group, fold in zip(groups, dealt.assignment.tolist(), strict=True):
        homes.setdefault(group, set()).add(fold)
    assert all(len(home) == 1 for home in homes.values())


@given(tables(), FOLDS, SEEDS)
@settings(deadline=None)
def test_folds_are_of_equal_size_in_all_and_in_each_class(table: Table, folds: int, seed: int) -> None:
    labels, groups = table
    dealt = assign_folds(labels, groups, folds=folds, seed=seed)
    assume(dealt.count)
    fold_of = dict(zip(groups, dealt.assignment.tolist(), strict=True))
    in_all = Counter(dict.fromkeys(range(dealt.count), 0))
    for names in groups_of(labels, groups).values():
        in_class = Counter(dict.fromkeys(range(dealt.count), 0))
        in_class.update(fold_of[name] for name in names)
        assert max(in_class.values()) - min(in_class.values()) <= 1
        in_all.update(in_class)
    assert max(in_all.values()) - min(in_all.values()) <= 1
    assert min(in_all.values()) >= 1


@given(tables(), SEEDS)
@settings(deadline=None)
def test_the_number_of_folds_is_the_median_class_size_between_two_and_five(table: Table, seed: int) -> None:
    labels, groups = table
    sizes = sorted(len(names) for names in groups_of(labels, groups).values())
    dealt = assign_folds(labels, groups, folds=0, seed=seed)
    if sizes[-1] < 2:
        assert dealt.count == 0
    else:
        middle = (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
        assert dealt.count == min(max(int(middle), 2), 5)


@given(tables(), st.sampled_from([2, 3, 20]), SEEDS)
@settings(deadline=None)
def test_a_given_number_of_folds_is_kept_where_there_are_groups_enough(
    table: Table, folds: int, seed: int
) -> None:
    labels, groups = table
    dealt = assign_folds(labels, groups, folds=folds, seed=seed)
    assume(dealt.count)
    assert dealt.count == min(folds, len(set(groups)))


@given(tables(), FOLDS, SEEDS)
@settings(deadline=None)
def test_counted_are_the_examples_whose_class_is_in_another_fold_too(
    table: Table, folds: int, seed: int
) -> None:
    labels, groups = table
    dealt = assign_folds(labels, groups, folds=folds, seed=seed)
    for label, fold, counted in zip(labels, dealt.assignment, dealt.counted, strict=True):
        assert counted == bool(((labels == label) & (dealt.assignment != fold)).any())


@given(tables(), FOLDS, SEEDS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_the_examples_does_not_matter(table: Table, folds: int, seed: int, random) -> None:
    labels, groups = table
    order = list(range(len(groups)))
    random.shuffle(order)
    moved = [groups[place] for place in order]
    one = assign_folds(labels, groups, folds=folds, seed=seed)
    other = assign_folds(labels[order], moved, folds=folds, seed=seed)
    assert other.assignment.tolist() == one.assignment[order].tolist()
    assert other.counted.tolist() == one.counted[order].tolist()
    chosen = held_out(labels, groups, share=0.3, seed=seed)
    assert held_out(labels[order], moved, share=0.3, seed=seed).tolist() == chosen[order].tolist()


def test_another_seed_deals_otherwise_and_the_same_seed_the_same() -> None:
    labels = np.repeat([0, 1], 40)
    groups = [str(index) for index in range(80)]
    deals = [assign_folds(labels, groups, folds=5, seed=seed).assignment.tolist() for seed in (1, 1, 2)]
    assert deals[0] == deals[1] != deals[2]
    chosen = [held_out(labels, groups, share=0.5, seed=seed).tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_classes_of_one_group_give_no_folds() -> None:
    dealt = assign_folds(np.array([0, 0, 1]), ["a", "a", "b"], folds=5, seed=0)
    assert dealt.count == 0
    assert not dealt.counted.any()
    assert dealt.assignment.shape == (3,)


def test_a_class_with_one_group_among_larger_ones_is_not_counted() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    dealt = assign_folds(labels, ["a", "b", "c", "d", "e", "f", "g", "g"], folds=3, seed=0)
    assert dealt.counted.tolist() == [True] * 6 + [False] * 2


@given(tables(), st.floats(0.01, 0.9), SEEDS)
@settings(deadline=None)
def test_held_out_takes_whole_groups_and_the_wanted_share_of_each_class(
    table: Table, share: float, seed: int
) -> None:
    labels, groups = table
    chosen = held_out(labels, groups, share=share, seed=seed)
    kept_out = {group for group, out in zip(groups, chosen, strict=True) if out}
    trained = {group for group, out in zip(groups, chosen, strict=True) if not out}
    assert not kept_out & trained
    for names in groups_of(labels, groups).values():
        out = len(names & kept_out)
        assert len(names) - out >= 1
        assert out >= min(1, len(names) - 1)
        assert abs(out - share * len(names)) <= 1


# Several labels and numbers.


@st.composite
def label_sets(draw: st.DrawFn) -> tuple[Targets, list[str]]:
    """Examples with some of four labels; a group shows the same in all its examples."""
    groups = draw(st.lists(st.integers(0, 19), min_size=1, max_size=40))
    rows = draw(st.lists(st.tuples(*[st.booleans()] * 4), min_size=20, max_size=20))
    return (
        Targets(
            task=Task.MULTI_LABEL,
            matrix=np.array([rows[group] for group in groups], np.float64),
            weights=np.ones(len(groups)),
            class_names=tuple("abcd"),
        ),
        [f"{group:02d}" for group in groups],
    )


def numbers(groups: list[int]) -> tuple[Targets, list[str]]:
    return Targets.from_targets([Target.of_value(float(group % 7)) for group in groups]), [
        f"{group:02d}" for group in groups
    ]


TABLES = label_sets() | st.lists(st.integers(0, 30), min_size=1, max_size=40).map(numbers)


@given(TABLES, FOLDS, SEEDS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_groups_stay_together_and_order_does_not_matter_for_any_task(
    table, folds: int, seed: int, random
) -> None:
    targets, groups = table
    dealt = folds_for(targets, groups, folds=folds, seed=seed)
    out = held_out_for(targets, groups, share=0.3, seed=seed)
    homes: dict[str, set[tuple[int, bool]]] = {}
    for group, fold, kept_out in zip(groups, dealt.assignment.tolist(), out.tolist(), strict=True):
        homes.setdefault(group, set()).add((fold, kept_out))
    assert all(len(home) == 1 for home in homes.values())
    assert set(dealt.assignment.tolist()) == set(range(max(dealt.count, 1)))
    assert dealt.counted.all() == bool(dealt.count)
    order = list(range(len(groups)))
    random.shuffle(order)
    moved = [groups[place] for place in order]
    assert (
        folds_for(targets.subset(order), moved, folds=folds, seed=seed).assignment.tolist()
        == dealt.assignment[order].tolist()
    )
    assert held_out_for(targets.subset(order), moved, share=0.3, seed=seed).tolist() == out[order].tolist()


#: Once a group is dealt, its two labels are left in the same other one, but lack different shares.
ALIKE_BUT_FOR_WHAT_IS_DEALT = (
    Targets(
        task=Task.MULTI_LABEL,
        matrix=np.array([[0.0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]),
        weights=np.ones(4),
        class_names=("a", "b", "c", "d"),
    ),
    ["00", "11", "15", "16"],
)


@given(label_sets(), SEEDS, st.permutations(range(4)))
@example(ALIKE_BUT_FOR_WHAT_IS_DEALT, 0, [3, 1, 2, 0])
@settings(deadline=None)
def test_names_of_labels_change_no_fold(table, seed: int, places: list[int]) -> None:
    targets, groups = table
    renamed = replace(targets, matrix=targets.matrix[:, places])
    one, other = (folds_for(each, groups, folds=0, seed=seed) for each in (targets, renamed))
    assert one.assignment.tolist() == other.assignment.tolist()


@given(tables(), FOLDS, SEEDS, st.permutations(range(5)))
@settings(deadline=None)
def test_names_of_classes_change_no_fold(table: Table, folds: int, seed: int, places: list[int]) -> None:
    labels, groups = table
    one = assign_folds(labels, groups, folds=folds, seed=seed)
    other = assign_folds(np.array(places)[labels], groups, folds=folds, seed=seed)
    assert one.assignment.tolist() == other.assignment.tolist()


def test_each_label_is_spread_evenly_over_folds() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.uniform(size=(200, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.025]).astype(np.float64)
    targets = Targets(task=Task.MULTI_LABEL, matrix=matrix, weights=np.ones(200), class_names=tuple("abcdef"))
    dealt = folds_for(targets, [f"{place:03d}" for place in range(200)], folds=5, seed=0)
    counts = np.stack([matrix[dealt.assignment == fold].sum(axis=0) for fold in range(5)])
    assert (np.abs(counts - counts.mean(axis=0)) <= 2).all()
    assert (counts[:, -1] >= 1).all()
    sizes = np.bincount(dealt.assignment)
    assert sizes.max() - sizes.min() <= 4


def test_each_part_of_the_range_is_spread_evenly_over_folds_and_held_out_of() -> None:
    values = np.random.default_rng(0).lognormal(size=100)
    targets = Targets.from_targets([Target.of_value(value) for value in values])
    groups = [f"{place:03d}" for place in range(100)]
    dealt = folds_for(targets, groups, folds=0, seed=0)
    order = np.argsort(values)
    for start in range(0, 100, 5):
        assert sorted(dealt.assignment[order[start : start + 5]].tolist()) == [0, 1, 2, 3, 4]
    out = held_out_for(targets, groups, share=0.2, seed=0)
    assert [int(out[order[start : start + 5]].sum()) for start in range(0, 100, 5)] == [1] * 20


@given(label_sets(), st.floats(0.01, 0.9), SEEDS)
@settings(deadline=None)
def test_of_several_labels_each_keeps_a_group_for_training(table, share: float, seed: int) -> None:
    targets, groups = table
    out = held_out_for(targets, groups, share=share, seed=seed)
    assert (targets.matrix[~out].any(axis=0) == targets.matrix.any(axis=0)).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_class_whose_groups_are_all_another_class_s_too_keeps_one_for_training(seed: int) -> None:
    labels = np.array([0, 0, 0, 0, 1])
    chosen = held_out(labels, ["a", "b", "c", "d", "a"], share=0.5, seed=seed)
    assert chosen.any()
    assert not chosen[4]
    assert not chosen[0]


def test_each_group_of_near_duplicates_counts_once() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    folds = assign_folds(labels, ["a", "a", "b", "c", "d", "d"], folds=2, seed=0)
    assert folds.weights_once(np.ones(6)).tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5]
    assert folds.weights_once(np.array([2.0, 4, 1, 1, 1, 1])).sum() == 2 / 2 + 4 / 2 + 1 + 1 + 1
    empty = assign_folds(labels[[0, 3]], ["a", "b"], folds=2, seed=0)
    assert empty.weights_once(np.ones(2)).tolist() == [1, 1]
