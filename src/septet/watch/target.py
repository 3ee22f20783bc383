"""Is train like the rows that the model is meant for? `data.target` in a recipe, compared with train in `septet prepare`.

The tests are those of `drift`, with one more for rows of the target that lie where train has none, and one false-alarm rate over all of them (`monitor.false_alarm`).
The texts are compared by frozen vectors of the recipe's model where it is on this machine and reads texts, else by TF-IDF, whose words both sets give.
Labels: those of the target where it has them; else the predictions of a classifier of train, and the shares that these speak for (`shares`).

Left out: what a label means. That the same text is now labelled in another way is seen by no test of texts and shares.

Source of the statistics: `drift`, `shares`; Lipton, Wang & Smola 2018 for testing label shift on predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from septet.data.profile import shorten
from septet.report import Finding
from septet.watch import drift, shares
from septet.watch.drift import Sample, Test

TRAIN_ROWS, TARGET_ROWS = 2000, 1000  # drawn of each; more rows cost time and show smaller shifts
FAR = 0.99  # rows of the target beyond this quantile of train's own distances are shown as not covered
REGIONS, EXAMPLES, WORDS = 5, 3, 5
LEAST = 3  # rows of a region; fewer are single odd rows


@dataclass(frozen=True, slots=True)
class Side:
    """Rows of one side, their texts distinct.

    Args:
        texts: the text of each row; several columns are joined.
        labels: None where a row has none.
        vectors: (N, H).
    """

    texts: list[str]
    labels: list[str | None]
    vectors: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(text) for text in self.texts], np.int64)


@dataclass(slots=True)
class Judged:
    """What the comparison came to.

    Args:
        tests: the figures of each test, as JSON.
        labels: of each label its share in train and in the target, the most moved first, where they differ; `low` and `high` where it is estimated.
        estimated: whether these rest on predictions.
        regions: where the target lies and train does not.
        findings: what follows.
    """

    tests: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)
    estimated: bool = False
    regions: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"tests": self.tests, "labels": self.labels, "estimated": self.estimated, "regions": self.regions}


def judge(train: Side, target: Side, *, classes: bool, limits: Any) -> Judged:
    """Compare the rows of train with the target's.

    Args:
        classes: whether labels are classes.
        limits: the recipe's section `monitor`: `false_alarm`, `permutations`, `seed`, `min_requests`.
    """
    result = Judged()
    if len(target.texts) < limits.min_requests:
        result.findings.append(_too_few(len(target.texts), limits))
        return result
    scores = None
    counts: tuple[dict[str, int], dict[str, int]] = ({}, {})
    told = [label for label in target.labels if label]
    if classes and len(told) >= limits.min_requests:
        counts = (dict(Counter(filter(None, train.labels))), dict(Counter(told)))
    elif classes and len(set(train.labels)) > 1:
        scores = shares.cross_fitted(
            train.vectors, [str(each) for each in train.labels], target.vectors, seed=limits.seed
        )
        counts = scores.predicted
    covered = drift.coverage_test(train.vectors, target.vectors, rng=np.random.default_rng(limits.seed + 1))
    tests = drift.compare(
        Sample(counts[0], train.lengths, train.vectors),
        Sample(counts[1], target.lengths, target.vectors),
        false_alarm=limits.false_alarm,
        permutations=limits.permutations,
        seed=limits.seed,
        beside=[covered],
    )
    result.tests, result.estimated = [test.to_json() for test in tests], scores is not None
    found = {test.name: test for test in tests if test.drift}
    if "labels" in found:
        result.labels = _direct(*counts) if scores is None else shares.estimate(scores, seed=limits.seed)
    if "coverage" in found:
        result.regions = regions(train, target, seed=limits.seed + 1)
    result.findings += _findings(found, result, target=target, rate=limits.false_alarm)
    return result


def regions(train: Side, target: Side, *, seed: int) -> list[dict[str, Any]]:
    """Return groups of the target's rows that lie far from train, the largest first: size, words, examples.

    A row is far beyond the 99 % quantile of the distances between train's own halves. Far rows are of one region where they are nearer to each other, on average,
    than they are to train.
    """
    usual, theirs = drift.distances(train.vectors, target.vectors, rng=np.random.default_rng(seed))
    far = np.flatnonzero(theirs > np.quantile(usual, FAR))
    if not len(far):
        return []
    groups = _grouped(target.vectors[far], within=float(np.median(theirs[far])))
    common = _documents(train.texts)
    found = []
    for group in sorted(set(groups.tolist()), key=lambda g: -int((groups == g).sum())):
        members = far[groups == group]
        if len(members) < LEAST or len(found) == REGIONS:
            break
        texts = [target.texts[i] for i in members]
        middle = target.vectors[members].mean(0)
        nearest = members[np.argsort(-(target.vectors[members] @ middle), kind="stable")[:EXAMPLES]]
        found.append(
            {
                "rows": len(members),
                "share": round(len(members) / len(target.texts), 4),
                "words": _telling(texts, common, of=len(train.texts)),
                "examples": [shorten(target.texts[i]) for i in nearest.tolist()],
            }
        )
    return found


# ---- findings ----


def _too_few(rows: int, limits: Any) -> Finding:
    return Finding(
        "target-alike",
        "note",
        f"data.target has {rows} distinct rows, too few to judge; {limits.min_requests} are needed (monitor.min_requests).",
        "collect more rows",
        {"rows": rows, "needed": limits.min_requests},
    )


def _findings(found: dict[str, Test], result: Judged, *, target: Side, rate: float) -> list[Finding]:
    made = [
        _shift(found, result),
        _labels(found["labels"], result) if "labels" in found else None,
        _not_covered(found["coverage"], result, rows=len(target.texts)) if "coverage" in found else None,
    ]
    if any(made):
        return [each for each in made if each is not None]
    told = ", ".join(test["test"] for test in result.tests)
    message = f"{len(target.texts):,} rows of data.target look like train (tests: {told}; false-alarm rate {rate:g})."
    return [Finding("target-alike", "note", message, "", {"rows": len(target.texts), "tests": told})]


def _shift(found: dict[str, Test], result: Judged) -> Finding | None:
    text, length = found.get("text"), found.get("length")
    if text is None and length is None:
        return None
    said = []
    if text is not None:
        said.append(
            f"the texts are told apart in {text.effect['told_apart']:.0%} of cases (50 % is chance; p = {text.p:.4f})"
        )
    if length is not None:
        before, now = length.effect["before"]["median"], length.effect["now"]["median"]
        said.append(
            f"the median row has {before:,.0f} characters in train and {now:,.0f} in the target (p = {length.p:.4f})"
        )
    return Finding(
        "target-shift",
        "warning",
        f"data.target differs from train: {'; '.join(said)}.",
        "collect rows to learn from where the target's come from; septet label DATA --budget 200 picks those worth a label",
        {"tests": [test for test in result.tests if test["test"] in ("text", "length")]},
    )


def _labels(test: Test, result: Judged) -> Finding:
    moved = result.labels[0]
    span = f" (95 % interval {moved['low']:.0%} to {moved['high']:.0%})" if result.estimated else ""
    new = [each["label"] for each in result.labels if not each["before"]]
    message = f"Labels have other shares in data.target: {moved['label']!r} {moved['before']:.0%} in train, {moved['now']:.0%} there{span}"
    if new:
        message += f"; train has no {', '.join(map(repr, new[:5]))}"
    if result.estimated:
        message += "; estimated from predictions, which is right where the texts of each label look as in train"
    return Finding(
        "target-label-shift",
        "warning",
        f"{message} (p = {test.p:.4f}).",
        "score by macro F1, or weigh the test set as the target is; add rows of the labels that grew",
        {"test": test.to_json(), "labels": result.labels[:10], "estimated": result.estimated, "new": new[:10]},
    )


def _not_covered(test: Test, result: Judged, *, rows: int) -> Finding:
    far, expected = test.effect["far_share"], test.effect["expected"]
    message = f"{far:.1%} of data.target's rows lie farther from train than {1 - expected:.0%} of train's own do (chance: {expected:.0%}; p = {test.p:.4f})"
    if result.regions:
        largest = result.regions[0]
        message += f"; the largest such region has {largest['rows']:,} of {rows:,} rows" + (
            f", about: {', '.join(largest['words'])}" if largest["words"] else ""
        )
    return Finding(
        "target-not-covered",
        "warning",
        f"{message}.",
        "read the examples; label rows like them, or say that the model does not answer them",
        {"test": test.to_json(), "regions": result.regions},
    )


# ---- parts ----


def _direct(before: dict[str, int], now: dict[str, int]) -> list[dict[str, Any]]:
    """Return the shares of labels that both sides have, the most moved first."""
    ours, theirs = sum(before.values()), sum(now.values())
    if not ours or not theirs:
        return []
    rows = [
        {"label": label, "before": round(before.get(label, 0) / ours, 4), "now": round(now.get(label, 0) / theirs, 4)}
        for label in sorted({*before, *now})
    ]
    return sorted(rows, key=lambda row: -abs(row["now"] - row["before"]))


def _grouped(vectors: np.ndarray, *, within: float) -> np.ndarray:
    if len(vectors) < 2:
        return np.zeros(len(vectors), np.int64)
    from sklearn.cluster import AgglomerativeClustering

    settings: dict[str, Any] = {"n_clusters": None, "linkage": "average", "metric": "cosine"}
    grouping = AgglomerativeClustering(distance_threshold=within, **settings)
    return grouping.fit_predict(vectors)


def _documents(texts: Sequence[str]) -> Counter[str]:
    """Return in how many texts each word stands."""
    return Counter(word for text in texts for word in {each.strip(".,;:!?\"'()").casefold() for each in text.split()})


def _telling(texts: Sequence[str], common: Counter[str], *, of: int) -> list[str]:
    """Return the words that stand in these texts far more often than in train."""
    inside = _documents(texts)
    rows = len(texts)
    gain = {
        word: count / rows - common[word] / max(1, of)
        for word, count in inside.items()
        if count > 1 and len(word) > 2 and word.isalpha()
    }
    return [word for word in sorted(gain, key=lambda w: (-gain[w], w))[:WORDS] if gain[word] > 0.1]
