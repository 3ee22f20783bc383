import numpy as np
import pytest
from scipy.stats import binomtest

from septet.errors import UsageError
from septet.metrics import Choices, interval
from septet.metrics.interval import compare, intervals, mcnemar


def answers(accuracy: float, n: int = 400, k: int = 3, seed: int = 0) -> Choices:
    rng = np.random.default_rng(seed)
    targets = np.random.default_rng(99).integers(0, k, n)
    given = np.where(rng.random(n) < accuracy, targets, (targets + 1) % k)
    return Choices(np.arange(n), list("abcdefg"[:k]), targets, np.eye(k)[given] * 0.8 + 0.2 / k)


def test_the_interval_of_accuracy_is_the_binomial_one():
    found = intervals(["accuracy"], answers(0.8, n=1000), resamples=4000)[0]
    width = 1.96 * np.sqrt(found.value * (1 - found.value) / 1000)
    assert found.low == pytest.approx(found.value - width, abs=0.005)
    assert found.high == pytest.approx(found.value + width, abs=0.005)
    assert found.n == 1000


def test_intervals_cover_as_often_as_they_say():
    truth, inside = 0.7, 0
    for seed in range(200):
        found = intervals(["accuracy"], answers(truth, n=150, seed=seed), resamples=200, confidence=0.8)[0]
        inside += found.low <= truth <= found.high
    assert 0.70 <= inside / 200 <= 0.90


def test_the_same_seed_gives_the_same_interval_and_chunks_do_not_matter(monkeypatch):
    one = intervals(["f1", "f1[a]"], answers(0.6))
    assert intervals(["f1", "f1[a]"], answers(0.6)) == one
    assert intervals(["f1", "f1[a]"], answers(0.6), seed=1) != one
    monkeypatch.setattr(interval, "_CHUNK", 400 * 7)
    again = intervals(["f1", "f1[a]"], answers(0.6))
    assert [v for s in again for v in (s.low, s.high)] == pytest.approx([v for s in one for v in (s.low, s.high)])


def test_a_class_metric_rests_on_the_rows_of_the_class():
    system = answers(0.7)
    found = intervals(["recall[b]"], system)[0]
    assert found.n == (system.targets == 1).sum()


def test_a_class_without_rows_has_value_zero_and_no_made_up_interval():
    system = Choices(np.arange(4), ["a", "b", "never"], np.array([0, 1, 0, 1]), np.eye(3)[[0, 1, 1, 1]])
    found = intervals(["recall[never]"], system)[0]
    assert (found.value, found.low, found.high, found.n) == (0.0, 0.0, 0.0, 0)


def test_a_real_difference_is_found_and_chance_is_not():
    better = compare("accuracy", answers(0.9, n=800), answers(0.7, n=800, seed=5))
    assert better.low > 0 and better.p < 0.01 and better.value == pytest.approx(0.2, abs=0.05)
    same = compare("accuracy", answers(0.8), answers(0.8))
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_makes_the_interval_narrower():
    first = answers(0.8, n=500)
    second = Choices(first.rows, first.labels, first.targets, first.scores.copy())
    second.scores[:10] = np.roll(second.scores[:10], 1, axis=1)
    paired = compare("accuracy", first, second)
    alone = intervals(["accuracy"], first)[0]
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_p_is_uniform_where_there_is_no_difference():
    low = sum(
        compare("accuracy", answers(0.8, seed=2 * s), answers(0.8, seed=2 * s + 1), resamples=200).p < 0.1
        for s in range(200)
    )
    assert 5 <= low <= 40  # 20 expected


def test_lower_is_better_metrics_keep_their_sign():
    worse = compare("log_loss", answers(0.6, n=800), answers(0.9, n=800))
    assert worse.value > 0 and worse.low > 0


def test_mcnemar_is_the_exact_binomial_test():
    ours, theirs = answers(0.85, seed=1), answers(0.75, seed=2)
    won, lost, p = mcnemar(ours, theirs)
    assert won - lost == ours.correct.sum() - theirs.correct.sum()
    assert p == pytest.approx(binomtest(min(won, lost), won + lost).pvalue)
    assert mcnemar(ours, ours) == (0, 0, 1.0)


def test_other_rows_are_refused():
    ours = answers(0.8)
    with pytest.raises(UsageError, match="same rows"):
        compare("accuracy", ours, ours.take(np.arange(399, -1, -1)))


def test_many_rows_and_classes_stay_within_memory():
    rng = np.random.default_rng(0)
    n, k = 12_284, 77
    scores = rng.dirichlet(np.ones(k) * 0.1, n)
    targets = np.where(rng.random(n) < 0.8, scores.argmax(1), rng.integers(0, k, n))
    system = Choices(np.arange(n), [f"l{i}" for i in range(k)], targets, scores)
    import tracemalloc

    tracemalloc.start()
    found = intervals(
        ["accuracy", "f1", "log_loss", "calibration_error", *(f"f1[l{i}]" for i in range(k))], system, resamples=300
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 81 and peak < 300e6


@pytest.mark.parametrize(("accuracy", "low", "high"), [(1.0, 0.9097, 1.0), (0.0, 0.0, 0.0903)])
def test_all_rows_alike_leave_room_for_rows_to_come(accuracy, low, high):
    given = answers(accuracy, n=39)
    found = intervals(["accuracy", "recall[a]"], given)
    exact = binomtest(round(39 * accuracy), 39).proportion_ci(method="exact")
    assert (found[0].low, found[0].high) == pytest.approx((exact.low, exact.high))
    assert (found[0].low, found[0].high) == pytest.approx((low, high), abs=1e-4)
    of_class = binomtest(round(found[1].n * accuracy), found[1].n).proportion_ci(method="exact")
    assert found[1].n < 39 and (found[1].low, found[1].high) == pytest.approx((of_class.low, of_class.high))
