"""`septet label DATA --budget 200`: pick the rows of a pool that are worth a label, write them on a sheet, read it back, and train with them.

    septet label tickets.csv --text body --budget 100        # tickets.sheet-1.csv
    septet label tickets.csv --text body --read tickets.sheet-1.csv
    septet label tickets.csv --text body --budget 100        # the next round: rows that the labels so far leave unclear

What was labelled is kept in `tickets.labelled.csv`, a table to learn from. With `--recipe`, columns, labels and model are the recipe's, and its training rows
count as labelled too. Rows are picked on frozen vectors of the model (`labelling/picks.py`), which are kept in the user's cache: a round takes seconds.
Left out: tasks other than `classify`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from septet.data.rows import Texts, row_id
from septet.errors import DataError, UsageError
from septet.labelling.picks import pick
from septet.labelling.sheet import read_labelled, read_sheet, write_labelled, write_sheet
from septet.labelling.wanted import Wanted, next_command, next_sheet, options_of, pool_of, quoted, trained_rows
from septet.model.tokens import here
from septet.model.vectors import embed
from septet.progress import Listen, quiet
from septet.registry import suggest

MOST = 50_000  # rows of a pool that are looked at; of more, as many are drawn
SEED = 42


@dataclass(slots=True)
class Labelled:
    """What `label` did.

    Args:
        rows: distinct rows of the pool with text.
        labelled: rows that have a label now; of which `labels` says how many have each.
        sheet: the sheet that was written, with `picked` rows, or that was read.
        read: of a sheet that was read: `labelled`, `new`, `changed`, `empty`; `unknown` labels taken, by lines.
        doubts: labels that look like slips of the pen.
        known: the table of labelled rows.
        command: what to run next.
        model: what the rows were picked by.
    """

    rows: int
    labelled: int
    labels: dict[str, int]
    sheet: Path
    known: Path
    command: str
    picked: int = 0
    read: dict[str, Any] | None = None
    doubts: list[str] = field(default_factory=list)
    model: str = ""
    trained: Any = None

    @property
    def exit_code(self) -> int:
        return getattr(self.trained, "exit_code", 0)

    def to_json(self) -> dict[str, Any]:
        names = ("rows", "labelled", "labels", "picked", "read", "doubts", "model", "command")
        told = {name: getattr(self, name) for name in names}
        more = {} if self.trained is None else {"trained": self.trained.to_json()}
        return {**told, "sheet": str(self.sheet), "known": str(self.known), **more}

    def text(self) -> str:
        """The outcome in a few plain lines."""
        counts = ", ".join(f"{label} {count:,}" for label, count in list(self.labels.items())[:12])
        more = f", and {len(self.labels) - 12} more" if len(self.labels) > 12 else ""
        lines = [f"{self.labelled:,} of {self.rows:,} rows are labelled" + (f": {counts}{more}" if counts else "")]
        if self.read is None:
            lines.append(f"{self.picked:,} rows to label, picked by {self.model}, written to {self.sheet}")
        else:
            found = self.read
            lines.append(
                f"{self.sheet}: {found['labelled']:,} lines labelled ({found['new']:,} new, {found['changed']:,} changed), {found['empty']:,} left empty; kept in {self.known}"
            )
        lines += self.doubts
        return "\n".join(
            [*lines, f"next: {self.command}", *([self.trained.text()] if self.trained is not None else [])]
        )


def label(
    data: str | Path,
    wanted: Wanted,
    *,
    budget: int | None = None,
    sheet: str | Path | None = None,
    out: str | Path | None = None,
    new_labels: bool = False,
    listen: Listen = quiet,
) -> Labelled:
    """Pick rows of a file and write a sheet, or read a sheet that was filled in.

    Args:
        data: the pool: any table that can be read.
        budget: rows to pick; None where a sheet is read.
        sheet: the sheet to read.
        out: the sheet to write; `<data>.sheet-N.csv` without it.
        new_labels: take labels that neither the recipe, nor its rows, nor `wanted.labels` list.

    Raises:
        UsageError: neither or both of budget and sheet, or a file is missing or there already.
        RecipeError: a column is missing.
        DataError: the sheet contradicts itself, or names rows or labels that are not there.
    """
    if (budget is None) == (sheet is None):
        raise UsageError("Say how many rows to pick, or which sheet to read.", hint="--budget 200, or --read SHEET")
    pool, where = pool_of(data, wanted, listen=listen)
    known = read_labelled(wanted.known, label=wanted.label, pool=pool)
    if sheet is not None:
        return _read_back(data, wanted, pool, known, sheet=Path(sheet), new_labels=new_labels)
    assert budget is not None
    target = next_sheet(Path(data), wanted, known) if out is None else Path(out)
    return _pick(data, wanted, pool, known, where=where, budget=budget, target=target, listen=listen)


def _read_back(
    data: str | Path,
    wanted: Wanted,
    pool: dict[int, dict[str, str]],
    known: dict[int, str],
    *,
    sheet: Path,
    new_labels: bool,
) -> Labelled:
    listed = list(dict.fromkeys([*wanted.labels, *(each for _, each in trained_rows(wanted))]))
    names = list(dict.fromkeys([*listed, *known.values()]))
    # where nobody listed the labels, they are those that people write
    filled = read_sheet(sheet, label=wanted.label, pool=pool, labels=names, new_labels=new_labels or not listed)
    if not filled.labels:
        raise DataError(
            f"The sheet has no label yet: the column {wanted.label} of its {filled.empty:,} lines is empty.",
            where=str(sheet),
            hint=f"fill in the column {wanted.label}; cells may stay empty",
        )
    changed = sum(known.get(row, each) != each for row, each in filled.labels.items())
    new = sum(row not in known for row in filled.labels)
    labels = known | filled.labels
    write_labelled(wanted.known, pool, labels, label=wanted.label)
    counts = dict(Counter(labels.values()).most_common())
    read_facts = {
        "labelled": len(filled.labels),
        "new": new,
        "changed": changed,
        "empty": filled.empty,
        "unknown": filled.unknown,
    }
    doubts = [
        f"label {each!r} has {counts[each]} row{'s' * (counts[each] != 1)}: {near}" for each, near in _slips(counts)
    ]
    return Labelled(
        len(pool), len(labels), counts, sheet, wanted.known, next_command(data, wanted), read=read_facts, doubts=doubts
    )


def _slips(counts: dict[str, int]) -> list[tuple[str, str]]:
    """Return rare labels whose name is nearly that of a frequent one."""
    found = []
    for name, count in counts.items():
        others = [each for each, n in counts.items() if n >= 5 * count and each != name]
        near = suggest(name, others) if count <= 2 else None
        if near:
            found.append((name, near))
    return found


# ---- picking ----


def _pick(
    data: str | Path,
    wanted: Wanted,
    pool: dict[int, dict[str, str]],
    known: dict[int, str],
    *,
    where: Callable[[int], str],
    budget: int,
    target: Path,
    listen: Listen,
) -> Labelled:
    trained = {row_id(texts, None): (texts, each) for texts, each in trained_rows(wanted)}
    labels = {row: each for row, (_, each) in trained.items()} | known
    ids = list(pool)
    if len(ids) > MOST:
        listen("note", text=f"label: {MOST:,} of the {len(ids):,} rows are looked at, drawn")
        drawn = np.sort(np.random.default_rng(SEED).permutation(len(ids))[:MOST])
        ids = list(dict.fromkeys([*(ids[i] for i in drawn), *(row for row in ids if row in labels)]))
    outside = [row for row in trained if row not in pool]
    texts = [tuple(pool[row].values()) for row in ids] + [trained[row][0] for row in outside]
    vectors, how = _vectors(texts, wanted, listen=listen)
    at = {row: place for place, row in enumerate([*ids, *outside])}
    listen("progress", what="pick", done=0, total=1)
    picks = pick(vectors, {at[row]: each for row, each in labels.items() if row in at}, num=budget, seed=SEED)
    listen("progress", what="pick", done=1, total=1)
    chosen = [ids[each.row] for each in picks]
    if not chosen:
        raise UsageError("Every row has a label already.", where=str(data), hint=next_command(data, wanted))
    places = list(map(where, chosen))
    write_sheet(target, picks, [pool[row] for row in chosen], ids=chosen, places=places, label=wanted.label)
    there = {row: each for row, each in labels.items() if row in pool}
    counts = dict(Counter(there.values()).most_common())
    back = f"septet label {quoted(data)}{options_of(data, wanted)} --read {quoted(target)}"
    return Labelled(
        len(pool),
        len(there),
        counts,
        target,
        wanted.known,
        f"fill in the column {wanted.label}, then {back}",
        picked=len(picks),
        model=how,
    )


def _vectors(texts: list[Texts], wanted: Wanted, *, listen: Listen) -> tuple[np.ndarray, str]:
    """Return the rows' vectors; those of a model are kept, and found again while texts and model are the same."""
    base = wanted.recipe.folder if wanted.recipe is not None else None
    name = wanted.recipe.expand(wanted.model) if wanted.recipe is not None else wanted.model
    folder = here(name, base=base)
    if folder is None:
        listen("note", text=f"label: rows are picked by TF-IDF, {wanted.model} is not on this machine")
        return embed(texts, None, name=wanted.model)
    return embed(texts, folder, name=wanted.model, listen=listen)
