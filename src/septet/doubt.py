"""Rows that are likely mislabelled (`data.doubtful`): found by models that have not learned from them, told, and dropped from train where asked.

Train is cut into folds that keep equal texts, groups and near duplicates together. A logistic regression on frozen features judges
each fold after learning from the others, and so do a row's nearest rows in the other folds; the mean of the two counts. Validation and test are judged by
all folds together. What is doubtful follows from the probabilities by confident learning (`data/confident.py`). Nothing of test or validation decides what train loses, and neither loses a row.

Only where labels are classes. A label with fewer rows than there are folds is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from septet.baselines import _folds
from septet.baselines._neighbours import Neighbours
from septet.data import confident
from septet.data.draft import Draft, share
from septet.data.rows import Rows, row_ids
from septet.data.split import cut
from septet.errors import RecipeError
from septet.meaning import features_of
from septet.progress import Listen, quiet

EXAMPLES = 10
WEAK = 0.1  # share of what is left to gain over the most frequent label that the models must gain to be believed
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Doubts:
    """What was found in each split.

    Args:
        labels: the classes that its numbers count.
        splits: the rows as they were judged.
        judged: split -> what is thought of those of its rows whose label train has.
        places: split -> where each of these stands in the split.
        accuracy: of the models on rows of train that they have not learned from.
        weak: whether they are hardly better than the most frequent label, and so not to be believed.
    """

    labels: list[str]
    splits: dict[str, Rows]
    judged: dict[str, confident.Judged]
    places: dict[str, list[int]]
    accuracy: float
    weak: bool


def look(
    draft: Draft, recipe: Any, *, alike: Sequence[int] | None, encoder: Any = None, listen: Listen = quiet
) -> Doubts:
    """Return what models of the other folds make of the labels; nothing is changed and nothing told.

    Args:
        alike: for each row of train, one that must be in the same fold, or None.
        encoder: an `Embedded` or `Counted`; the one the recipe means when None.
    """
    options = recipe.data.doubtful
    train = draft.splits["train"]
    splits = dict(draft.splits)
    labels = sorted(train.label_counts())
    targets = _targets(train, labels)
    if len(labels) < 2:
        return Doubts(labels, splits, {}, {}, 0.0, True)
    encoder = encoder_of(recipe, listen) if encoder is None else encoder
    vectors = encoder.fit(train.texts)
    shares = {str(fold): 1 / options.folds for fold in range(1, options.folds)}
    folds = cut(train, row_ids(train), shares=shares, seed=options.seed, alike=alike)
    listen("note", text=f"data: judging {len(train):,} labels in {options.folds} folds")
    judge = _folds.out_of_fold(
        vectors,
        targets,
        list(folds.values()),
        num_labels=len(labels),
        candidates=encoder.candidates,
        seed=options.seed,
    )
    numbers = np.zeros(len(train), dtype=np.int64)
    for number, fold in enumerate(folds.values()):
        numbers[fold] = number
    near = Neighbours(vectors, targets, numbers, num_labels=len(labels), seed=options.seed)
    probabilities = (judge.probabilities + near.of_others()) / 2
    limits = confident.thresholds(probabilities, targets)
    counts = np.bincount(targets, minlength=len(labels))
    enough = counts >= options.folds
    judged: dict[str, confident.Judged] = {}
    places: dict[str, list[int]] = {}
    for split, rows in splits.items():
        seen = draft.reviewed.get(draft.origin(split), set())  # someone has decided
        places[split] = [i for i, label in enumerate(rows.labels) if label in labels and rows.places[i] not in seen]
        some = rows.take(places[split])
        if split == "train":
            scores = probabilities[places[split]]
        elif len(some):
            others = encoder.vectors(some.texts)
            scores = (judge.scores(others) + near.scores(others)) / 2
        else:
            continue
        judged[split] = confident.judge(scores, _targets(some, labels), limits, judged=enough)
    accuracy = float((probabilities.argmax(1) == targets).mean())
    most = float(counts.max() / len(targets))
    return Doubts(labels, splits, judged, places, accuracy, accuracy < most + WEAK * (1 - most))


def tell(draft: Draft, doubts: Doubts, policy: str) -> None:
    """Report doubtful and ambiguous rows, and drop those of train where the policy says so."""
    if doubts.weak:
        draft.find(
            "labels-unjudged",
            "note",
            message=f"The labels were not judged: models on {draft.schema.key} are right in {doubts.accuracy:.1%} of the rows, hardly more than the most frequent label alone.",
            fix="data.doubtful.features: tfidf, or another model",
            evidence={"accuracy": doubts.accuracy},
        )
        return
    for split, judged in doubts.judged.items():
        places, rows = doubts.places[split], doubts.splits[split]
        dropped = policy == "drop" and split == "train"
        ranked = judged.ranked.tolist()
        if ranked:
            draft.find(
                "labels-doubtful",
                "warning" if split == "train" and not dropped else "note",
                message=f"{split}: {share(len(ranked), len(rows))} are likely mislabelled{', and were dropped' if dropped else ''}; most often {_moves(judged, doubts.labels, ranked)}.",
                fix="" if dropped else "septet prepare RECIPE --review review.csv, and look at the first rows",
                evidence={
                    "split": split,
                    "rows": len(ranked),
                    "accuracy": doubts.accuracy,
                    "places": rows.some([places[i] for i in ranked]),
                    "examples": [_example(rows, places[i], judged, i, labels=doubts.labels) for i in ranked[:EXAMPLES]],
                },
            )
        _tell_ambiguous(draft, doubts, split)
        if dropped:
            draft.drop(split, [places[i] for i in ranked], reason="label doubtful")


def reads_model(recipe: Any) -> bool:
    """Whether the labels are judged on features of the recipe's model, where that can embed."""
    return recipe.model.architecture is None and recipe.data.doubtful.features != "tfidf"


def _tell_ambiguous(draft: Draft, doubts: Doubts, split: str) -> None:
    judged, places, rows = doubts.judged[split], doubts.places[split], doubts.splits[split]
    found = np.flatnonzero(judged.ambiguous).tolist()
    if not found:
        return
    pairs = Counter(tuple(sorted(doubts.labels[k] for k in judged.rivals[i])) for i in found)
    shown = ", ".join(f"{one} or {other} {n:,}" for (one, other), n in pairs.most_common(3))
    draft.find(
        "labels-ambiguous",
        "note",
        message=f"{split}: {share(len(found), len(rows))} lie between two labels: {shown}.",
        fix="say in the labelling guide what tells the two apart, or join them",
        evidence={
            "split": split,
            "rows": len(found),
            "pairs": [{"labels": list(pair), "rows": n} for pair, n in pairs.most_common(EXAMPLES)],
            "places": rows.some([places[i] for i in found]),
            "texts": [_short(rows, places[i]) for i in found[:EXAMPLES]],
        },
    )


def encoder_of(recipe: Any, listen: Listen = quiet) -> Any:
    """Return what embeds texts for judging models: the recipe's model, or TF-IDF."""
    if not reads_model(recipe):
        return _folds.Counted()
    features = features_of(recipe)
    if features is not None:
        return _folds.Embedded(features, listen)
    if recipe.data.doubtful.features == "model":
        raise RecipeError(
            "data.doubtful.features: model needs a model that only reads or only writes.",
            received=recipe.model.name,
            hint="data.doubtful.features: tfidf",
        )
    return _folds.Counted()


def _targets(rows: Rows, labels: Sequence[str]) -> np.ndarray:
    numbers = {label: k for k, label in enumerate(labels)}
    return np.array([numbers[str(label)] for label in rows.labels], dtype=np.int64)


def _moves(judged: confident.Judged, labels: Sequence[str], ranked: Sequence[int]) -> str:
    moves = Counter(int(judged.suggested[i]) for i in ranked)
    return ", ".join(f"{labels[k]} is suggested ({n:,})" for k, n in moves.most_common(3))


def _example(rows: Rows, place: int, judged: confident.Judged, index: int, *, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "place": rows.place(place),
        "text": _short(rows, place),
        "label": rows.labels[place],
        "suggested": labels[int(judged.suggested[index])],
        "confidence": float(judged.confidence[index]),
        "given": float(judged.given[index]),
    }


def _short(rows: Rows, place: int) -> str:
    text = " | ".join(rows.texts[place])
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
