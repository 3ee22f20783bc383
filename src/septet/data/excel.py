"""Spreadsheets (.xlsx, .xlsm, .xls, .ods): one sheet, its first row that is not blank the header, each cell as the text a user sees.

Read by `python-calamine` (extra `excel`). A formula gives its stored value. Dates are written as ISO dates; numbers as Excel shows them without a
format: 15 digits, no `.0`; currency signs, percents and other formats of cells are not known. Blank rows are left out and counted. Of merged
cells only the first has the value. Left out: macros, pictures, comments; nothing of a file is run.
"""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from array import array
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import unescape

from septet.data.files import FREE_BYTES, RATIO
from septet.data.table import Part, Table
from septet.errors import DataError, MissingExtraError, RecipeError
from septet.registry import suggest
from septet.report import Finding

EXACT = 10**15  # a whole number up to here is shown digit by digit
BLANK = "blank row"
HEAD = 4096  # bytes in which a damaged file is looked for its first parts
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PARTS = (
    b"[Content_Types].xml",
    b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
)  # of the zip's first entries and list


_TAG = re.compile(r"<[^>]+>")
_CELL = re.compile(r"<(?:\w+:)?c(\s[^>]*)?(?<!/)>(.*?)</(?:\w+:)?c>", re.DOTALL)
_FORMULA = re.compile(r"<(?:\w+:)?f[\s/>]")
_OPEN = re.compile(
    r"""<table:(table|table-row|table-cell|covered-table-cell)((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(/?)>"""
)
_OPEN_VALUE = r"office:(?:\w+-)?value"
_VALUE = re.compile(r"<(?:\w+:)?v(?:\s[^>]*)?>[^<]")


def is_spreadsheet(raw: bytes) -> bool:
    """Whether bytes are those of a spreadsheet: Excel's older container, or a zip that is a workbook; an archive that holds one is not."""
    if raw.startswith(_OLE) or not raw.startswith(b"PK\x03\x04"):
        return raw.startswith(_OLE)
    try:
        names = zipfile.ZipFile(io.BytesIO(raw)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # damaged: its first entries tell
        return any(part in raw[:HEAD] for part in _PARTS)
    return any(name.startswith("xl/workbook.") for name in names) or _PARTS[1] in raw[:HEAD]


def parse(raw: bytes, name: str, *, sheet: str | None = None, bare: bool = False) -> Table:
    """Return the table of a sheet.

    Args:
        sheet: its name; None: the first one that holds anything, and where others do too, a finding says so.
        bare: whether a header may have no rows.

    Raises:
        MissingExtraError: `python-calamine` is not installed.
        RecipeError: there is no such sheet.
        DataError: the file is damaged, has a password, or the sheet holds no table.
    """
    _check_size(raw, name)
    found = _sheets(raw, name, only=sheet)
    if sheet is None and not any(found.values()):
        raise DataError("The spreadsheet holds no rows.", where=name, received=list(found))
    chosen = sheet if sheet is not None else next(each for each, rows in found.items() if rows)
    filled = [each for each, rows in found.items() if rows]
    label = f"{name} [{chosen}]" if len(found) > 1 or sheet is not None else name
    others = [each for each in filled if each != chosen]
    table = _table(found[chosen], label, bare=bare, hint=f"data.sheet: {others[0]}" if others else None)
    if sheet is None and len(filled) > 1:
        table.findings.append(_unread(name, chosen, filled))
    unsaved = _unsaved(raw, chosen)
    if unsaved:
        table.findings.append(_without_value(label, unsaved))
    return table


def as_shown(value: Any) -> str | None:
    """Return a cell as text; None where it is empty."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return str(int(value)) if value == int(value) and abs(value) < EXACT else f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, datetime.time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return str(value)  # a date


def _check_size(raw: bytes, name: str) -> None:
    """Refuse a zip that unpacks to far more than real sheets do."""
    if not raw.startswith(b"PK"):
        return
    try:
        unpacked = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(raw)).infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise DataError(
            "The spreadsheet is damaged or cut short.", where=name, hint="copy or download it again"
        ) from None
    if unpacked > max(FREE_BYTES, RATIO * len(raw)):
        raise DataError(
            f"The spreadsheet unpacks to more than {RATIO} times its size; that is no real sheet.",
            where=name,
            hint="save it as CSV (UTF-8) if you trust it",
        )


def _sheets(raw: bytes, name: str, *, only: str | None) -> dict[str, list[tuple[int, list[str | None]]]]:
    """Return the rows of each sheet that has cells, with their numbers; of the one that is wanted, or of all."""
    try:
        import python_calamine as calamine
    except ImportError:
        raise MissingExtraError("python-calamine", "excel", "Reading a spreadsheet") from None
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(raw))
        names = [each.name for each in book.sheets_metadata if each.typ == calamine.SheetTypeEnum.WorkSheet]
        if only is not None and only not in names:
            raise RecipeError(
                "There is no such sheet (data.sheet).",
                where=name,
                received=only,
                hint=suggest(only, names) or f"its sheets: {', '.join(names)}",
            )
        hidden = [each.name for each in book.sheets_metadata if each.visible != calamine.SheetVisibleEnum.Visible]
        wanted = sorted(names, key=hidden.__contains__) if only is None else [only]
        return {each: _rows(book.get_sheet_by_name(each).iter_rows()) for each in wanted}
    except calamine.PasswordError:
        raise DataError(
            "The spreadsheet has a password.", where=name, hint="save it without one, or as CSV (UTF-8)"
        ) from None
    except (calamine.CalamineError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise DataError(
            f"The file is damaged or no spreadsheet ({reason}).", where=name, hint="copy or download it again"
        ) from None


def _unsaved(raw: bytes, sheet: str) -> list[str]:
    """Return the cells of a sheet that hold a formula and no value: a program wrote it, and no spreadsheet has computed it. An .xls has values."""
    if not raw.startswith(b"PK"):
        return []
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        try:
            if "content.xml" in file.namelist():
                return _unsaved_open(file.read("content.xml").decode(), sheet)
            book, related = file.read("xl/workbook.xml").decode(), file.read("xl/_rels/workbook.xml.rels").decode()
            targets = {_attribute(each, "Id"): _attribute(each, "Target") for each in _TAG.findall(related)}
            own = next((each for each in _TAG.findall(book) if unescape(_attribute(each, "name")) == sheet), "")
            target = targets[_attribute(own, r"\w+:id")]
            cells = file.read(target.lstrip("/") if target.startswith("/") else f"xl/{target}").decode()
        except (KeyError, ValueError, zipfile.BadZipFile):  # another form of the file: calamine has read it
            return []
    if "<f" not in cells:
        return []
    found = ((match[1] or "", match[2]) for match in _CELL.finditer(cells))
    return [_attribute(own, "r") for own, inside in found if _FORMULA.search(inside) and not _has_value(own, inside)]


def _unsaved_open(content: str, sheet: str) -> list[str]:
    """Return the same cells of a sheet of OpenDocument, whose rows and cells say how often they are repeated."""
    found, own, row, following, column = [], False, 0, 1, 1
    for match in _OPEN.finditer(content) if "table:formula" in content else ():
        kind, attributes, closed = match.groups()
        if kind == "table":
            own, following = unescape(_attribute(attributes, "table:name")) == sheet, 1
        elif kind == "table-row":
            row, column = following, 1
            following += int(_attribute(attributes, "table:number-rows-repeated") or 1)
        else:
            bare = bool(closed) or content.startswith("</", match.end())
            if own and bare and _attribute(attributes, "table:formula") and not _attribute(attributes, _OPEN_VALUE):
                found.append(f"{_letters(column)}{row}")
            column += int(_attribute(attributes, "table:number-columns-repeated") or 1)
    return found


def _letters(column: int) -> str:
    """Return what a spreadsheet calls a column: A to Z, AA and so on."""
    above, own = divmod(column - 1, 26)
    return (_letters(above) if above else "") + chr(65 + own)


def _has_value(own: str, inside: str) -> bool:
    return _VALUE.search(inside) is not None or _attribute(own, "t") == "str"


def _attribute(text: str, name: str) -> str:
    found = re.search(rf"""\s{name}\s*=\s*(?:"([^"]*)"|'([^']*)')""", text)
    return "" if found is None else found[1] or found[2] or ""


def _rows(cells: Any) -> list[tuple[int, list[str | None]]]:
    """Return rows as text with their numbers, from the first to the last that is not blank."""
    rows = [(number, [as_shown(cell) for cell in row]) for number, row in enumerate(cells, 1)]
    filled = [place for place, (_, row) in enumerate(rows) if not _is_blank(row)]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _table(rows: Sequence[tuple[int, list[str | None]]], name: str, *, bare: bool, hint: str | None) -> Table:
    if not rows:
        raise DataError("The sheet is empty.", where=name)
    (header_row, cells), *rest = rows
    header = [(cell or "").strip() for cell in cells]
    _check_header(header, f"{name} row {header_row}")
    values = [(number, row) for number, row in rest if not _is_blank(row)]
    if not values and not bare:
        received = ", ".join(filter(None, header))
        raise DataError("The sheet has a header and no rows.", where=name, received=received, hint=hint)
    _check_unnamed(values, header, name)
    columns = {
        column: [row[place] if place < len(row) else None for _, row in values]
        for place, column in enumerate(header)
        if column
    }
    table = Table(columns, [Part(name, 0, array("q", [number for number, _ in values]), unit="row")])
    if len(values) < len(rest):
        table.left_out = {BLANK: len(rest) - len(values)}
    return table


def _check_header(header: Sequence[str], where: str) -> None:
    named = [column for column in header if column]
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise DataError(f"The header names a column twice: {', '.join(twice)}.", where=where, hint="rename one of them")


def _check_unnamed(values: Sequence[tuple[int, list[str | None]]], header: Sequence[str], name: str) -> None:
    """Refuse a sheet whose first row is a title: its rows have more cells than that row has names."""
    if sum(map(bool, header)) > 1:
        return
    wide = next((number for number, row in values if sum(cell is not None for cell in row) > 1), None)
    if wide is not None:
        raise DataError(
            f"The first row has one name, and row {wide} has more cells: it seems to be a title, not the header.",
            where=name,
            received=next(filter(None, header)),
            hint="remove the rows above the column names",
        )


def _is_blank(row: Sequence[str | None]) -> bool:
    return not any(cell is not None and cell.strip() for cell in row)


def _without_value(name: str, cells: Sequence[str]) -> Finding:
    shown = ", ".join(cells[:8]) + (", …" if len(cells) > 8 else "")
    return Finding(
        "formula-without-value",
        "warning",
        f"{name}: {len(cells):,} {'cell holds a formula' if len(cells) == 1 else 'cells hold formulas'} that nothing has computed yet, and {'was' if len(cells) == 1 else 'were'} read as empty: {shown}.",
        "open the file in a spreadsheet program and save it, or write values",
        {"file": name, "rows": len(cells), "cells": list(cells[:50])},
    )


def _unread(name: str, chosen: str, filled: Sequence[str]) -> Finding:
    others = [each for each in filled if each != chosen]
    shown = ", ".join(others[:8]) + (", …" if len(others) > 8 else "")
    return Finding(
        "sheets-unread",
        "warning",
        f"{name}: the sheet {chosen!r} was read, being the first; {len(others)} more {'holds' if len(others) == 1 else 'hold'} rows: {shown}.",
        f"say which one is meant: data.sheet: {chosen}",
        {"file": name, "sheet": chosen, "others": others},
    )
