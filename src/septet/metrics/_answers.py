"""What a system answered, row by row: `Choices` among labels, or `Texts` it wrote. Metrics are functions of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from septet.errors import UsageError

BY_KIND = "adherence"  # the metric that is also there by kind of limit
LIMITS_HINT = "name the column that states them: task.limits=COLUMN"


@dataclass(slots=True)
class Answers:
    """Rows and their weights: what all kinds of answers share.

    `by_row` names the fields that hold one value a row; `asked`, those that systems must share to be compared.

    Args:
        rows: (N,) row ids.
        weights: (N,) or (R, N) how often each row counts, for R resamples at once; None: each once.
    """

    kind: ClassVar[str] = ""
    by_row: ClassVar[tuple[str, ...]] = ("rows",)
    asked: ClassVar[tuple[str, ...]] = ("rows",)

    rows: np.ndarray
    weights: np.ndarray | None = field(default=None, kw_only=True)
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False, kw_only=True)
    _drawn: dict[str, Any] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> Self:
        """Return the rows at these places, which may repeat."""
        places = np.arange(len(self))[index]
        taken = {name: _taken(getattr(self, name), places) for name in self.by_row}
        return replace(self, **taken, weights=None, _kept={}, _drawn={})

    def weighted(self, weights: np.ndarray) -> Self:
        """Return the same rows with other weights; what was computed row by row is shared."""
        return replace(self, weights=weights, _drawn={})

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value that depends on the rows but not on their weights, computed once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def keep_drawn(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value that depends on the weights as well, computed once for these weights."""
        if name not in self._drawn:
            self._drawn[name] = make()
        return self._drawn[name]

    def total(self, values: np.ndarray) -> Any:
        """Return the weighted sum of (N,) or (N, K) values: a number or (K,), with a leading R for R resamples."""
        return values.sum(0) if self.weights is None else self.weights @ values.astype(np.float64)

    def histogram(self, places: np.ndarray, num_places: int, values: np.ndarray | None = None) -> np.ndarray:
        """Return the weighted sum of `values` (default: ones) by place: (num_places,) or (R, num_places).

        Args:
            places: (N,) int; a row with a place below 0 is left out.
        """
        inside = places >= 0
        weights = self.weights if self.weights is not None else np.ones(len(places))
        if values is not None:
            weights = weights * values
        if weights.ndim == 1:
            return np.bincount(places[inside], weights[inside], num_places)
        shifted = places[inside] + num_places * np.arange(len(weights))[:, None]
        return np.bincount(shifted.ravel(), weights[:, inside].ravel(), num_places * len(weights)).reshape(
            len(weights), num_places
        )

    def num_rows(self, name: str) -> int:
        """Return the rows a metric rests on."""
        return len(self)

    def pairs_with(self, other: Answers) -> bool:
        """Whether the other system answered the same rows, where the same is right, in the same order."""
        return self.kind == other.kind and all(_equal(getattr(self, n), getattr(other, n)) for n in self.asked)

    def check(self, name: str, needs: str | None) -> None:
        """Refuse what a metric needs and these answers lack.

        Raises:
            UsageError: it is not there.
        """


@dataclass(slots=True)
class Choices(Answers):
    """Targets and predicted labels of one split, row by row.

    Args:
        labels: the K label names; the columns of `scores`.
        targets: (N,) int, index into `labels`; -1 where the label is unknown to the model.
        scores: (N, K) float64 probabilities.
    """

    kind: ClassVar[str] = "choices"
    by_row: ClassVar[tuple[str, ...]] = ("rows", "targets", "scores")
    asked: ClassVar[tuple[str, ...]] = ("rows", "targets")

    labels: list[str]
    targets: np.ndarray
    scores: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(N,) index of the most probable label."""
        return self.keep("predicted", lambda: self.scores.argmax(1))

    @property
    def confidence(self) -> np.ndarray:
        """(N,) probability of the most probable label."""
        return self.keep("confidence", lambda: self.scores.max(1))

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool; False where the label is unknown."""
        return self.keep("correct", lambda: self.predicted == self.targets)

    def num_rows(self, name: str) -> int:
        """Return the rows a metric rests on: those of the class for a class, those with a known label for the log loss."""
        _, label = split_name(name)
        if label is not None:
            return int((self.targets == self.labels.index(label)).sum())
        return int((self.targets >= 0).sum()) if name == "log_loss" else len(self)


@dataclass(slots=True)
class Texts(Answers):
    """References and generated texts of one split, row by row.

    Args:
        references: N texts that were wanted.
        texts: N texts that were generated; None where only the loss was measured.
        losses: (N,) float64 nats of the reference, summed over a row's supervised tokens; None where there are no probabilities.
        tokens: (N,) int supervised tokens.
        limits: what each row's instruction demands of its text, by kind (`metrics/adhere.py`); None where nothing says so.
    """

    kind: ClassVar[str] = "texts"
    by_row: ClassVar[tuple[str, ...]] = ("rows", "references", "texts", "losses", "tokens", "limits")
    asked: ClassVar[tuple[str, ...]] = ("rows", "references", "limits")

    references: list[str]
    texts: list[str] | None
    losses: np.ndarray | None
    tokens: np.ndarray
    limits: list[dict[str, Any]] | None = None

    @property
    def bytes(self) -> np.ndarray:
        """(N,) int UTF-8 bytes of the reference."""
        return self.keep("bytes", lambda: np.array([_num_bytes(text) for text in self.references], dtype=np.int64))

    def num_rows(self, name: str) -> int:
        """Return the rows a metric rests on: of limits, those that state one, of one kind where it is named."""
        base, kind = split_name(name)
        if base != BY_KIND or self.limits is None:
            return len(self)
        return sum(bool(limits) if kind is None else kind in limits for limits in self.limits)

    def check(self, name: str, needs: str | None) -> None:
        """Refuse a metric of generated texts, of the loss, or of limits, where there are none.

        Raises:
            UsageError: they are not there; the metric is named.
        """
        if needs in ("texts", "limits") and self.texts is None:
            raise UsageError(
                f"{name} needs generated texts; only the loss of these rows was measured.",
                hint="generate a text for each row, or ask for loss, perplexity or bits_per_byte",
            )
        if needs == "loss" and self.losses is None:
            raise UsageError(
                f"{name} needs the loss of the references; these texts come without probabilities.",
                hint="ask for a metric of the texts, such as chrf",
            )
        if needs == "limits" and self.limits is None:
            raise UsageError(f"{name} needs the limits of each row; these texts come without.", hint=LIMITS_HINT)


def split_name(name: str) -> tuple[str, str | None]:
    """Return ("f1", "refund") for `f1[refund]` and ("f1", None) for `f1`."""
    if name.endswith("]") and "[" in name:
        base, _, label = name[:-1].partition("[")
        return base, label
    return name, None


def _taken(values: Any, places: np.ndarray) -> Any:
    if values is None:
        return None
    return [values[i] for i in places] if isinstance(values, list) else values[places]


def _equal(ours: Any, theirs: Any) -> bool:
    return ours == theirs if isinstance(ours, list) else np.array_equal(ours, theirs)


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
