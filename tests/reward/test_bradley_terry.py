"""The linear Bradley-Terry fit against known answers."""

from __future__ import annotations

import numpy as np
import pytest

from preceptor.reward import bradley_terry as bt


def test_one_feature_gives_the_log_odds() -> None:
    # 30 of 40 comparisons won: without shrinkage the weight is log(30 / 10)
    differences = np.array([[1.0]] * 30 + [[-1.0]] * 10)
    assert bt.fit(differences, l2=1e-9)[0] == pytest.approx(np.log(3.0), abs=1e-3)


def test_a_weight_counts_as_that_many_rows() -> None:
    rows = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]])
    repeated = bt.fit(rows[[0, 0, 0, 1, 2]], l2=0.1)
    assert np.allclose(bt.fit(rows, l2=0.1, weights=np.array([3.0, 1.0, 1.0])), repeated, atol=1e-4)


def test_a_margin_asks_for_a_larger_difference() -> None:
    rows = np.array([[1.0], [1.0], [-1.0]])
    plain, asked = (bt.fit(rows, l2=0.1, targets=np.array([m, m, 0.0]))[0] for m in (0.0, 1.0))
    assert asked > plain + 0.1


def test_the_loss_of_a_soft_label_is_its_cross_entropy() -> None:
    # margin 1: 0.75 * log(1 + 1/e) + 0.25 * log(1 + e)
    expected = 0.75 * np.log1p(np.exp(-1.0)) + 0.25 * np.log1p(np.exp(1.0))
    assert bt.loss(np.array([1.0]), labels=np.array([0.75]))[0] == pytest.approx(expected)


def test_a_soft_label_is_what_that_share_of_wins_is() -> None:
    wins = np.array([[1.0]] * 3 + [[-1.0]])  # three of four comparisons won, or one pair with label 0.75
    soft = bt.fit(np.array([[1.0]]), l2=0.01, labels=np.array([0.75]))
    assert soft[0] == pytest.approx(bt.fit(wins, l2=0.01)[0], abs=1e-4)
    assert bt.fit(np.array([[1.0]]), l2=0.01, labels=np.array([0.5]))[0] == pytest.approx(0.0, abs=1e-6)


def test_more_features_than_rows_give_the_same_solution_as_the_plain_problem() -> None:
    rows = np.random.default_rng(3).normal(size=(6, 30))
    w = bt.fit(rows, l2=0.1)
    slope = -(rows / (1 + np.exp(rows @ w))[:, None]).mean(0) + 0.1 * w  # of the loss in all 30 dimensions
    assert np.abs(slope).max() < 1e-4


def test_only_judged_rows_choose_the_shrinkage() -> None:
    draw = np.random.default_rng(1)
    rows = np.concatenate([np.abs(draw.normal(size=(60, 5))), draw.normal(size=(60, 5))])
    folds, one, zero = np.arange(120) % 5, np.ones(120), np.zeros(120)
    judged = np.arange(120) >= 60  # the half that is noise
    assert bt.choose_l2(rows, folds, choices=(10.0, 0.001), weights=one, targets=zero, judged=~judged)[0] == 0.001
    assert bt.choose_l2(rows, folds, choices=(10.0, 0.001), weights=one, targets=zero, judged=judged)[0] == 10.0


def test_stronger_shrinkage_gives_smaller_weights() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 5)) + 0.3
    assert np.linalg.norm(bt.fit(rows, l2=1.0)) < np.linalg.norm(bt.fit(rows, l2=0.01))


def test_the_choice_of_shrinkage_prefers_what_predicts() -> None:
    draw = np.random.default_rng(1)
    noise = draw.normal(size=(60, 40))
    folds = bt.grouped_folds(list(range(60)), folds=5, seed=0)
    one, zero = np.ones(60), np.zeros(60)
    l2, _ = bt.choose_l2(noise, folds, choices=(10.0, 0.001), weights=one, targets=zero)
    assert l2 == 10.0  # noise predicts nothing: shrink
    signal = np.abs(noise)
    l2, margins = bt.choose_l2(signal, folds, choices=(10.0, 0.001), weights=one, targets=zero)
    assert l2 == 0.001
    assert (margins > 0).mean() > 0.95


def test_left_out_margins_are_those_of_a_fit_to_the_other_folds_with_all_that_a_row_carries() -> None:
    draw = np.random.default_rng(2)
    rows, folds = draw.normal(size=(20, 3)), np.arange(20) % 2
    given = {"weights": draw.random(20) + 0.1, "targets": draw.random(20), "labels": 0.5 + draw.random(20) / 2}
    _, margins = bt.choose_l2(rows, folds, choices=(0.1,), **given)
    for fold in (0, 1):
        w = bt.fit(rows[folds != fold], l2=0.1, **{name: one[folds != fold] for name, one in given.items()})
        assert np.allclose(margins[folds == fold], rows[folds == fold] @ w, atol=1e-3)


def test_rows_count_by_their_weight_in_the_choice_of_shrinkage_and_not_by_the_margin_they_ask_for() -> None:
    draw = np.random.default_rng(1)
    rows = np.concatenate([np.abs(draw.normal(size=(60, 5))), 5 * draw.normal(size=(60, 5))])
    folds, light = np.arange(120) % 5, np.repeat([1.0, 1e-6], 60)
    given = {"choices": (10.0, 0.001), "targets": np.zeros(120)}
    assert bt.choose_l2(rows, folds, weights=light, **given)[0] == 0.001
    assert bt.choose_l2(rows, folds, weights=np.ones(120), **given)[0] == 10.0
    same = np.array([[1.0]] * 80 + [[-1.0]] * 20)  # four of five alike, so that a weight of 6 is far too sure
    one, far = np.ones(100), np.full(100, 5.0)
    assert bt.choose_l2(same, np.arange(100) % 5, choices=(10.0, 0.001), weights=one, targets=far)[0] == 10.0


def test_with_one_fold_nothing_is_left_out_and_the_strongest_shrinkage_is_taken() -> None:
    rows, one = np.ones((4, 2)), np.ones(4)
    l2, margins = bt.choose_l2(rows, np.zeros(4, dtype=np.int64), choices=(0.1, 1.0), weights=one, targets=0 * one)
    assert (l2, margins.tolist()) == (1.0, [0.0] * 4)


def test_folds_keep_groups_together() -> None:
    groups = [i // 3 for i in range(30)]
    folds = bt.grouped_folds(groups, folds=5, seed=0)
    assert all(len(set(folds[3 * g : 3 * g + 3])) == 1 for g in range(10))
    assert np.bincount(folds).tolist() == [6] * 5
    assert bt.grouped_folds(groups, folds=5, seed=1).tolist() != folds.tolist()


def test_bootstraps_draw_whole_groups() -> None:
    counts = bt.bootstrap_counts(["a", "a", "b", "c"], draws=50, seed=0)
    assert counts.shape == (50, 4)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, [0, 2, 3]].sum(1) == 3).all()
    assert bt.bootstrap_counts(["a"], draws=0, seed=0).shape == (0, 1)


def test_temperature_recovers_overconfidence() -> None:
    draw = np.random.default_rng(0)
    true = draw.normal(scale=2.0, size=4000)
    signs = np.where(draw.random(4000) < 1 / (1 + np.exp(-true)), 1.0, -1.0)
    for heat in (0.1, 3.0, 12.0):
        assert bt.temperature(heat * signs * true) == pytest.approx(heat, rel=0.1)


def test_the_temperature_fits_soft_labels_by_their_weight() -> None:
    margins, weights = np.array([1.0, 1.0]), np.array([1.0, 0.0])
    found = bt.temperature(margins, weights=weights, labels=np.array([0.75, 0.999]))
    assert found == pytest.approx(1 / np.log(3.0), rel=0.03)  # where sigmoid(1 / T) is 0.75


@pytest.mark.parametrize("margins", [[], [0.0, 0.0, 0.0]])
def test_margins_that_tell_nothing_leave_the_temperature_at_one(margins: list[float]) -> None:
    assert bt.temperature(np.array(margins)) == 1.0
    assert bt.temperature(np.array([*margins, 3.0, -3.0]), weights=np.array([1.0] * len(margins) + [0.0, 0.0])) == 1.0
