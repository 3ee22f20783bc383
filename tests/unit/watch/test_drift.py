import numpy as np
import pytest
from scipy import stats

from septet.watch import drift
from septet.watch.drift import Sample, compare, labels_test, length_test, text_test, unusual


def sample(rng, n=150, *, shift=0.0, longer=0, red=0.5):
    labels = rng.random(n) < red
    return Sample(
        {"red": int(labels.sum()), "blue": int(n - labels.sum())},
        rng.poisson(20 + longer, n),
        (rng.normal(size=(n, 16)) + shift).astype(np.float32),
    )


def test_false_alarms_of_the_whole_family_stay_at_the_stated_rate():
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        tests = compare(sample(rng, 300), sample(rng, 100), false_alarm=0.1, permutations=200, seed=seed)
        alarms += any(test.drift for test in tests)
    assert alarms <= stats.binom.ppf(0.999, 200, 0.1)
    assert alarms >= 1


@pytest.mark.parametrize(
    ("change", "name"), [({"shift": 0.4}, "text"), ({"red": 0.8}, "labels"), ({"longer": 4}, "length")]
)
def test_each_kind_of_drift_is_found_by_its_test(change, name):
    rng = np.random.default_rng(1)
    tests = {test.name: test for test in compare(sample(rng, 500), sample(rng, 150, **change))}
    assert {key for key, test in tests.items() if test.drift} == {name}


def test_a_rare_alarm_rate_draws_more_permutations():
    rng = np.random.default_rng(2)
    tests = compare(sample(rng, 300), sample(rng, 100, shift=2.0), false_alarm=0.0005, permutations=10)
    assert next(test for test in tests if test.name == "text").drift
    assert min(test.p for test in tests) <= 1 / 12_000


def test_mmd_is_the_sum_over_pairs():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    points = np.concatenate([x, y])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(12, 1)]))
    wanted = kernel[:7, :7].mean() + kernel[7:, 7:].mean() - 2 * kernel[:7, 7:].mean()
    found = text_test(x, y, draws=10, rng=np.random.default_rng(0))
    assert found.statistic == pytest.approx(wanted, abs=1e-6)


def test_label_statistic_and_p_agree_with_the_chi_square_distribution():
    ours, theirs = {"a": 500, "b": 300, "c": 200}, {"a": 60, "b": 50, "c": 40}
    found = labels_test(ours, theirs, draws=20_000, rng=np.random.default_rng(0))
    wanted = stats.chi2_contingency([list(ours.values()), list(theirs.values())], lambda_="log-likelihood")
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.015)
    assert found.effect["labels"][0]["label"] == "a"
    assert found.effect["moved_share"] == pytest.approx(0.1)


def test_length_statistic_and_p_agree_with_scipy_where_there_are_no_ties():
    rng = np.random.default_rng(4)
    ours, theirs = rng.permutation(10_000)[:300], rng.permutation(11_000)[:80]
    found = length_test(ours, theirs, draws=20_000, rng=rng)
    wanted = stats.ks_2samp(ours, theirs, method="exact")
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue, abs=0.015)


def test_what_cannot_be_compared_is_no_drift():
    rng = np.random.default_rng(5)
    same = np.ones((60, 4), np.float32)
    assert text_test(same, same, draws=99, rng=rng).p == 1.0
    assert text_test(same, np.full((60, 4), np.nan), draws=99, rng=rng) is None
    assert text_test(same, np.ones((60, 8)), draws=99, rng=rng) is None
    assert text_test(np.zeros((0, 0)), same, draws=99, rng=rng) is None
    assert length_test(np.full(60, 5), np.full(60, 5), draws=99, rng=rng).p == 1.0
    assert labels_test({"a": 60}, {"a": 60}, draws=99, rng=rng).p == 1.0
    assert labels_test({}, {"a": 60}, draws=99, rng=rng) is None


def test_a_new_label_is_seen():
    found = labels_test({"a": 500}, {"a": 100, "new": 30}, draws=999, rng=np.random.default_rng(0))
    assert found.p == 1 / 1000


def test_the_answer_can_be_repeated():
    rng = np.random.default_rng(6)
    ours, theirs = sample(rng, 300), sample(rng, 100)
    first, again = (compare(ours, theirs, seed=7) for _ in range(2))
    assert [test.to_json() for test in first] == [test.to_json() for test in again]
    assert [test.p for test in compare(ours, theirs, seed=8)] != [test.p for test in first]


def test_holm_stops_at_the_first_that_does_not_count():
    tests = [drift.Test("text", 0, p, (1, 1)) for p in (0.04, 0.001, 0.02)]
    drift._holm(tests, 0.03)
    assert [test.drift for test in tests] == [False, True, False]
    tests = [drift.Test("text", 0, p, (1, 1)) for p in (0.03, 0.001, 0.015)]
    drift._holm(tests, 0.03)
    assert [test.drift for test in tests] == [True, True, True]


def test_the_most_unusual_rows_come_first():
    rng = np.random.default_rng(7)
    reference = rng.normal([1, 0, 0, 0], 0.1, (200, 4))
    window = rng.normal([1, 0, 0, 0], 0.1, (60, 4))
    window[[5, 40]] = [0, 1, 0, 0], [1, 0.6, 0, 0]
    window[7] = np.nan
    found = unusual(reference, window, most=3)
    assert [index for index, _ in found[:2]] == [5, 40]
    assert found[0][1] > found[1][1] > found[2][1]


def test_effects_are_at_chance_without_drift_and_near_one_with_it():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(500, 16))
    same = text_test(x, rng.normal(size=(200, 16)), draws=99, rng=rng).effect
    other = text_test(x, rng.normal(size=(200, 16)) + 2, draws=99, rng=rng).effect
    assert same["told_apart"] == pytest.approx(0.5, abs=0.06)
    assert same["far_share"] == pytest.approx(0.05, abs=0.05)
    assert other["told_apart"] > 0.95
