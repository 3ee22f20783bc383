"""`python -m bench sft --quality`: the held-out loss of both sides over several seeds, with the interval of the difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import rows, seeds, table
from bench.ground import ground, lines
from bench.jobs import SftTuning
from bench.score import of_all

# share of the peer's loss by which ours may be higher and still count as no worse
BOUND = 0.01


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose.

    Args:
        train_rows, validation_rows, test_rows: at most so many of those that both sides take.
        epochs: None is the recipe's.
        model: both sides begin with; None is the recipe's.
        tuning: how the peer computes.
    """

    data: str
    seeds: tuple[int, ...]
    train_rows: rows.Wanted
    validation_rows: rows.Wanted
    test_rows: rows.Wanted
    epochs: float | None
    model: str | None
    tuning: SftTuning
    work: Path


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the whole result, as it is saved."""
    wanted = {"train": options.train_rows, "validation": options.validation_rows, "test": options.test_rows}
    found = ground(options.data, wanted, options.work, name="sft-quality", say=say, model=options.model)
    learning = rows.learning_of(found.recipe, **({} if options.epochs is None else {"epochs": options.epochs}))
    tuning = replace(options.tuning, length=found.base.tuning.length)
    data = seeds.compare(
        replace(found.base, folder="", tuning=tuning, validate=True, score=True),
        learning,
        options.seeds,
        name=Path(options.data).stem,
        prepared=found.prepared,
        facts=found.facts,
        work=Path(found.base.folder),
        say=say,
    )
    return {
        "what": "sft-quality",
        "options": {**asdict(options), "work": None},
        "facts": found.facts,
        "rows": found.to_json(),
        **data,
    }


def text(result: dict[str, Any]) -> str:
    """Return the table with all that a reader needs to judge it."""
    header = [
        "held-out rows",
        "n",
        "septet",
        "trl",
        "difference, nats",
        "95 % interval",
        "of the loss",
        f"below {BOUND:+.0%}",
    ]
    cells = [
        [
            split,
            f"{each['rows']:,}",
            f"{each['ours']:.4f}",
            f"{each['theirs']:.4f}",
            f"{each['value']:+.4f}",
            f"{each['low']:+.4f} to {each['high']:+.4f}",
            f"{each['value'] / each['theirs']:+.2%} ({each['low'] / each['theirs']:+.2%} to {each['high'] / each['theirs']:+.2%})",
            "yes" if each["high"] < BOUND * each["theirs"] else "no",
        ]
        for split, metrics in result["differences"].items()
        for each in metrics.values()
    ]
    facts, options, learning = result["facts"], result["options"], result["learning"]
    by_seed = {
        side: ", ".join(f"{of_all(r['scores'])['loss']['value']:.4f}" for r in runs)
        for side, runs in result["runs"].items()
    }
    begun = "" if options["model"] is None else f" --model {options['model']}"
    told = [
        f"`python -m bench sft --quality --data {options['data']}{begun}`, {facts['date']}, seeds {list(options['seeds'])}: "
        f"{table.row_counts(result['splits'])}; {learning['epochs']:g} epochs, {learning['batch']} rows an update, lr {learning['lr']:g}",
        *lines(result["rows"], facts),
        table.machine_line(facts),
        "loss by seed: " + "; ".join(f"{side} {values}" for side, values in by_seed.items()),
    ]
    return table.markdown(header, cells) + "\n\n" + "\n".join(f"- {line}" for line in told)
