"""Confident learning on probabilities written by hand, and on a planted joint."""

from __future__ import annotations

import numpy as np

from septet.data.confident import judge, thresholds


def test_a_threshold_is_the_mean_probability_of_a_labels_own_rows():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert thresholds(probabilities, np.array([0, 0, 1])).tolist() == [0.7, 0.8, 2.0]


def test_a_row_is_doubtful_where_another_label_reaches_its_own_threshold():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.95, 0.05]])
    targets = np.array([0, 0, 1, 1, 1])
    found = judge(probabilities, targets, thresholds(probabilities, targets))
    assert found.doubtful.tolist() == [False, False, False, False, True]
    assert (found.suggested[4], found.confidence[4], found.given[4]) == (0, 0.95, 0.05)
    assert found.suggested[:4].tolist() == [0, 0, 1, 1]


def test_a_label_of_which_no_model_is_sure_is_not_doubted_everywhere():
    """Label 0 gets 0.6 of all rows of label 1: the likeliest label alone would doubt each of them."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    targets = np.array([0, 0, 1, 1])
    assert not judge(probabilities, targets, thresholds(probabilities, targets)).doubtful.any()


def test_rows_below_every_threshold_are_taken_to_be_as_those_above():
    """Of label 1, two rows are counted as right and two as wrong; so are two of the four that reach nothing: those whose given label is least likely."""
    wrong, right = [0.9, 0.1], [0.1, 0.9]
    unsure = [[0.6, 0.4], [0.7, 0.3], [0.4, 0.6], [0.45, 0.55]]
    probabilities = np.array([wrong, wrong, right, right, *unsure])
    found = judge(probabilities, np.ones(8, dtype=np.int64), np.array([0.8, 0.8]))
    assert found.ranked.tolist() == [0, 1, 5, 4]


def test_as_many_are_found_as_were_planted():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 4000)
    logits = rng.normal(size=(4000, 5)) + 4 * np.eye(5)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = truth.copy()
    targets[:400] = (truth[:400] + rng.integers(1, 5, 400)) % 5
    found = judge(probabilities, targets, thresholds(probabilities, targets)).doubtful
    assert 0.85 <= found.sum() / 400 <= 1.15
    assert found[:400].sum() / found.sum() >= 0.9


def test_labels_that_are_not_judged_are_neither_doubted_nor_suggested():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.1, 0.0, 0.9]])
    found = judge(probabilities, np.array([1, 0]), np.array([0.5, 0.5, 0.5]), judged=np.array([True, False, False]))
    assert not found.doubtful.any()


def test_two_labels_nearly_as_likely_are_ambiguous_unless_both_are_hardly_likely():
    probabilities = np.array([[0.48, 0.44, 0.08], [0.6, 0.3, 0.1], [0.28, 0.27, 0.45]])
    found = judge(probabilities, np.array([0, 0, 2]), np.array([0.7, 0.7, 0.7]))
    assert found.ambiguous.tolist() == [True, False, False]
    assert found.rivals[0].tolist() == [0, 1]


def test_of_rows_as_far_behind_those_come_first_whose_given_label_is_least_likely():
    """Two labels share a row's probability: that its own is unlikely says more than that no other is sure."""
    torn, sure, right = [0.02, 0.5, 0.48], [0.2, 0.8, 0.0], [0.9, 0.05, 0.05]
    probabilities = np.array([sure, torn, right, [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    found = judge(probabilities, np.array([0, 0, 0, 1, 2]), np.array([0.5, 0.5, 0.45]))
    assert found.ranked.tolist() == [1, 0]
