"""What each technique of `recipes/techniques.yaml` is worth: the recipe as it stands, and with one of them switched off at a time.

Every variant trains with the same seeds on the same rows; the difference to the whole recipe has an interval over test rows and seeds. Variants of
the data are left out, because they change the rows that are compared. 30 % of the rows are held out for the test, as 10 % would tell nothing.

    python -m bench.ablation [--seeds 3] [--work runs/bench/ablation] [--out bench/results/ablation.json]
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bench import table
from bench.jobs import REPO, RESULTS, WORK
from bench.resample import Difference, difference
from septet import journey
from septet.data.store import Prepared
from septet.engine.machine import machine
from septet.metrics import Choices
from septet.model.predictor import Predictor

RECIPE = REPO / "recipes" / "techniques.yaml"
ROWS = "data.split={validation: 0.1, test: 0.3, stratify: true, seed: 42}"
METRIC = "f1"
VARIANTS = {
    "as written": [],
    "transfer: only the head learns": ["method=head", "train.lr=1e-3"],
    "label smoothing off": ["task.label_smoothing=0.0"],
    "class weights off": ["task.class_weights=none"],
    "dropout off": ["model.dropout=0.0"],
    "weight decay off": ["train.weight_decay=0.0"],
    "learning rate a tenth": ["train.lr=2e-5"],
    "no accumulation": ["train.micro_batch=auto"],
    "early stopping off": ["train.early_stopping=null"],
    "constant rate, no warm-up": ["train.schedule=constant", "train.warmup=0"],
    "clipping off": ["train.clip=null"],
}


def answers(variant: list[str], seed: int, folder: Path) -> Choices:
    """Train a variant with a seed and return its answers to the test rows."""
    shutil.rmtree(folder, ignore_errors=True)
    trained = journey.train(RECIPE, [ROWS, *variant, f"train.seed={seed}"], run=folder)
    predictor, prepared = Predictor.load(trained.run.model), Prepared.of(trained.run)
    rows, labels = prepared.rows("test"), predictor.task.labels
    scores = np.array([[p.scores[label] for label in labels] for p in predictor.predict(rows)])  # type: ignore[index]
    targets = np.array([predictor.task.target(row) for row in rows])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return Choices(np.array([row["_row"] for row in rows]), list(labels), targets, scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=WORK / "ablation")
    parser.add_argument("--out", type=Path, default=RESULTS / "ablation.json")
    chosen = parser.parse_args()
    found: dict[str, list[Choices]] = {name: [] for name in VARIANTS}
    for seed in range(42, 42 + chosen.seeds):
        for place, (name, variant) in enumerate(VARIANTS.items()):
            found[name].append(answers(variant, seed, chosen.work / f"{place}-{seed}"))
            print(f"seed {seed}, {name}: done", flush=True)
    whole = found["as written"]
    differences = {name: difference(METRIC, each, whole) for name, each in found.items()}
    result: dict[str, Any] = {
        "rows": ROWS,
        "seeds": chosen.seeds,
        "machine": {name: value for name, value in machine(REPO).items() if name != "disk_bytes"},
        "variants": {name: {"changes": VARIANTS[name], **d.to_json()} for name, d in differences.items()},
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table.markdown(["technique", "macro F1, %", "difference, points", "95 % interval"], lines(differences)))


def lines(differences: dict[str, Difference]) -> list[list[str]]:
    return [
        [
            name,
            f"{100 * d.ours:.1f}",
            *(
                ["", ""]
                if name == "as written"
                else [f"{100 * d.value:+.1f}", f"{100 * d.low:+.1f} to {100 * d.high:+.1f}"]
            ),
        ]
        for name, d in differences.items()
    ]


if __name__ == "__main__":
    main()
