"""Do labels survive augmentation? Models that have not learned from a row say whether its variant still has its label.

Train, or 2,000 rows of it, is cut into five folds; a logistic regression on frozen features of the recipe's model, or on TF-IDF where it has none, learns from four and reads rows and variants of the fifth.
A variant counts where the row itself was read rightly: what is lost then is lost by the change. The share is stated with its Wilson interval. Slips of the keyboard can mislead the
teacher without misleading a person, so the share is a lower bound for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from septet.baselines import _folds
from septet.doubt import WEAK, encoder_of
from septet.progress import Listen, quiet

FOLDS, ROWS = 5, 2000
Z = 1.96  # of a two-sided 95 % interval


class Variant(Protocol):
    """What is asked of a variant."""

    @property
    def place(self) -> int: ...
    @property
    def augmenter(self) -> str: ...
    @property
    def texts(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many variants keep their label.

    Args:
        kept: share of the variants; `low` to `high` is its 95 % interval.
        n: variants asked about, those whose row was read rightly.
        by: augmenter -> its `kept` and `n`.
        accuracy: of the models on rows they have not learned from.
    """

    kept: float
    low: float
    high: float
    n: int
    by: dict[str, dict[str, float]]
    accuracy: float

    def told(self) -> str:
        """Return it as a sentence."""
        return (
            f"{self.kept:.1%} of them keep their label for models that have not learned from their row "
            f"({self.low:.1%} to {self.high:.1%}, n {self.n:,})."
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(
    recipe: Any,
    texts: Sequence[tuple[str, ...]],
    labels: Sequence[str],
    variants: Sequence[Variant],
    *,
    encoder: Any = None,
    listen: Listen = quiet,
) -> Agreement | None:
    """Return how many variants keep their label; None where the rows teach the models too little to ask them.

    Args:
        texts: of the rows of train.
        encoder: an `Embedded` or `Counted` (`baselines/_folds.py`); the one the recipe means when None.
    """
    rng = np.random.default_rng([recipe.data.augment.seed, len(texts)])
    drawn = np.sort(rng.permutation(len(texts))[:ROWS])
    names, targets = np.unique([labels[i] for i in drawn], return_inverse=True)
    enough = np.bincount(targets)[targets] >= FOLDS
    drawn = drawn[enough]
    names, targets = np.unique([labels[i] for i in drawn], return_inverse=True)
    asked = _one_each(variants, drawn, rng)
    if len(names) < 2 or not asked:
        return None
    encoder = encoder_of(recipe, listen) if encoder is None else encoder
    listen("note", text=f"data: asking whether {len(asked):,} variants keep their label")
    vectors = encoder.fit([texts[i] for i in drawn])
    numbers = _dealt(targets, rng)
    judge = _folds.out_of_fold(
        vectors,
        targets,
        [np.flatnonzero(numbers == fold).tolist() for fold in range(FOLDS)],
        num_labels=len(names),
        candidates=encoder.candidates,
        seed=recipe.data.augment.seed,
    )
    right = judge.probabilities.argmax(1) == targets
    accuracy, most = float(right.mean()), float(np.bincount(targets).max() / len(targets))
    if accuracy < most + WEAK * (1 - most):
        return None
    return _agreed(judge, encoder.vectors([v.texts for _, v in asked]), asked, targets, numbers, right)


def _agreed(
    judge: _folds.Judge,
    vectors: Any,
    asked: Sequence[tuple[int, Variant]],
    targets: np.ndarray,
    numbers: np.ndarray,
    right: np.ndarray,
) -> Agreement | None:
    """Return the share, of variants whose row was read rightly."""
    places = np.array([place for place, _ in asked])
    said = np.zeros(len(asked), dtype=np.int64)
    for fold, model in enumerate(judge.models):
        here = np.flatnonzero(numbers[places] == fold)
        if len(here):
            said[here] = model.scores(vectors[here]).argmax(1)
    counted = right[places]
    kept = (said == targets[places])[counted]
    makers = np.array([variant.augmenter for _, variant in asked])[counted]
    if not len(kept):
        return None
    low, high = wilson(int(kept.sum()), len(kept))
    by = {
        str(name): {"kept": float(kept[makers == name].mean()), "n": int((makers == name).sum())}
        for name in np.unique(makers)
    }
    return Agreement(float(kept.mean()), low, high, len(kept), by, float(right.mean()))


def wilson(kept: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    share, z2 = kept / n, Z * Z / n
    middle, half = share + z2 / 2, Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def _one_each(variants: Sequence[Variant], drawn: np.ndarray, rng: np.random.Generator) -> list[tuple[int, Variant]]:
    """Return one variant of each drawn row, and the row's place among these."""
    of_row: dict[int, list[Variant]] = {}
    for variant in variants:
        of_row.setdefault(variant.place, []).append(variant)
    found = []
    for place, row in enumerate(drawn.tolist()):
        if some := of_row.get(row):
            found.append((place, some[int(rng.integers(len(some)))]))
    return found


def _dealt(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return (N,) the fold of each row: the rows of each label, shuffled, dealt out in turn."""
    shuffled = rng.permutation(len(targets))
    order = shuffled[np.argsort(targets[shuffled], kind="stable")]
    numbers = np.empty(len(targets), dtype=np.int64)
    numbers[order] = np.arange(len(targets)) % FOLDS
    return numbers
