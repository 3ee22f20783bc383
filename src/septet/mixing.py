"""What an epoch shows of train: paths with weights (`data.weights`), labels balanced (`data.balance`).

Both become one `Mixture` over strata, the rows of one path and one label; its draws are shuffled, resumed and shared by ranks like those
of any run. Rows of validation and test are never weighed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.data.balance import factors
from septet.data.sql import hide
from septet.data.store import Prepared
from septet.engine.mixture import Mixture
from septet.recipe import Recipe
from septet.report import Finding
from septet.tasks import Example


@dataclass(frozen=True, eq=False)
class Mix:
    """How a recipe mixes the rows of train.

    Args:
        recipe: its weights and balance.
        sources: (N,) of each row, by which path of the recipe it was found.
        labels: (N,) of each row, the place of its label in `names`.
        names: the labels; one without a name where labels are not balanced.
        strata: (S, L) how often an epoch shows each row of a path and a label on average.
    """

    recipe: Recipe
    sources: np.ndarray
    labels: np.ndarray
    names: list[str]
    strata: np.ndarray

    @classmethod
    def of(cls, recipe: Recipe, prepared: Prepared, rows: Sequence[Mapping[str, Any]]) -> Mix:
        """Return the mix of the prepared rows of train."""
        data, column = recipe.data, prepared.schema.label
        weights = np.array(list(data.weighed().values()) or [1.0])
        sources = prepared.sources() if np.any(weights != 1) else np.zeros(len(rows), dtype=np.int64)
        names, labels = [""], np.zeros(len(rows), dtype=np.int64)
        by_label = np.ones(1)
        if data.balance.on and column is not None:
            found, labels = np.unique([str(row[column]) for row in rows], return_inverse=True)
            names = [str(name) for name in found]
            sizes = np.bincount(labels, weights[sources], len(names))
            chosen = factors(dict(zip(names, sizes.tolist(), strict=True)), data.balance)
            by_label = np.array([chosen[name] for name in names])
        return cls(recipe, sources, labels, names, np.outer(weights, by_label))

    @property
    def draws_per_epoch(self) -> int:
        """Rows that an epoch shows."""
        mixture = self.mixture([1] * len(self.sources))
        return len(self.sources) if mixture is None else mixture.draws_per_epoch

    def mixture(self, counts: Sequence[int]) -> Mixture | None:
        """Return how often an epoch shows each example; None where each is shown once.

        Args:
            counts: examples of each row.
        """
        if np.all(self.strata == 1):
            return None
        places = self.sources * len(self.names) + self.labels
        return Mixture(np.repeat(places, counts), self.strata.ravel().tolist())

    def shown(self, mixture: Mixture) -> dict[str, dict[str, int]]:
        """Return label -> rows `kept` and `shown` in an epoch; nothing where labels are not balanced."""
        if not self.recipe.data.balance.on:
            return {}
        kept, shown = (a.reshape(-1, len(self.names)).sum(0).tolist() for a in (mixture.sizes, mixture.shown))
        return {name: {"kept": a, "shown": b} for name, a, b in zip(self.names, kept, shown, strict=True)}

    def findings(self, mixture: Mixture | None, examples: Sequence[Example]) -> list[Finding]:
        """Return what an epoch shows of each source and of each label."""
        if mixture is None:
            return []
        found = [self._sources(mixture, examples)] if self.recipe.data.weights else []
        return [*found, *self._labels(mixture)]

    def _sources(self, mixture: Mixture, examples: Sequence[Example]) -> Finding:
        by_stratum = np.bincount(mixture.sources, mixture.means * [e.size for e in examples], len(mixture.weights))
        tokens, sizes, shown = (
            each.reshape(-1, len(self.names)).sum(1) for each in (by_stratum, mixture.sizes, mixture.shown)
        )
        facts = {
            hide(path): {"weight": weight, "examples": size, "shown": draws, "tokens": share}
            for (path, weight), size, draws, share in zip(
                self.recipe.data.weighed().items(),
                sizes.tolist(),
                shown.tolist(),
                (tokens / tokens.sum()).tolist(),
                strict=True,
            )
        }
        told = "; ".join(
            f"{path} {each['shown']:,} of {each['examples']:,} (weight {each['weight']:g}, {each['tokens']:.1%} of the tokens)"
            for path, each in facts.items()
        )
        return Finding(
            "sources-weighed",
            "note",
            f"An epoch shows {mixture.draws_per_epoch:,} examples, drawn from {len(examples):,}: {told}.",
            "data.weights sets how often each source is shown",
            {"sources": facts},
        )

    def _labels(self, mixture: Mixture) -> list[Finding]:
        facts = self.shown(mixture)
        if not facts:
            return []
        told = "; ".join(f'"{label}" {each["shown"]:,} of {each["kept"]:,}' for label, each in list(facts.items())[:8])
        more = f"; {len(facts) - 8:,} more labels" if len(facts) > 8 else ""
        found = [
            Finding(
                "labels-balanced",
                "note",
                f"An epoch shows {mixture.draws_per_epoch:,} rows, drawn from {len(mixture.sources):,}: {told}{more}.",
                "data.balance sets how often each label is shown",
                {"labels": facts},
            )
        ]
        weights = getattr(self.recipe.task, "class_weights", "none")
        if self.recipe.data.balance.sampling != "none" and weights != "none":
            found.append(
                Finding(
                    "balanced-twice",
                    "warning",
                    f"Rare labels count twice: data.balance.sampling={self.recipe.data.balance.sampling} shows every label equally often, "
                    "and task.class_weights weighs them by their rows in train as well.",
                    "one of the two: remove task.class_weights or data.balance.sampling",
                )
            )
        return found


def book_labels(ledger: dict[str, Any], recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """Return the books of a run with the rows of each label that an epoch shows, where labels are balanced."""
    if not recipe.data.balance.on or not prepared.splits["train"]["rows"]:
        return ledger
    rows = prepared.rows("train")
    mix = Mix.of(recipe, prepared, rows)
    mixture = mix.mixture([1] * len(rows))
    labels = {} if mixture is None else mix.shown(mixture)
    return {**ledger, "train": {**ledger["train"], "labels": labels}}
