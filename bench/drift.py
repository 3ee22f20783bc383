"""How often the drift tests cry wolf, and how often they see drift: `python -m bench.drift`.

Two real sets, embedded by the starter. The predicted labels come from a logistic regression on rows kept apart. Every
window is a new draw of 1,000 reference rows and 150 requests from the same rows (false alarms), or with a share of the
requests from another source (power): film reviews among tweets, and card questions that a bank's reference rows lack.
The draws of one set share its rows, so the intervals (Wilson, 95 %) are those of the draws only.

    python -m bench.drift [--data ../shared/data] [--windows 200] [--out bench/results/drift.json]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from septet.data.read import read
from septet.model.features import Features
from septet.watch.drift import Sample, compare

REFERENCE, WINDOW, FALSE_ALARM = 1000, 150, 0.01
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)


@dataclass
class Rows:
    """Embedded rows with their token counts and predicted labels."""

    embeddings: np.ndarray
    tokens: np.ndarray
    labels: np.ndarray

    def sample(self, index: np.ndarray) -> Sample:
        counts = {str(label): count for label, count in Counter(self.labels[index]).items()}
        return Sample(counts, self.tokens[index], self.embeddings[index])


def rows_of(path: Path, count: int, keep=lambda label: True) -> tuple[list[str], list[str]]:
    """Return up to `count` texts with their labels, drawn at random."""
    rows = [row for row in read(path).rows() if keep(row["label"])]
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return [rows[i]["text"] for i in chosen], [rows[i]["label"] for i in chosen]


def embedded(
    features: Features, usual: tuple[list[str], list[str]], unusual: tuple[list[str], list[str]]
) -> tuple[Rows, Rows]:
    """Return the usual and the unusual rows, labelled by a classifier that learnt from the last 1,000 usual ones."""
    texts = usual[0] + unusual[0]
    embeddings = features.encode(texts)
    tokens = np.array([len(item["input_ids"]) for item in features.input.encode(texts, features.processor)])
    end = len(usual[0])
    classifier = LogisticRegression(C=10, max_iter=1000).fit(embeddings[end - 1000 : end], usual[1][-1000:])
    labels = classifier.predict(embeddings)
    return (
        Rows(embeddings[: end - 1000], tokens[: end - 1000], labels[: end - 1000]),
        Rows(embeddings[end:], tokens[end:], labels[end:]),
    )


def alarms(usual: Rows, unusual: Rows, *, share: float, windows: int) -> dict[str, int]:
    """Return how many windows raised each test, and any test."""
    both = Rows(*(np.concatenate(pair) for pair in zip(vars(usual).values(), vars(unusual).values(), strict=True)))
    counts: Counter[str] = Counter()
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        ours = rng.permutation(len(usual.tokens))[: REFERENCE + WINDOW]
        theirs = len(usual.tokens) + rng.permutation(len(unusual.tokens))[: round(share * WINDOW)]
        window = np.concatenate([ours[REFERENCE : REFERENCE + WINDOW - len(theirs)], theirs])
        tests = compare(both.sample(ours[:REFERENCE]), both.sample(window), false_alarm=FALSE_ALARM, seed=seed)
        counts.update(test.name for test in tests if test.drift)
        counts["any"] += any(test.drift for test in tests)
    return {name: counts[name] for name in ("text", "labels", "length", "any")}


def interval(hits: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval."""
    z, p = 1.96, hits / n
    middle, spread = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, middle - spread / (1 + z * z / n)), min(1.0, middle + spread / (1 + z * z / n))


def main() -> None:
    """Measure, print a Markdown table, save the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("bench/results/drift.json"))
    given = parser.parse_args()
    features = Features("starter")
    tweets, banking = given.data / "tweet_sentiment/test.csv.gz", given.data / "banking77/train.csv.gz"
    films = given.data / "sst2/train.csv.gz"
    sets = {
        "tweets + film reviews": (rows_of(tweets, 3500), rows_of(films, 500)),
        "banking + card questions": (
            rows_of(banking, 3500, lambda label: "card" not in label),
            rows_of(banking, 500, lambda label: "card" in label),
        ),
    }
    print(f"{given.windows} windows of {WINDOW} requests, {REFERENCE} reference rows, stated rate {FALSE_ALARM}\n")
    print("| set | mixed in | any test | 95 % interval | text | labels | length | s a window |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for name, (usual, unusual) in sets.items():
        pair = embedded(features, usual, unusual)
        for share in SHARES:
            started = time.perf_counter()
            counts = alarms(*pair, share=share, windows=given.windows)
            seconds = (time.perf_counter() - started) / given.windows
            low, high = interval(counts["any"], given.windows)
            shown = " | ".join(f"{counts[test] / given.windows:.1%}" for test in ("text", "labels", "length"))
            print(
                f"| {name} | {share:.0%} | {counts['any'] / given.windows:.1%} | {low:.1%}–{high:.1%} | {shown} | {seconds:.2f} |",
                flush=True,
            )
            found.append({"set": name, "share": share, "windows": given.windows, **counts, "seconds": seconds})
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
