"""Sealing: who may look at which label, decided by the data and a seed alone."""

from __future__ import annotations

import hashlib
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.sealing import Sealing, fewest_to_finetune, generator, require_sealed
from engine.errors import ArgumentError

KEY = hashlib.sha256(b"a data set").hexdigest()


@given(n=st.integers(20, 2000), seed=st.integers(0, 5))
def test_the_pilot_is_part_of_what_fine_tunes_and_never_of_what_rectifies(n, seed):
    sealing = Sealing.of(KEY, n, seed)
    assert sorted(sealing.order) == list(range(n))
    assert fewest_to_finetune(n) == sealing.pilot_size <= n // 2
    for s in (sealing.pilot_size, n - 10):
        train, rectify = sealing.split(s)
        assert len(train) == s
        assert sorted([*train, *rectify]) == list(range(n))
        assert set(sealing.pilot) <= set(train)


@given(n=st.integers(20, 2000), seeds=st.integers(1, 5))
def test_no_trial_scores_a_label_that_it_trained_on_or_that_is_sealed(n, seeds):
    sealing = Sealing.of(KEY, n, 0)
    pilot = set(sealing.pilot)
    for _, train, holdout in sealing.trials(seeds):
        assert len(train) > 0
        assert len(holdout) > 0
        assert not set(train) & set(holdout)
        assert set(train) | set(holdout) <= pilot


@given(texts=st.integers(12, 300), seed=st.integers(0, 5), count=st.integers(2, 20))
def test_labels_of_one_text_stay_together(texts, seed, count):
    clusters = np.random.default_rng(seed).integers(0, texts, 2 * texts)
    sealing = Sealing.of(KEY, len(clusters), seed, clusters)

    def apart(*parts):
        return not any(set(clusters[a]) & set(clusters[b]) for a, b in pairwise(parts))

    assert sorted(sealing.order) == list(range(len(clusters)))
    for opened in sealing.steps():
        step = sealing.opened(opened)
        assert step.pilot_size == len(step.pilot) == opened
        assert apart(step.pilot, np.setdiff1d(sealing.order, step.pilot))
        for _, train, holdout in step.trials(5):
            assert len(train)
            assert len(holdout)
            assert apart(train, holdout)
    for s in (sealing.pilot_size, len(clusters) - 10):
        train, rectify = sealing.split(s)
        assert apart(train, rectify)
        assert set(sealing.pilot) <= set(train)
    folds = sealing.folds(count)
    assert 2 <= len(folds) <= count
    assert sorted(np.concatenate(folds)) == list(range(len(clusters)))
    assert all(apart(fold, np.setdiff1d(sealing.order, fold)) for fold in folds)


def test_texts_with_one_label_each_are_sealed_as_if_nothing_were_said_of_them():
    one, other = Sealing.of(KEY, 100, 0), Sealing.of(KEY, 100, 0, np.random.default_rng(0).permutation(100))
    np.testing.assert_array_equal(one.order, other.order)
    assert one.steps() == other.steps()
    for (_, *rows), (_, *again) in zip(one.trials(5), other.trials(5), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.folds(7), other.folds(7), strict=True))


@pytest.mark.parametrize(("seeds", "expected"), [(5, {20, 40}), (4, {18, 37})])
def test_each_seed_keeps_its_holdout_and_adds_labels_in_its_own_order(seeds, expected):
    trials = Sealing.of(KEY, 400, 0).trials(seeds)
    holdouts = {}
    for seed, train, holdout in trials:
        earlier = [t for s, t, _ in trials if s == seed and len(t) < len(train)]
        assert all(set(small) < set(train) for small in earlier)
        assert list(holdouts.setdefault(seed, list(holdout))) == list(holdout)
    held = np.concatenate(list(holdouts.values()))
    assert sorted(held) == sorted(Sealing.of(KEY, 400, 0).pilot)
    sizes = [len(train) for _, train, _ in trials]
    assert sizes == sorted(sizes)
    assert set(sizes) == expected


@given(rare=st.integers(1, 30), seed=st.integers(0, 5))
def test_each_holdout_has_its_part_of_every_class(rare, seed):
    sealing = Sealing.of(KEY, 400, seed)
    codes = np.zeros(400, dtype=int)
    codes[np.random.default_rng(seed).choice(sealing.pilot, rare, replace=False)] = 1
    holdouts = {holdout: codes[rows].sum() for holdout, _, rows in sealing.trials(5, codes)}
    assert sum(holdouts.values()) == rare
    assert max(holdouts.values()) - min(holdouts.values()) <= 1


@given(n=st.integers(20, 5000), seed=st.integers(0, 3))
def test_the_pilot_opens_twice_as_many_labels_at_each_step_and_never_more_than_half(n, seed):
    sealing = Sealing.of(KEY, n, seed)
    steps = sealing.steps()
    assert steps[0] == sealing.pilot_size <= 64
    assert steps[-1] == n // 2
    assert all(after in (2 * before, 2 * before + 1) for before, after in pairwise(steps))
    assert sealing.opened(steps[-1]).steps() == steps[-1:]
    for before, after in pairwise(steps):
        assert set(sealing.opened(before).pilot) < set(sealing.opened(after).pilot)
        sizes, later = ({len(t) for _, t, _ in sealing.opened(count).trials(5)} for count in (before, after))
        assert sizes < later


def test_a_split_is_never_rectified_with_a_label_that_chose_it():
    sealing = Sealing.of(KEY, 400, 0)
    require_sealed(sealing.pilot, sealing.split(sealing.pilot_size)[1])
    with pytest.raises(ArgumentError, match="1 labels were opened"):
        require_sealed(sealing.pilot, sealing.split(sealing.pilot_size - 1)[1])


def test_where_nothing_is_to_be_rectified_all_labels_are_opened_at_once():
    assert Sealing.of(KEY, 400, 0).opened(400).steps() == [400]


@given(n=st.integers(20, 500), count=st.integers(2, 20))
def test_folds_hold_every_label_once_and_are_of_like_size(n, count):
    folds = Sealing.of(KEY, n, 3).folds(count)
    assert len(folds) == count
    assert sorted(np.concatenate(folds)) == list(range(n))
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_same_data_and_seed_seal_alike_and_others_do_not():
    one = Sealing.of(KEY, 100, 0)
    np.testing.assert_array_equal(one.order, Sealing.of(KEY, 100, 0).order)
    assert (one.order != Sealing.of(KEY, 100, 1).order).any()
    assert (one.order != Sealing.of(hashlib.sha256(b"another").hexdigest(), 100, 0).order).any()
    for (a, train, holdout), (b, again, held) in zip(one.trials(5), Sealing.of(KEY, 100, 0).trials(5), strict=True):
        assert a == b
        np.testing.assert_array_equal(train, again)
        np.testing.assert_array_equal(holdout, held)


def test_the_order_is_fair():
    first = [Sealing.of(hashlib.sha256(bytes([i])).hexdigest(), 10, 0).order[0] for i in range(256)]
    assert set(first) == set(range(10))
    assert np.bincount(first).max() < 50


def test_the_global_generator_is_left_alone():
    before = pickle.dumps(np.random.get_state())
    generator(KEY, 0).normal(size=10)
    Sealing.of(KEY, 100, 0).trials(5)
    assert before == pickle.dumps(np.random.get_state())


@pytest.mark.parametrize("n", [20, 30, 40, 60, 100])
def test_a_holdout_has_labels_enough_for_a_residual_variance(n):
    # A line through two points leaves no residual, whatever the model: the law would promise the moon.
    for _, train, holdout in Sealing.of(KEY, n, 0).trials(5):
        assert len(holdout) >= 4
        assert len(train) >= 5
