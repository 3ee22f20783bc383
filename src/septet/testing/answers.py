"""Answers drawn for the checks of a metric, of both kinds: usual ones, all right ones, and awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from septet.metrics import Choices, Texts
from septet.metrics.adhere import broken, read_limits

WORDS = ["a", "man", "in", "orange", "hat", "at", "über", "ß", "東京", "é", "🙂", ",", ".", "don't", "x1", "2,000"]
STATED: list[dict[str, Any]] = [{}, {"words": {"max": 2}}]


@dataclass(frozen=True, slots=True)
class Draws:
    """Where the answers of one kind come from.

    Args:
        usual: a seed to some rows.
        right: rows to the same rows, all answered right.
        awkward: rows on which a metric may be undefined, but must not fail.
    """

    usual: Callable[[int], Any]
    right: Callable[[Any], Any]
    awkward: Callable[[], list[Any]]


def draws(kind: str, needs: str | None) -> Draws:
    """Return the draws of a kind of answers; texts hold only what the metric says it needs."""
    if kind == Choices.kind:
        return Draws(_choices, _right_choices, _awkward_choices)
    return Draws(
        lambda seed: _only(_texts(seed), needs),
        lambda answers: _only(_right_texts(answers), needs),
        lambda: [_only(answers, needs) for answers in _awkward_texts()],
    )


def _choices(seed: int) -> Choices:
    rng = np.random.default_rng(seed)
    labels = [f"label{i}" for i in range(2 + seed % 4)]
    n = int(rng.integers(5, 60))
    scores = rng.dirichlet(np.full(len(labels), 0.5), n)
    targets = rng.integers(-1 if seed % 2 else 0, len(labels), n)
    targets[0] = 0
    return Choices(rng.integers(0, 2**62, n), labels, targets, scores)


def _right_choices(answers: Choices) -> Choices:
    targets = np.maximum(answers.targets, 0)
    return Choices(answers.rows, answers.labels, targets, np.eye(len(answers.labels))[targets])


def _awkward_choices() -> list[Choices]:
    one = Choices(np.array([1]), ["a", "b"], np.array([1]), np.array([[1.0, 0.0]]))
    unknown = Choices(np.array([1, 2]), ["a", "b"], np.array([-1, -1]), np.array([[1.0, 0.0], [0.5, 0.5]]))
    return [one, unknown]


def _texts(seed: int) -> Texts:
    """Return rows of a few words; what is written shares most of them, and some rows are empty on one side."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 40))
    references, texts = [], []
    for i in range(n):
        wanted = rng.choice(WORDS, int(rng.integers(0 if seed % 2 and i else 4, 14))).tolist()
        written = [word for word in wanted if rng.random() < 0.8] + rng.choice(WORDS, int(rng.integers(0, 3))).tolist()
        references.append(" ".join(wanted))
        texts.append("" if seed % 3 == 2 and not i % 5 else " ".join(written))
    tokens = rng.integers(1, 30, n)
    limits = [_kept_by(reference, rng) for reference in references]
    return Texts(rng.integers(0, 2**62, n), references, texts, rng.exponential(2.0, n) * tokens, tokens, limits)


def _kept_by(reference: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return some limits that a reference keeps; none of some rows."""
    drawn: dict[str, Any] = {
        "words": {"max": int(rng.integers(4, 14))},
        "mention": [str(rng.choice(["man", "orange", "über", "x1"]))],
        "avoid": [str(rng.choice(["hat", "don't", "refund"]))],
        "sentences": {"max": 1},
    }
    limits = read_limits({kind: drawn[kind] for kind in drawn if rng.random() < 0.5})
    lost = broken(reference, limits)
    return {kind: value for kind, value in limits.items() if kind not in lost}


def _right_texts(answers: Texts) -> Texts:
    return replace(
        answers, texts=list(answers.references), losses=np.zeros(len(answers)), weights=None, _kept={}, _drawn={}
    )


def _awkward_texts() -> list[Texts]:
    pairs = [
        ("", ""),
        ("", "a cat"),
        ("a cat", ""),
        ("...", "?!"),
        ("東京", "東京"),
        ("a cat sat down", "a cat sat down"),
    ]
    return [
        Texts(np.array([1]), [reference], [text], np.array([float(place)]), np.array([place]), [STATED[place % 2]])
        for place, (reference, text) in enumerate(pairs)
    ]


def _only(answers: Texts, needs: str | None) -> Texts:
    without = {"texts": ("losses", "limits"), "limits": ("losses",)}.get(str(needs), ("texts", "limits"))
    return replace(answers, **dict.fromkeys(without))
