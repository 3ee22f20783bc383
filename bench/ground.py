"""What both sides of `sft` begin with: the same rows, the same model, the same tokens to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import rows, table
from bench.jobs import BENCH_RECIPES, Job, SftTuning
from bench.launch import clear, launch

MATCHED_ROWS = 200


@dataclass(frozen=True, slots=True)
class Ground:
    """Rows, model and machine, made ready.

    Args:
        recipe: of the sifted rows; `base` is a job of the peer as it comes that says so too.
        prepared, facts: of `rows.ready`.
        sifted: how many rows were kept and left out, and why.
        matched: on how many rows the supervised tokens were found equal.
    """

    recipe: Path
    base: Job
    prepared: dict[str, Any]
    facts: dict[str, Any]
    sifted: dict[str, Any]
    matched: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: self.prepared[name] for name in ("splits", "sha256")},
            **{name: self.sifted[name] for name in ("kept", "left_out", "length")},
            "matched": self.matched,
        }


def ground(
    data: str,
    wanted: dict[str, rows.Wanted],
    folder: Path,
    *,
    name: str,
    say: Callable[[str], None],
    model: str | None = None,
) -> Ground:
    """Sift and prepare the rows, build the model, look at the machine, and see that both sides learn the same tokens.

    Args:
        data: a recipe of `bench/recipes`, or a file.
        wanted: split -> rows at most.
        name: of the work folder inside `folder`, before that of the data.
        model: instead of the recipe's, as `septet run RECIPE model=...` takes it.

    Raises:
        JobError: the sides learn other tokens, or a process failed.
        ValueError: stage 1 took more rows out.
    """
    given = rows.recipe_file(data, BENCH_RECIPES)
    work = folder / f"{name}-{given.stem}"
    say(f"preparing {given.stem}")
    begun = () if model is None else (f"model={model}",)
    sifted = launch(Job("sift", "sift", str(work / "sift"), str(given), begun))
    recipe, kept = Path(sifted["recipe"]), sifted["kept"]
    counts = {split: _at_most(count, wanted[split]) for split, count in kept.items()}
    drawn = rows.overrides(recipe, **counts)
    prepared, facts = rows.ready(recipe, drawn, work)
    if prepared["splits"] != counts:
        raise ValueError(f"{prepared['splits']} rows were prepared, {counts} wanted: the sides would have other rows")
    prepared["sha256"] |= sifted["sha256"]
    tuning = SftTuning(length=sifted["length"])
    base = Job("trl", "", str(work), str(recipe), drawn, prepared["prepared"], tuning=tuning)
    compared = replace(base, kind="match", name="match", rows=MATCHED_ROWS, learning=rows.learning_of(recipe))
    matched = launch(compared.at(work / "match"))
    clear(compared.at(work / "match"))
    found = Ground(recipe, base, prepared, facts, sifted, matched)
    say("\n".join([table.row_counts(prepared["splits"]), *lines(found.to_json(), facts), table.machine_line(facts)]))
    return found


def lines(ready: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Return what a reader must know of rows and model.

    Args:
        ready: of `Ground.to_json`.
    """
    matched, model = ready["matched"], facts["model"]
    reasons = [f"{n:,} of {split} ({why})" for split, found in ready["left_out"].items() for why, n in found.items()]
    return [
        f"{facts['tokens_per_row']:.1f} tokens a row, {facts['supervised_per_row']:.1f} of them supervised; the longest has {facts['longest_row']}, "
        f"none is cut; left out for both sides: {', '.join(reasons) or 'no row'}",
        f"supervised tokens of each row equal in both collators: {matched['rows']} rows, {matched['supervised_tokens']:,} tokens",
        f"model: {model['parameters']:,} parameters",
    ]


def _at_most(count: int, wanted: rows.Wanted) -> int:
    return min(count, wanted) if isinstance(wanted, int) else count
