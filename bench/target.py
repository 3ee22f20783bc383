"""How often `data.target` is said to differ from train where it does not, and where it does: `python -m bench.target`.

Two real sets, embedded by the starter. Every draw deals `TRAIN` rows of train and `TARGET` of the target out of the same rows (false alarms), or replaces a share of the target by
rows of another source (films among tweets; card questions at a bank whose train has none), or draws two labels of the target five times as often. The target is
labelled in one half of the table, and without labels in the other. The draws of one set share its rows, so the intervals (Wilson, 95 %) are those of the draws only.

    python -m bench.target [--data ../shared/data] [--draws 200] [--out bench/results/target.json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench.drift import interval, rows_of
from septet.model.features import Features
from septet.recipe.after import Monitor
from septet.watch.target import Side, judge

TRAIN, TARGET = 800, 200
KINDS = ("target-shift", "target-label-shift", "target-not-covered")
PLANTED = {"nothing": 0.0, "5 % of another source": 0.05, "20 % of another source": 0.2, "two labels five times": -1.0}


def draw(usual: Side, unusual: Side, planted: float, *, labelled: bool, seed: int) -> list[str]:
    """Return the findings of one draw of train and target."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(usual.texts))
    train, rest = order[:TRAIN], order[TRAIN:]
    if planted < 0:
        most = {name for name, _ in Counter(usual.labels[i] for i in order).most_common(2)}
        weights = np.array([5.0 if usual.labels[i] in most else 1.0 for i in rest])
        rest = rng.choice(rest, TARGET, replace=False, p=weights / weights.sum())
    others = rng.permutation(len(unusual.texts))[: round(max(planted, 0) * TARGET)]
    rows = rest[: TARGET - len(others)]
    target = Side(
        [usual.texts[i] for i in rows] + [unusual.texts[i] for i in others],
        ([usual.labels[i] for i in rows] + [unusual.labels[i] for i in others]) if labelled else [None] * TARGET,
        np.concatenate([usual.vectors[rows], unusual.vectors[others]]),
    )
    known = Side([usual.texts[i] for i in train], [usual.labels[i] for i in train], usual.vectors[train])
    return [finding.slug for finding in judge(known, target, classes=True, limits=Monitor(seed=seed)).findings]


def main() -> None:
    """Measure, print a Markdown table, save the figures."""
    parser = argparse.ArgumentParser(description="How often data.target is said to differ from train.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("bench/results/target.json"))
    given = parser.parse_args()
    features = Features("starter")
    banking = given.data / "banking77/train.csv.gz"
    sets = {
        "tweets + film reviews": (
            rows_of(given.data / "tweet_sentiment/test.csv.gz", 3000),
            rows_of(given.data / "sst2/train.csv.gz", 300),
        ),
        "banking + card questions": (
            rows_of(banking, 3000, lambda label: "card" not in label),
            rows_of(banking, 300, lambda label: "card" in label),
        ),
    }
    print(f"{TRAIN} rows of train, {TARGET} of the target, stated rate 0.01\n")
    print("| set | planted | labels | draws | any finding | 95 % interval | shift | label shift | not covered |")
    print("|---|---|---|---|---|---|---|---|---|")
    found = []
    for name, pair in sets.items():
        usual, unusual = (Side(texts, [*labels], features.encode(texts)) for texts, labels in pair)
        for planted, share in PLANTED.items():
            for labelled in (False, True):
                draws = given.draws if not share else max(1, given.draws // 8)
                started, counts = time.process_time(), Counter[str]()
                for seed in range(draws):
                    slugs = draw(usual, unusual, share, labelled=labelled, seed=seed)
                    counts.update(slugs)
                    counts["any"] += any(slug in KINDS for slug in slugs)
                low, high = interval(counts["any"], draws)
                shown = " | ".join(f"{counts[kind] / draws:.1%}" for kind in KINDS)
                told = "given" if labelled else "none"
                print(
                    f"| {name} | {planted} | {told} | {draws} | {counts['any'] / draws:.1%} | {low:.1%}–{high:.1%} | {shown} |",
                    flush=True,
                )
                seconds = round((time.process_time() - started) / draws, 3)
                facts = {"set": name, "planted": planted, "labels": told, "draws": draws, "any": counts["any"]}
                found.append(facts | {kind: counts[kind] for kind in KINDS} | {"cpu_seconds": seconds})
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
