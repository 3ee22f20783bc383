"""Baselines: cheap answers to the same task, measured beside the tuned model. One file is one baseline.

A baseline is built with `Options` of the run and fits on the training rows; it never sees a validation or test row while fitting. Its
class states what it answers: `answers = "choices"` returns (N, K) probabilities of the labels (`Baseline`), `answers = "texts"` writes one
text a prompt (`TextBaseline`). What it chose on the way (its C, say) is in `facts`, and goes into the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np

from septet import registry
from septet.errors import UsageError
from septet.progress import Listen, quiet

Kind = Literal["choices", "texts"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run tells its baselines.

    Args:
        num_labels: K; 0 where the answers are texts.
        labels: the K label names; none where the answers are texts.
        model: the checkpoint before tuning: `starter`, a folder or a hub id; None where the model was built from scratch.
        max_length: tokens kept of a text.
        seed: seed of all random choices.
        shots: training rows shown to a model that is not trained.
        prompt: with `{text}`, then `{label}`; None leaves it to the baseline.
        device: where a model runs; the CPU when None.
        known: `facts` of an earlier fit on the same rows; what was chosen there is not searched for again.
        listen: told of the progress.
    """

    num_labels: int = 0
    labels: tuple[str, ...] = ()
    model: str | None = "starter"
    max_length: int = 128
    seed: int = 42
    shots: int = 4
    prompt: str | None = None
    device: str | None = None
    known: dict[str, Any] = field(default_factory=dict)
    listen: Listen = quiet

    @property
    def answers(self) -> Kind:
        """What the task is answered with: a choice of labels where it has any, texts otherwise."""
        return "choices" if self.num_labels else "texts"

    @property
    def checkpoint(self) -> str:
        """The model, for a baseline that cannot do without.

        Raises:
            UsageError: the run's model was built from scratch.
        """
        if self.model is None:
            raise UsageError(
                "A model from scratch knows nothing before training.", hint="evaluate.baselines=[majority, tfidf]"
            )
        return self.model


class Baseline(Protocol):
    """The contract of a baseline that chooses labels: the class is named after its file."""

    answers: ClassVar[Kind]  # "choices"
    reads_texts: ClassVar[bool] = (
        True  # False of one that looks at labels alone, and so serves pictures and recordings too
    )
    facts: dict[str, Any]

    def __init__(self, options: Options): ...
    def fit(self, texts: list[str], targets: np.ndarray) -> Any: ...
    def scores(self, texts: list[str]) -> np.ndarray: ...


class TextBaseline(Protocol):
    """The contract of a baseline that writes texts: one for each prompt, in order."""

    answers: ClassVar[Kind]  # "texts"
    facts: dict[str, Any]

    def __init__(self, options: Options): ...
    def fit(self, prompts: list[str], references: list[str]) -> Any: ...
    def write(self, prompts: list[str]) -> list[str]: ...


def of(kind: Kind) -> list[str]:
    """Return the names of the registered baselines that answer with choices, or with texts, sorted.

    Raises:
        UsageError: a registered baseline does not state what it answers.
    """
    return [name for name in registry.names("baseline") if _answers(name) == kind]


def check_kind(names: Sequence[str], kind: Kind) -> None:
    """Refuse baselines that do not answer as the task does.

    Args:
        names: registered names, as in `evaluate.baselines`.
        kind: what the task is answered with.

    Raises:
        UsageError: one of them answers otherwise; those that fit are named.
    """
    wrong = [f"{name} ({_answers(name)})" for name in names if _answers(name) != kind]
    if wrong:
        raise UsageError(
            f"The baselines of this task must answer with {kind}.",
            where="evaluate.baselines",
            received=", ".join(wrong),
            hint=f"evaluate.baselines=[{', '.join(of(kind))}]",
        )


def check_reads(names: Sequence[str], media: str) -> None:
    """Refuse baselines that read texts, for rows that are none.

    Args:
        media: what the rows are files of.

    Raises:
        UsageError: one of them does.
    """
    wrong = [name for name in names if getattr(registry.part("baseline", name), "reads_texts", True)]
    if wrong:
        raise UsageError(
            f"The rows are {media}s, and this baseline reads texts.",
            where="evaluate.baselines",
            received=", ".join(wrong),
            hint="evaluate.baselines=[majority]",
        )


def _answers(name: str) -> Kind:
    found: Any = getattr(registry.part("baseline", name), "answers", None)
    if found not in get_args(Kind):
        raise UsageError(
            f'The baseline {name} must state what it answers: "choices" or "texts".',
            received=found,
            hint='answers = "choices"  (a line of its class)',
        )
    return found
