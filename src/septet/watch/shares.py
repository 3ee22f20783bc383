"""How often each label stands in rows without labels: estimated from what a classifier of the labelled rows says of them.

    scores = cross_fitted(vectors, labels, others)          # probabilities of both, no row judged by a model that has seen it
    shares = estimate(scores, seed=0)

A classifier counts its own mistakes too: the shares of its predictions are not the shares of the labels. Expectation-maximisation finds the shares
under which its calibrated probabilities are consistent. It is right where only the shares moved and the rows of one label look as before
(label shift); of a label that is not among the labelled rows it knows nothing.

Sources: Saerens, Latinne & Decaestecker 2002 (EM); Alexandari, Kundaje & Shrikumar 2020 (calibration with a temperature and a bias for each label
before it).

Shapes: N labelled rows, M others, K labels, H numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from septet.baselines._logistic import fit

FOLDS = 5
C = 3.0  # of the regression on frozen features
RESAMPLES = 200
_ROUNDS, _STILL = 200, 1e-6
_PULL = 0.1  # on the biases of the calibration: a label of few rows tells little of its own


@dataclass(frozen=True, slots=True)
class Scores:
    """Probabilities of each label.

    Args:
        names: (K,) the labels.
        known: (N, K) of the labelled rows, each by a model that has not seen it.
        targets: (N,) their labels, as places in `names`.
        others: (M, K) of the other rows.
    """

    names: list[str]
    known: np.ndarray
    targets: np.ndarray
    others: np.ndarray

    @property
    def predicted(self) -> tuple[dict[str, int], dict[str, int]]:
        """How often each label is predicted of the labelled rows, and of the others."""
        known, others = (np.bincount(each.argmax(1), minlength=len(self.names)) for each in (self.known, self.others))
        return (
            {name: int(n) for name, n in zip(self.names, known, strict=True) if n},
            {name: int(n) for name, n in zip(self.names, others, strict=True) if n},
        )


def cross_fitted(vectors: np.ndarray, labels: list[str], others: np.ndarray, *, seed: int) -> Scores:
    """Return the probabilities of both sets of rows; every row is dealt to a fold, and judged by the model of the other folds' labelled rows.

    So a labelled row and another one are judged alike, and where they are of one origin their predictions are too.

    Args:
        vectors: (N, H).  others: (M, H).
        labels: of the N rows.
        seed: of the folds.
    """
    names, targets = np.unique(np.array(labels), return_inverse=True)
    rng = np.random.default_rng(seed)
    mine, theirs = (rng.permutation(len(rows)) % FOLDS for rows in (vectors, others))
    mean, scale = vectors.mean(0), float(vectors.std()) or 1.0
    scaled = [((rows - mean) / scale).astype(np.float32) for rows in (vectors, others)]
    found = [np.zeros((len(rows), len(names))) for rows in scaled]
    for fold in range(FOLDS):
        kept = mine != fold
        model = fit(scaled[0][kept], targets[kept], num_labels=len(names), c=C)
        for rows, folds, scores in zip(scaled, (mine, theirs), found, strict=True):
            scores[folds == fold] = model.scores(rows[folds == fold])
    return Scores([str(name) for name in names], found[0], targets, found[1])


def estimate(scores: Scores, *, seed: int) -> list[dict[str, float | str]]:
    """Return of each label its share among the labelled rows, its estimated share among the others with a 95 % interval; the most moved first.

    The interval is of resampled other rows; that the classifier rests on a sample too is not in it.
    """
    before = np.bincount(scores.targets, minlength=len(scores.names)) / len(scores.targets)
    others = _calibrated(scores)
    now = em(others, before)
    rng = np.random.default_rng(seed)
    drawn = [em(others[rng.integers(len(others), size=len(others))], before, start=now) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    order = np.argsort(-np.abs(now - before), kind="stable")
    return [
        {
            "label": scores.names[i],
            "before": round(float(before[i]), 4),
            "now": round(float(now[i]), 4),
            "low": round(float(min(low[i], now[i])), 4),
            "high": round(float(max(high[i], now[i])), 4),
        }
        for i in order
    ]


def em(scores: np.ndarray, before: np.ndarray, *, start: np.ndarray | None = None) -> np.ndarray:
    """Return (K,) shares of the labels among rows, where probabilities of them are right under other shares.

    Args:
        scores: (M, K) probabilities.
        before: (K,) shares under which they are right.
        start: where to begin; `before` without it.
    """
    shares = before if start is None else start
    for _ in range(_ROUNDS):
        weighed = scores * (shares / np.maximum(before, 1e-12))
        weighed /= np.maximum(weighed.sum(1, keepdims=True), 1e-300)
        new = weighed.mean(0)
        moved, shares = float(np.abs(new - shares).max()), new
        if moved < _STILL:
            break
    return shares


def _calibrated(scores: Scores) -> np.ndarray:
    """Return the others' probabilities, with the temperature and the biases that fit the labelled rows best."""
    from scipy.optimize import minimize

    logits = np.log(np.maximum(scores.known, 1e-12))
    rows, n = np.arange(len(logits)), len(logits)
    hot = np.zeros_like(logits)
    hot[rows, scores.targets] = 1

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities = _softmax(np.exp(values[0]) * logits + values[1:])
        value = (
            -np.log(np.maximum(probabilities[rows, scores.targets], 1e-300)).mean()
            + _PULL * (values[1:] ** 2).sum() / n
        )
        wrong = (probabilities - hot) / n
        bent = np.exp(values[0]) * float((wrong * logits).sum())
        return float(value), np.concatenate([[bent], wrong.sum(0) + 2 * _PULL * values[1:] / n])

    best = minimize(loss, np.zeros(1 + len(scores.names)), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return _softmax(np.exp(best[0]) * np.log(np.maximum(scores.others, 1e-12)) + best[1:])


def _softmax(logits: np.ndarray) -> np.ndarray:
    found = np.exp(logits - logits.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)
