"""`python -m bench quality`: the same rows, model, epochs and update size on both sides, several seeds, compared by resampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import rows, seeds, table
from bench.jobs import Job, Tuning
from bench.score import of_all

BOUND = -0.01


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


def _of_data(name: str, options: Options, say: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = rows.recipe_file(name)
    drawn = rows.overrides(recipe, train=options.train_rows, validation=options.validation_rows, test=options.test_rows)
    work = options.work / f"quality-{recipe.stem}"
    prepared, facts = rows.ready(recipe, drawn, work)
    name = recipe.stem
    say(f"{name}: {table.row_counts(prepared['splits'])}")
    learning = rows.learning_of(recipe, **({} if options.epochs is None else {"epochs": options.epochs}))
    # Trainer as it comes: fp32 and random order, as Septet's groups are; grouping by length changes which rows share an update
    tuning = Tuning(length=rows.length_of(recipe))
    base = Job("trainer", "", "", str(recipe), drawn, prepared["prepared"], tuning=tuning, validate=True, score=True)
    found = seeds.compare(base, learning, options.seeds, name=name, prepared=prepared, facts=facts, work=work, say=say)
    return found, facts


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
    return ", ".join(f"{100 * of_all(run['scores'])['accuracy']['value']:.2f}" for run in data["runs"][side])
