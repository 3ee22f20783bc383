"""`python -m bench quality`: the same rows, model, epochs and update size on both sides, several seeds, compared by resampling.

Every finished run is kept under the work folder by what went into it, so that an interrupted table goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import rows, table
from bench.jobs import ANSWERS, REPO, Job, in_turn
from bench.launch import clear, launch
from bench.resample import Difference, difference
from bench.score import METRICS, load, pool
from septet.metrics import Choices

SIDES = ("trainer", "septet")
BOUND = -0.01
# what changes a result and not a setting
UNTIED = ("launched", "folder", "prepared")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose. None is the recipe's own."""

    data: tuple[str, ...]
    seeds: tuple[int, ...]
    train_rows: rows.Wanted
    validation_rows: rows.Wanted
    test_rows: rows.Wanted
    epochs: float | None
    work: Path


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved."""
    found: dict[str, Any] = {"what": "quality", "options": {**asdict(options), "work": None}, "data": {}}
    for name in options.data:
        result, facts = _of_data(name, options, say)
        found["facts"] = facts
        found["data"][Path(name).stem] = result
    return found


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    header = [
        "data",
        "test rows",
        "metric",
        "septet, %",
        "trainer, %",
        "difference, points",
        "95 % interval",
        f"above {100 * BOUND:g}",
    ]
    lines, told = [], []
    for name, data in result["data"].items():
        for split, metrics in data["differences"].items():
            for each in metrics.values():
                lines.append(_line(f"{name}" if split in ("all", "test") else f"{name} ({split})", each))
        learning = data["learning"]
        told.append(
            f"{name}: {table.row_counts(data['splits'])}; {learning['epochs']:g} epochs, {learning['batch']} rows an update, lr {learning['lr']:g}; "
            f"accuracy by seed: septet {_seeds(data, 'septet')}; trainer {_seeds(data, 'trainer')}"
        )
    facts = result["facts"]
    told = [
        f"`python -m bench quality`, {facts['date']}, seeds {list(result['options']['seeds'])}",
        table.machine_line(facts),
        *told,
    ]
    return table.markdown(header, lines) + "\n\n" + "\n".join(f"- {line}" for line in told)


def key(job: Job, *facts: Any) -> str:
    """Return a name for a run by everything that can change its result."""
    settings = {name: value for name, value in json.loads(job.to_json()).items() if name not in UNTIED}
    return hashlib.sha256(json.dumps([settings, *facts], sort_keys=True).encode()).hexdigest()[:12]


def source_hash(folder: Path) -> str:
    """Return a hash of all Python files below a folder: other code, another run."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def compared(
    ours: Sequence[dict[str, Choices]], theirs: Sequence[dict[str, Choices]]
) -> dict[str, dict[str, Difference]]:
    """Return the difference of each metric by test split; with several splits, first of all their rows together."""
    splits = list(ours[0])
    groups = {split: [split] for split in splits}
    if len(splits) > 1:
        groups = {"all": splits, **groups}
    return {
        group: {
            metric: difference(metric, *([pool([each[s] for s in parts]) for each in side] for side in (ours, theirs)))
            for metric in METRICS
        }
        for group, parts in groups.items()
    }


def _of_data(name: str, options: Options, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = rows.recipe_file(name)
    drawn = rows.overrides(recipe, train=options.train_rows, validation=options.validation_rows, test=options.test_rows)
    work = options.work / f"quality-{recipe.stem}"
    prepared, facts = rows.ready(recipe, drawn, work)
    name = recipe.stem
    say(f"{name}: {table.row_counts(prepared['splits'])}")
    learning = rows.learning_of(recipe, **({} if options.epochs is None else {"epochs": options.epochs}))
    # Trainer as it comes: fp32 and random order, as Septet's groups are; grouping by length changes which rows share an update
    tuning = replace(Job("trainer", "", "", "").tuning, length=rows.length_of(recipe))
    base = Job("trainer", "", "", str(recipe), drawn, prepared["prepared"], tuning=tuning, validate=True, score=True)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    kept: dict[str, list[dict[str, Choices]]] = {side: [] for side in SIDES}
    for place, side in in_turn(SIDES, len(options.seeds)):
        seed = options.seeds[place]
        job = replace(base, kind=side, name=f"{name} {side} seed {seed}", learning=replace(learning, seed=seed))
        record, answers = _once(job, work, facts, prepared=prepared, say=say)
        runs[side].append(record)
        kept[side].append(answers)
    found = compared(kept["septet"], kept["trainer"])
    return {
        "recipe": recipe.name,
        "splits": prepared["splits"],
        "sha256": prepared["sha256"],
        "learning": asdict(learning),
        "differences": {split: {m: d.to_json() for m, d in each.items()} for split, each in found.items()},
        "runs": runs,
    }, facts


def _once(
    job: Job, work: Path, facts: dict[str, Any], *, prepared: dict[str, Any], say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Choices]]:
    """Return a run's record and answers: found, or made now."""
    code = source_hash(REPO / "src" / "septet") if job.kind == "septet" else (REPO / "bench" / "trainer.py").read_text()
    code += Path(job.recipe).read_text()
    versions = {name: facts["machine"]["versions"][name] for name in ("torch", "transformers", "accelerate")}
    folder = work / "done" / f"{job.kind}-{key(job, prepared['sha256'], versions, code)}"
    if not (folder / "record.json").exists():
        job = job.at(work / "now")
        found = launch(job)
        folder.mkdir(parents=True, exist_ok=True)
        (Path(job.folder) / ANSWERS).replace(folder / ANSWERS)
        clear(job)
        kept = {name: value for name, value in found.items() if name not in ("model", "run")}
        # last, so that a record stands for a whole run
        (folder / "record.json").write_text(json.dumps(kept, indent=1))
    record = json.loads((folder / "record.json").read_text())
    split = record["scores"].get("all") or next(iter(record["scores"].values()))
    say(f"{job.name}: accuracy {table.percent(split['accuracy'])}, {record['wall_s']:.0f} s")
    return record, load(folder / ANSWERS)


def _line(name: str, each: dict[str, Any]) -> list[str]:
    interval = f"{100 * each['low']:+.2f} to {100 * each['high']:+.2f}"
    return [
        name,
        f"{each['rows']:,}",
        "macro F1" if each["metric"] == "f1" else each["metric"],
        f"{100 * each['ours']:.2f}",
        f"{100 * each['theirs']:.2f}",
        f"{100 * each['value']:+.2f}",
        interval,
        "yes" if each["low"] > BOUND else "no",
    ]


def _seeds(data: dict[str, Any], side: str) -> str:
    found = []
    for run in data["runs"][side]:
        split = run["scores"].get("all") or next(iter(run["scores"].values()))
        found.append(f"{100 * split['accuracy']['value']:.2f}")
    return ", ".join(found)
