"""Do remedies pay? Balancing on tweets at 1:50, augmentation and repaired labels on three sets at 5 and 20 % of the rows; five seeds, with intervals.

    python -m bench.remedies balance [--seeds 5] [--minutes 4] [--work runs/bench/remedies] [--out bench/results/remedies.json]
    python -m bench.remedies augment --minutes 4
    python -m bench.remedies repair --minutes 4
    python -m bench.remedies table

Every run trains by the engine itself with `method: head` on the starter: the states of the frozen part are kept by text for all runs of a study,
so that a run takes seconds. A seed draws other training rows, another head and other shuffles; all runs of a set answer the same rows, which choose nothing: the last
weights are scored. Finished runs lie in the work folder: the command goes on with what is missing until `--minutes` are over. `table` writes the studies that have
finished runs there, and keeps the others as `--out` has them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import mending, table
from bench.jobs import REPO, RESULTS, WORK
from bench.resample import Difference, difference
from septet.metrics import Choices

PLAIN = "none"
LEARNING = [
    "train.batch=32",
    "train.lr=1e-3",
    "train.schedule=linear",
    "train.epochs=1000",
    "train.precision=fp32",
    "train.threads=1",
]
SCORED = 1000
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Data:
    """Rows of a set: its folder, and how train and the scored rows are drawn.

    Args:
        train: rows drawn for a seed, by label where uneven.
        pool: rows that the share is of.
        flipped: share of the training labels that are flipped.
        scored: rows that every run answers, by label where uneven.
        steps: updates of every run.
    """

    name: str
    folder: str
    train: int | dict[str, int]
    scored: int | dict[str, int]
    steps: int
    pool: int | None = None
    flipped: float = 0.0


@dataclass(frozen=True, slots=True)
class Study:
    """Variants of a recipe on some data, each compared with `none`; a variant may name what becomes of the rows (`mending.WORDS`)."""

    data: list[Data]
    variants: dict[str, list[str]]
    metrics: tuple[str, ...] = ("f1", "accuracy")


def _shares(name: str, folder: str, pool: int, flipped: float = 0.0) -> list[Data]:
    told = f", {flipped:.0%} flipped" if flipped else ""
    return [
        Data(f"{name}, {share:.0%}{told}", folder, round(share * pool), SCORED, 400, pool, flipped)
        for share in (0.05, 0.2)
    ]


SETS = (("banking77", "banking77", 10_003), ("sst2", "sst2", 10_000), ("tweets", "tweet_sentiment", 10_000))
UNEVEN = {"neutral": 2500, "positive": 1000, "negative": 50}
STUDIES = {
    "balance": Study(
        [Data("tweets 1:50", "tweet_sentiment", UNEVEN, {"neutral": 5900, "positive": 2360, "negative": 118}, 1100)],
        {
            PLAIN: [],
            "class_weights: balanced": ["task.class_weights=balanced"],
            "sampling: over": ["data.balance.sampling=over"],
            "sampling: under": ["data.balance.sampling=under"],
            "loss: focal": ["task.loss=focal"],
            "focal and class_weights": ["task.loss=focal", "task.class_weights=balanced"],
        },
        ("f1", "accuracy", "f1[negative]", "recall[negative]", "calibration_error"),
    ),
    "augment": Study(
        [data for each in SETS for data in _shares(*each)],
        {
            PLAIN: [],
            "typos, drop, swap, synonyms": [
                "data.augment.augmenters=[typos, drop, swap, synonyms]",
                "data.augment.copies=2",
                "data.augment.check=false",
            ],
        },
        ("accuracy", "f1"),
    ),
    "repair": Study(
        [data for each in SETS for flipped in (0.0, 0.2) for data in _shares(*each, flipped)],
        {
            PLAIN: [],
            "doubtful: drop": ["data.doubtful.policy=drop"],
            "review sheet": [mending.SHEET],
            "none flipped": [mending.TRUE],
        },
        ("accuracy", "f1"),
    ),
}


class Memory:
    """States of the frozen part by what the model reads, kept on disk for all runs of a study."""

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[str, np.ndarray] = {}
        if path.exists():
            with np.load(path) as kept:
                self.found = dict(zip(kept["keys"].tolist(), kept["states"], strict=True))

    def fill(self, setup: Any) -> None:
        """Give a run its states, and compute those that no run had before."""
        import torch

        from septet.model.features import by_tokens

        frozen = setup.frozen
        examples = frozen.all.examples
        keys = [hashlib.sha256(np.asarray(e.inputs["input_ids"], np.int64).tobytes()).hexdigest() for e in examples]
        new = list({keys[i]: i for i in frozen.order_M.tolist() if keys[i] not in self.found}.values())
        sizes = [len(e.inputs["input_ids"]) for e in examples]
        for batch in by_tokens(sorted(new, key=sizes.__getitem__), sizes, 4096):
            states = frozen._taken(batch).float().numpy()
            self.found |= {keys[i]: state for i, state in zip(batch, states, strict=True)}
        parts = (torch.from_numpy(np.stack([self.found[keys[i]] for i in batch])) for batch in frozen.batches)
        frozen._file().write(parts)
        setup.keep_states()
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self.path, keys=np.array(list(self.found)), states=np.stack(list(self.found.values())))


def rows_of(folder: str, split: str) -> list[dict[str, str]]:
    """Return the rows of a file of the shared data."""
    import gzip

    root = Path(os.environ.get("SEPTET_SHARED") or REPO.parent / "shared") / "data" / folder
    with gzip.open(root / f"{split}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return [{"text": row["text"], "label": row["label"]} for row in csv.DictReader(file)]


def drawn(rows: list[dict[str, str]], wanted: int | dict[str, int], rng: np.random.Generator) -> list[dict[str, str]]:
    """Return rows in a drawn order: as many as wanted, or as many of each label."""
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    if isinstance(wanted, int):
        return shuffled[:wanted]
    return [row for label, count in wanted.items() for row in [r for r in shuffled if r["label"] == label][:count]]


def tables(data: Data, seed: int, *, true: bool = False) -> dict[str, list[dict[str, str]]]:
    """Return the training rows of a seed, with flipped labels unless `true`, and the rows that every run answers."""
    pool = rows_of(data.folder, "train")
    if data.pool is not None:
        pool = drawn(pool, data.pool, np.random.default_rng(0))
    scored = drawn(rows_of(data.folder, "test"), data.scored, np.random.default_rng(1))
    train = drawn(pool, data.train, np.random.default_rng([2, seed]))
    if not true:
        train = mending.flip(train, data.flipped, np.random.default_rng([3, seed]))
    return {"train": train, "validation": scored}


def answers(data: Data, variant: list[str], seed: int, work: Path, memory: Memory) -> tuple[Choices, dict[str, Any]]:
    """Train a variant with a seed; return its answers to the scored rows, and what was seen on the way."""
    from septet import journey
    from septet.engine.loop import train_steps
    from septet.engine.state import TrainState
    from septet.model.predictor import Predictor
    from septet.setup import set_up

    source = {
        "data": {"train": "<memory>", "validation": "<memory>", "split": {"test": 0.0}, "allow": ["label-unseen"]},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "model": {"name": "starter", "max_length": 64},
        "method": "head",
    }
    overrides = [*LEARNING, f"train.max_steps={data.steps}", f"train.seed={seed}", "train.cache_frozen=true"]
    overrides += [word for word in variant if word not in mending.WORDS]
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    from septet.recipe import Recipe

    rows, mended = tables(data, seed, true=mending.TRUE in variant), None
    if mending.SHEET in variant:
        sheet, mended = mending.sheet_of(source, overrides, rows, tables(data, seed, true=True)["train"], work=work)
        overrides += [f"data.corrections={sheet.resolve()}"] if mended["looked_at"] else []
    prepared = journey.prepare(source, overrides, run=folder, tables=rows).prepared
    recipe = Recipe.load(source, overrides, in_memory=("train", "validation"))
    setup = set_up(recipe, prepared)
    memory.fill(setup)
    optimizer, state, began = setup.optimizer(), TrainState(), time.perf_counter()
    for _ in train_steps(
        setup.model, setup.task, optimizer, setup.source(), state, rates=setup.rates(), clock=setup.clock
    ):
        pass
    optimizer.masters.settle()
    measured = Predictor(setup.model, setup.task, setup.processor).measure(
        setup.validation, setup.states and setup.states.validation
    )
    seen = {
        "rows": prepared.splits["train"]["rows"],
        "examples": len(setup.train),
        "updates": state.step,
        "shown": state.rows,
        "train_s": round(time.perf_counter() - began, 1),
        "augmented": augmented(folder),
        "mended": mended,
    }
    shutil.rmtree(Path(os.environ["SEPTET_CACHE"]) / "frozen", ignore_errors=True)
    shutil.rmtree(work / "prepared", ignore_errors=True)
    return setup.task.judge(setup.validation_rows, measured), seen


def augmented(folder: Path) -> dict[str, Any] | None:
    """Return what was augmented, without the examples."""
    found = json.loads((folder / "data.json").read_text()).get("augmented")
    return None if found is None else {key: value for key, value in found.items() if key != "examples"}


def missing(study: Study, seeds: int, work: Path) -> Iterator[tuple[Data, str, int, Path]]:
    """Yield every run that is not finished yet, one seed after the other."""
    for seed in range(seeds):
        for data in study.data:
            for name in study.variants:
                path = done(data, name, seed, study.variants[name], work)
                if not path.exists():
                    yield data, name, seed, path


def done(data: Data, name: str, seed: int, variant: list[str], work: Path) -> Path:
    text = json.dumps([asdict(data), name, variant, LEARNING, seed], sort_keys=True)
    return work / "done" / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.npz"


def go_on(name: str, seeds: int, minutes: float, work: Path) -> int:
    """Do runs until all are done or the time is over; return how many are left."""
    os.environ.setdefault("SEPTET_CACHE", str(work / "cache"))
    study, began = STUDIES[name], time.perf_counter()
    left = list(missing(study, seeds, work))
    (work / "done").mkdir(parents=True, exist_ok=True)
    memory: dict[str, Memory] = {}
    while left and time.perf_counter() - began < 60 * minutes:
        data, variant, seed, path = left.pop(0)
        kept = memory.setdefault(data.folder, Memory(work / f"states-{data.folder}.npz"))
        found, seen = answers(data, study.variants[variant], seed, work, kept)
        np.savez(
            path,
            rows=found.rows,
            targets=found.targets,
            scores=found.scores,
            labels=found.labels,
            seen=json.dumps(seen),
        )
        say(f"{data.name}, {variant}, seed {seed}: {seen['train_s']} s; {len(left)} left")
    return len(left)


def result(seeds: int, work: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return all finished runs: each variant beside `none`, over rows and seeds; of a study without any, what was found before."""
    from septet.engine.machine import machine

    facts = {name: value for name, value in machine(REPO).items() if name != "disk_bytes"}
    found: dict[str, Any] = {"what": "remedies", "learning": LEARNING, "method": "head", "studies": {}}
    for name, study in STUDIES.items():
        sets = {}
        for data in study.data:
            answered = {v: _kept(data, v, study.variants[v], seeds, work) for v in study.variants}
            common = min(len(each) for each in answered.values())
            if common:
                sets[data.name] = _compared(data, study, {v: each[:common] for v, each in answered.items()})
        if sets:
            found["studies"][name] = {"machine": facts, "variants": study.variants, "data": sets}
        elif before is not None and name in before["studies"]:
            found["studies"][name] = before["studies"][name]
    return found


def _kept(data: Data, name: str, variant: list[str], seeds: int, work: Path) -> list[tuple[Choices, dict[str, Any]]]:
    found = []
    for seed in range(seeds):
        path = done(data, name, seed, variant, work)
        if not path.exists():
            break
        with np.load(path) as kept:
            choices = Choices(kept["rows"], kept["labels"].tolist(), kept["targets"], kept["scores"])
            found.append((choices, json.loads(str(kept["seen"]))))
    return found


def _compared(data: Data, study: Study, answered: dict[str, list[tuple[Choices, dict[str, Any]]]]) -> dict[str, Any]:
    # rows whose label some seed's training rows lack were asked of the other seeds alone
    common = set.intersection(*(set(choices.rows.tolist()) for runs in answered.values() for choices, _ in runs))
    answered = {
        name: [(choices.take(np.flatnonzero(np.isin(choices.rows, list(common)))), seen) for choices, seen in runs]
        for name, runs in answered.items()
    }
    plain = [choices for choices, _ in answered[PLAIN]]
    variants = {}
    for name, runs in answered.items():
        ours = [choices for choices, _ in runs]
        variants[name] = {
            "seen": [seen for _, seen in runs],
            "metrics": {
                metric: difference(metric, ours, plain, resamples=RESAMPLES).to_json() for metric in study.metrics
            },
        }
    return {"drawn": asdict(data), "seeds": len(plain), "variants": variants}


def text(found: dict[str, Any]) -> str:
    """Return a table of each study."""
    parts = []
    for name, study in found["studies"].items():
        metrics = STUDIES[name].metrics
        header = ["data, remedy", "seeds", *(f"{metric} (difference, interval)" for metric in metrics)]
        lines = [
            [
                f"{data}: {variant}",
                str(each["seeds"]),
                *(_cell(facts["metrics"][m], plain=variant == PLAIN) for m in metrics),
            ]
            for data, each in study["data"].items()
            for variant, facts in each["variants"].items()
        ]
        if lines:
            parts.append(f"{name}\n\n{table.markdown(header, lines)}")
    return "\n\n".join(parts)


def _cell(found: dict[str, Any], *, plain: bool) -> str:
    each = Difference(**found)
    told = f"{100 * each.ours:.1f}"
    return told if plain else f"{told} ({100 * each.value:+.1f}, {100 * each.low:+.1f} to {100 * each.high:+.1f})"


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what balancing, augmentation and repaired labels gain.")
    parser.add_argument("study", choices=[*STUDIES, "table"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--work", type=Path, default=WORK / "remedies")
    parser.add_argument("--out", type=Path, default=RESULTS / "remedies.json")
    chosen = parser.parse_args()
    if chosen.study != "table":
        left = go_on(chosen.study, chosen.seeds, chosen.minutes, chosen.work)
        say(f"{left} runs are left" if left else "all runs are done")
        return 0
    before = json.loads(chosen.out.read_text()) if chosen.out.exists() else None
    found = result(chosen.seeds, chosen.work, before)
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    say(text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
