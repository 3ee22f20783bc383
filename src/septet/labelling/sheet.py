"""The sheet of rows to label, and the table of those that are labelled.

A sheet is a CSV that spreadsheets open safely (`data/sheet.py`): `row`, the columns of text, an empty column to fill in, `why` a row was picked, and its `place` in the file.
People may leave cells empty, sort the lines and delete some; a row is known by its id, a hash of its texts. What was read back is kept in a plain CSV
(`write_labelled`), the texts as they are in the pool: a table to learn from.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septet.data.read import read_file
from septet.data.sheet import LONGEST, check_free, escape, name_of, unescape
from septet.durable import write_atomic
from septet.errors import DataError, UsageError
from septet.labelling.picks import Pick
from septet.registry import suggest

ROW, WHY, PLACE = "row", "why", "place"
SHOWN = 5  # lines that an error names


@dataclass(slots=True)
class Filled:
    """What a sheet says.

    Args:
        labels: row id -> label.
        empty: lines without a label.
        unknown: labels that were not known before, each with the number of its lines.
    """

    labels: dict[int, str] = field(default_factory=dict)
    empty: int = 0
    unknown: dict[str, int] = field(default_factory=dict)


def write_sheet(
    path: Path,
    picks: Sequence[Pick],
    rows: Sequence[Mapping[str, str]],
    *,
    ids: Sequence[int],
    places: Sequence[str],
    label: str,
) -> None:
    """Write the picked rows; a file that is there is never replaced.

    Args:
        rows: the columns of text of each pick.
        ids: of each pick.
        places: of each pick, such as `tickets.csv line 17`.
        label: the column to fill in.

    Raises:
        UsageError: there is such a file.
    """
    check_free(path)
    lines = [
        [name_of(row_id), *row.values(), "", _told(pick), place]
        for pick, row, row_id, place in zip(picks, rows, ids, places, strict=True)
    ]
    head = [ROW, *(rows[0] if rows else ()), label, WHY, PLACE]
    cells = [[escape(cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}…") for cell in line] for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    # a byte order mark, without which Excel reads UTF-8 as something else
    write_atomic(path, b"\xef\xbb\xbf" + _csv([head, *cells], end="\r\n"))


def read_sheet(
    path: Path, *, label: str, pool: Mapping[int, Any], labels: Sequence[str], new_labels: bool = False
) -> Filled:
    """Return the labels that someone filled in.

    Args:
        label: the column that was filled in.
        pool: the ids of the rows that can be named.
        labels: those that are known.
        new_labels: take labels that are not known.

    Raises:
        UsageError: there is no such file.
        RecipeError: a column is missing.
        DataError: a line names no row of the pool or an unknown label, or two lines contradict each other; the first few are named.
    """
    if not path.is_file():
        raise UsageError("There is no such sheet.", where=str(path), hint="septet label DATA --budget 200 writes one")
    table = read_file(path, columns={ROW: "--read", label: "--label"})
    found, lost, strange = Filled(), [], []
    first: dict[int, tuple[str, str]] = {}
    for index, (name, cell) in enumerate(zip(table.columns[ROW], table.columns[label], strict=True)):
        where, given = table.where(index), str(cell or "").strip()
        if not given:
            found.empty += 1
            continue
        row_id = _row_id(name)
        if row_id not in pool:
            lost.append(f"{where} ({str(name or '')[:20] or 'no id'})")
            continue
        known = next((each for each in (given, unescape(given)) if each in labels), None)
        if known is None:
            strange.append((where, given))
            found.unknown[given] = found.unknown.get(given, 0) + 1
        chosen = given if known is None else known
        before = first.setdefault(row_id, (chosen, where))
        if before[0] != chosen:
            raise DataError(
                "Two lines of the sheet give one row different labels.",
                where=f"{before[1]} and {where}",
                received=f"{before[0]}, {chosen}",
                hint="keep one of the two",
            )
        found.labels[row_id] = chosen
    _check(lost, [] if new_labels else strange, labels)
    return found


def read_labelled(path: Path, *, label: str, pool: Mapping[int, Any]) -> dict[int, str]:
    """Return what was labelled before: row id -> label; nothing where there is no such file.

    Raises:
        RecipeError: a column is missing.
        DataError: a row is not in the pool.
    """
    if not path.is_file():
        return {}
    table = read_file(path, columns={ROW: "--known", label: "--label"})
    found, lost = {}, []
    for index, (name, given) in enumerate(zip(table.columns[ROW], table.columns[label], strict=True)):
        row_id = _row_id(name)
        if row_id in pool:
            found[row_id] = str(given)
        else:
            lost.append(table.where(index))
    _check(lost, [], ())
    return found


def write_labelled(path: Path, rows: Mapping[int, Mapping[str, str]], labels: Mapping[int, str], *, label: str) -> None:
    """Write the labelled rows, in the order of the pool.

    Args:
        rows: row id -> its columns of text.
    """
    lines = [[name_of(row_id), *row.values(), labels[row_id]] for row_id, row in rows.items() if row_id in labels]
    head = [ROW, *next(iter(rows.values())), label]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, _csv([head, *lines], end="\n"))


def _csv(lines: Sequence[Sequence[str]], *, end: str) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows(lines)
    return buffer.getvalue().encode("utf-8", "replace")


def _told(pick: Pick) -> str:
    if pick.why == "typical":
        return "typical of rows that have no label yet"
    if pick.why == "equal":
        return "the model cannot tell it from another row"
    return f"unsure between {' and '.join(pick.between)} ({pick.margin:.2f} apart)"


def _row_id(name: Any) -> int:
    """Return the id that a cell names; -1 where it names none."""
    text = str(name or "").strip()
    digits = text[1:]
    return int(digits, 16) if len(text) == 17 and text[0] == "r" and set(digits) <= set("0123456789abcdef") else -1


def _check(lost: Sequence[str], strange: Sequence[tuple[str, str]], labels: Sequence[str]) -> None:
    if lost:
        more = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
        raise DataError(
            f"{len(lost):,} labelled lines name no row of the data: the column `row` or the data were changed since the sheet was written.",
            where="; ".join(lost[:SHOWN]) + more,
            hint="label the file that the sheet was written for, and leave the column `row` as it was written",
        )
    if strange:
        more = f" and {len(strange) - SHOWN:,} more" if len(strange) > SHOWN else ""
        near = suggest(strange[0][1], list(labels))
        raise DataError(
            f"{len(strange):,} lines have a label that is not known.",
            where="; ".join(f"{where}: {given}" for where, given in strange[:SHOWN]) + more,
            hint=f"{near}; or --new-labels" if near else f"known: {', '.join(labels[:8])}; or --new-labels",
        )
