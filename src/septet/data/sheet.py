"""The review sheet: a CSV table of doubtful rows that people fill in, and that is read back.

Spreadsheets run cells that begin with `=`, `+`, `-` or `@`, and round numbers of more than fifteen digits. So such a cell gets an apostrophe in
front, as does one that begins with an apostrophe: taking one off gives back what was there. A row's id is a letter and sixteen digits of base 16, which
no spreadsheet takes for a number. The file begins with a byte order mark, without which Excel reads UTF-8 as something else.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from septet.data.read import Reading, read_file
from septet.data.table import Stamp
from septet.durable import write_atomic
from septet.errors import DataError, RecipeError, SeptetError, UsageError, raise_all

COLUMNS = ("row", "split", "place", "text", "label", "suggested", "confidence", "reason", "corrected", "verdict")
VERDICTS = ("", "keep", "drop")
SHOWN = 20  # columns in a message
LONGEST = 30_000  # characters of a cell; Excel holds 32,767
_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "＋", "－", "＠")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a sheet that someone filled in: the row's id, the label it gets or None, and what is to become of it."""

    row: int
    corrected: str | None
    verdict: str
    where: str
    place: str


def escape(cell: str) -> str:
    """Return a cell that no spreadsheet runs."""
    return f"'{cell}" if cell.startswith(_RISKY) else cell


def unescape(cell: str) -> str:
    """Return the cell that was escaped; one that never was stays as it is."""
    return cell[1:] if cell.startswith("'") else cell


def name_of(row: int) -> str:
    """Return a row's id as the sheet has it."""
    return f"r{row:016x}"


def write_sheet(path: Path, lines: Iterable[Mapping[str, str]]) -> None:
    """Write a sheet; a file that is there, which may hold somebody's work, is never replaced.

    Args:
        lines: `COLUMNS` without those that people fill in.

    Raises:
        UsageError: there is such a file.
    """
    check_free(path)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for line in lines:
        cells = [line.get(column, "") for column in COLUMNS]
        writer.writerow([escape(cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}…") for cell in cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, b"\xef\xbb\xbf" + buffer.getvalue().encode("utf-8", "replace"))


def check_free(path: Path) -> None:
    """Check that a sheet can be written, and would replace no file.

    Raises:
        UsageError: there is one, or the folder takes no file.
    """
    if path.exists():
        raise UsageError(
            "The review sheet is there already, and may hold corrections.", where=str(path), hint="another name"
        )
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError("No review sheet can be written here.", where=str(path), hint="a folder you may write to")


def read_sheet(path: Path) -> tuple[list[Line], list[Stamp]]:
    """Return the lines of a sheet that someone filled in, and the file's stamp. A sheet without rows, as of data without a doubtful one, has no lines.

    Raises:
        UsageError: there is no such file.
        RecipeError: a column is missing.
        DataError: a line has no row id, a verdict that is none, or contradicts itself or another; `Problems` where several do.
    """
    if not path.is_file():
        raise UsageError(
            "There is no such review sheet.", where=str(path), hint="septet prepare RECIPE --review review.csv"
        )
    table = read_file(path, reading=Reading(bare=True))
    missing = [column for column in ("row", "corrected", "verdict") if column not in table.columns]
    if missing:
        raise RecipeError(
            f"data.corrections names no review sheet: there is no column {', '.join(missing)}.",
            where=table.name,
            received=list(table.columns)[:SHOWN],
            hint="septet prepare RECIPE --review FILE writes one; keep its columns",
        )
    found: dict[int, Line] = {}
    mistakes: list[SeptetError] = []
    for index, row in enumerate(table.rows()):
        try:
            line = _line(row, table.where(index))
        except DataError as mistake:
            mistakes.append(mistake)
            continue
        if line is None:
            continue
        before = found.setdefault(line.row, line)
        if (before.corrected, before.verdict) != (line.corrected, line.verdict):
            mistakes.append(
                DataError(
                    "Two lines of the review sheet say different things of one row.",
                    where=f"{before.where} and {line.where}",
                    received=name_of(line.row),
                    hint="keep one of the two",
                )
            )
    raise_all(mistakes)
    return list(found.values()), table.stamps


def _line(row: Mapping[str, object], where: str) -> Line | None:
    name, corrected, verdict = (str(row[column] or "").strip() for column in ("row", "corrected", "verdict"))
    if not corrected and not verdict:
        return None
    digits = name[1:]
    if len(name) != 17 or name[0] != "r" or not set(digits) <= set("0123456789abcdef"):
        raise DataError(
            "A line of the review sheet has no row id.",
            where=where,
            received=name,
            hint="leave the column `row` as it was written",
        )
    if verdict.lower() not in VERDICTS:
        raise DataError("A verdict is keep, drop, or empty.", where=where, received=verdict)
    if corrected and verdict.lower() == "drop":
        raise DataError(
            "A row cannot be corrected and dropped.", where=where, received=corrected, hint="empty one of the two cells"
        )
    return Line(int(digits, 16), corrected or None, verdict.lower(), where, str(row.get("place") or ""))


def match(corrected: str, labels: Sequence[str]) -> str | None:
    """Return the label that a filled-in cell names, as it was typed or as it was escaped; None where it names none."""
    return next((each for each in (corrected, unescape(corrected)) if each in labels), None)
