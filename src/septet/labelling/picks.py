"""Which rows of a pool are worth a label: those a model is unsure of, far from each other; with no labels yet, the most typical ones.

    picks = pick(vectors, known={17: "billing", 40: "returns"}, num=100, seed=0)

*Without labels* (`typical`): the pool falls into as many clusters as rows are wanted, and of each the row with the nearest neighbours is taken
(TypiClust, Hacohen et al. 2022). *With labels* (`uncertain`): a logistic regression on the labelled rows gives the margin between its two best labels for
every other row; of the `AHEAD` times as many rows with the smallest margins, clusters weighted by uncertainty are made, and the row nearest
each centre is taken (Zhdanov 2019, "Diverse mini-batch active learning"). Of rows that are equal in every number the first is taken, the others when nothing else is left.

Shapes: N rows of a pool, H numbers of each vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from septet.baselines._logistic import fit

C = 3.0  # of the regression on frozen features; see docs/why.md, "Baselines and metrics"
AHEAD = 10
NEIGHBOURS = 20
Why = Literal["typical", "uncertain", "equal"]


@dataclass(frozen=True, slots=True)
class Pick:
    """A row of the pool to label.

    Args:
        row: its place in the pool.
        why: `typical` of a cluster, `uncertain`, or `equal` to another in every number, when no others are left.
        margin: between the two most probable labels; None where nothing is labelled yet.
        between: the two most probable labels, where a margin is known.
    """

    row: int
    why: Why
    margin: float | None = None
    between: tuple[str, ...] = ()


def pick(vectors: np.ndarray, known: Mapping[int, str], *, num: int, seed: int) -> list[Pick]:
    """Return up to `num` rows of a pool that are not labelled yet; the first are the ones to begin with.

    Args:
        vectors: (N, H) float32 of the pool.
        known: place in the pool -> its label.
        seed: of the clusters.
    """
    scaled = centred(vectors)
    unlabelled = np.setdiff1d(np.arange(len(scaled)), np.fromiter(known, np.int64, len(known)))
    if not len(unlabelled):
        return []
    firsts = _firsts(scaled[unlabelled])
    open_rows = unlabelled[firsts]
    wanted = min(num, len(open_rows))
    if len(set(known.values())) < 2:
        rows = typical(scaled, open_rows, known=list(known), num=wanted, seed=seed)
        picks = [Pick(int(row), "typical") for row in rows]
    else:
        picks = uncertain(scaled, open_rows, known=known, num=wanted, seed=seed)
    again = np.setdiff1d(unlabelled, open_rows)[: num - wanted]
    return picks + [Pick(int(row), "equal") for row in again]


def typical(scaled: np.ndarray, open_rows: np.ndarray, *, known: list[int], num: int, seed: int) -> list[int]:
    """Return the most typical row of each of the `num` largest clusters that hold no labelled row."""
    places = np.concatenate([np.array(known, np.int64), open_rows])
    rows = scaled[places]
    groups, _ = _clusters(rows, len(known) + num, seed=seed)
    taken = set(groups[: len(known)].tolist())
    sizes = np.bincount(groups[len(known) :], minlength=len(known) + num)
    order = [int(g) for g in np.argsort(-sizes, kind="stable") if sizes[g] and int(g) not in taken]
    chosen = []
    for group in order[:num]:
        members = np.flatnonzero(groups == group)
        members = members[members >= len(known)]
        chosen.append(int(places[members[_most_typical(rows[members])]]))
    rest = [int(row) for row in open_rows if int(row) not in set(chosen)]
    return chosen + rest[: num - len(chosen)]


def uncertain(
    scaled: np.ndarray, open_rows: np.ndarray, *, known: Mapping[int, str], num: int, seed: int
) -> list[Pick]:
    """Return rows of small margins that are far from each other, the smallest margins first."""
    names, targets = np.unique(np.array(list(known.values())), return_inverse=True)
    model = fit(scaled[list(known)], targets, num_labels=len(names), c=C)
    scores = model.scores(scaled[open_rows])
    best = np.sort(scores, axis=1)[:, -2:]
    margins = best[:, 1] - best[:, 0]
    ahead = np.argsort(margins, kind="stable")[: AHEAD * num]
    rows = scaled[open_rows[ahead]]
    groups, distances = _clusters(rows, num, seed=seed, weights=1 - margins[ahead])
    chosen = [
        int(members[distances[members].argmin()]) for g in range(num) if len(members := np.flatnonzero(groups == g))
    ]
    left = [i for i in range(len(ahead)) if i not in set(chosen)]
    chosen = sorted(chosen + left[: num - len(chosen)])
    found = []
    for i in chosen:
        two = names[np.argsort(-scores[ahead[i]], kind="stable")[:2]]
        margin = round(float(margins[ahead[i]]), 4)
        found.append(Pick(int(open_rows[ahead[i]]), "uncertain", margin, tuple(map(str, two))))
    return found


def centred(vectors: np.ndarray) -> np.ndarray:
    """Return vectors about their mean, scaled by one number to unit variance."""
    found = vectors.astype(np.float32) - vectors.mean(0, dtype=np.float64).astype(np.float32)
    scale = float(found.std())
    return found / scale if scale > 0 else found


def _clusters(rows: np.ndarray, num: int, *, seed: int, weights: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) cluster of each row, and its distance to the cluster's centre."""
    from sklearn.cluster import MiniBatchKMeans

    num = min(num, len(rows))
    settings: dict[str, Any] = {"n_init": 1, "max_iter": 30, "reassignment_ratio": 0}
    means = MiniBatchKMeans(num, random_state=seed, batch_size=max(1024, 3 * num), **settings)
    weights = None if weights is None else np.maximum(weights, 1e-3)
    groups = np.asarray(means.fit(rows, sample_weight=weights).predict(rows))
    return groups, np.linalg.norm(rows - means.cluster_centers_[groups], axis=1)


def _most_typical(rows: np.ndarray) -> int:
    """Return the row with the nearest neighbours: 1 over the mean distance to them is its density."""
    near = min(NEIGHBOURS, len(rows) - 1)
    if near < 1:
        return 0
    squares = (rows * rows).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0))
    return int(np.partition(distances, near, axis=1)[:, : near + 1].sum(1).argmin())


def _firsts(rows: np.ndarray) -> np.ndarray:
    """Return the place of the first of each set of equal rows, in order."""
    _, firsts = np.unique(rows, axis=0, return_index=True)
    return np.sort(firsts)
