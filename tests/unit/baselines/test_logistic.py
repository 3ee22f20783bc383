import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from septet.baselines import _logistic


def blobs(n: int = 400, k: int = 4, width: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, k, n)
    return (rng.normal(size=(k, width))[targets] + rng.normal(size=(n, width)) * 1.3).astype(np.float32), targets


@pytest.mark.parametrize("c", [0.1, 1.0, 30.0])
def test_it_is_scikit_learns_regression(c):
    features, targets = blobs()
    ours = _logistic.fit(features, targets, num_labels=4, c=c, tolerance=1e-5)
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=2000).fit(features.astype(np.float64), targets)
    assert ours.scores(features) == pytest.approx(theirs.predict_proba(features), abs=2e-3)
    assert np.abs(ours.weights.T - theirs.coef_).max() < 2e-2


def test_sparse_features_give_the_same():
    features, targets = blobs()
    features[features < 0.5] = 0
    dense = _logistic.fit(features, targets, num_labels=4, c=1.0)
    sparse = _logistic.fit(csr_matrix(features), targets, num_labels=4, c=1.0)
    assert sparse.scores(csr_matrix(features)) == pytest.approx(dense.scores(features), abs=1e-4)


def test_a_warm_start_ends_at_the_same_place():
    features, targets = blobs()
    start = _logistic.fit(features, targets, num_labels=4, c=0.1)
    warm = _logistic.fit(features, targets, num_labels=4, c=10.0, start=start, tolerance=1e-5)
    cold = _logistic.fit(features, targets, num_labels=4, c=10.0, tolerance=1e-5)
    assert warm.scores(features) == pytest.approx(cold.scores(features), abs=5e-3)


def test_c_is_chosen_by_held_out_folds():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 80)).astype(np.float32)
    targets = (noise[:, 0] + 0.8 * rng.normal(size=300) > 0).astype(int)
    c, accuracy = _logistic.choose(noise, targets, num_labels=2, candidates=(0.01, 1, 1000), seed=0)
    assert c == 0.01 and accuracy["0.01"] > accuracy["1000"]
    again, _ = _logistic.choose(noise, targets, num_labels=2, candidates=(1000, 1, 0.01), seed=0)
    assert again == c


def test_a_label_without_rows_keeps_its_column():
    features, targets = blobs(k=3)
    model, facts = _logistic.fit_best(features, targets, num_labels=5, candidates=(1, 10), seed=0, known={})
    scores = model.scores(features)
    assert scores.shape == (400, 5) and scores.sum(1) == pytest.approx(np.ones(400))
    assert scores[:, 3:].max() < 0.2 and facts["C"] in (1, 10)


def test_a_known_c_is_not_searched_for(monkeypatch):
    features, targets = blobs()
    monkeypatch.setattr(_logistic, "choose", lambda *_, **__: pytest.fail("searched again"))
    _, facts = _logistic.fit_best(features, targets, num_labels=4, candidates=(1,), seed=0, known={"C": 3})
    assert facts == {"C": 3}


def test_features_that_are_not_numbers_end_the_search():
    features, targets = blobs(n=40)
    features[0, 0] = np.nan
    _logistic.fit(features, targets, num_labels=4, c=1.0)
