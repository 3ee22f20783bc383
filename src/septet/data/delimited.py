"""CSV and TSV: delimited text with a header row, every value as written.

Of the comma, `;`, tab and `|` that the header has, the one is taken that the first rows fit best; where quotes are apostrophes, that is seen too. Python's own parser in strict mode: it knows the line of every row (findings name it), and quotes that do not match are
an error, never a guess. "NA", "null" and "" stay text. Blank lines are skipped; columns without a name are left out.
In a tab-separated file quotes are usually plain characters, so where every line has the right number of tabs a field is
unquoted only if it is quoted as a whole.
"""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from septet.data.files import LONGEST_LINE
from septet.errors import DataError
from septet.report import Finding

SHOWN_ROWS = 5
SAMPLE = 1 << 16  # characters from the beginning that the dialect is told by
_DELIMITERS = ",;\t|"
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields of a file are apart, and what may stand around one."""

    delimiter: str = ","
    quote: str = '"'

    def told(self, name: str, *, given: bool) -> list[Finding]:
        """Return what is to be told of a dialect; nothing of the usual one, or where the delimiter was given."""
        how = [] if given or self.delimiter == "," else [f"apart by {_NAMES[self.delimiter]}"]
        how += [] if self.quote == '"' else ["quoted by apostrophes"]
        if not how:
            return []
        evidence = {"file": name, "delimiter": self.delimiter, "quote": self.quote}
        fix = f'nothing, if that is right; data.delimiter: "{self.delimiter}" says so'.replace("\t", "\\t")
        return [Finding("delimiter-guessed", "note", f"{name}: its fields are {' and '.join(how)}.", fix, evidence)]


def parse(
    text: str, name: str, *, dialect: Dialect | None = None, bare: bool = False
) -> tuple[dict[str, list[str]], array]:
    """Return the columns and the line each row begins on.

    Args:
        dialect: None: detected.
        bare: whether a header may have no rows.

    Raises:
        DataError: a row that does not fit the header, quotes that do not match, a duplicate column, or no row.
    """
    dialect = dialect or detect(text)
    rows = _rows(text, name, dialect=dialect)
    header_line, header = next(((line, row) for line, row in rows if row), (1, []))
    _check_header(header, name, line=header_line)
    width = len(header)
    values: list[list[str]] = []
    lines = array("q")
    broken: list[tuple[int, list[str]]] = []
    for line, row in rows:
        if len(row) == width:
            values.append(row)
            lines.append(line)
        elif row:
            broken.append((line, row))
    if broken:
        raise _ragged(broken, header, name=name)
    if not values and not bare:
        raise DataError("The file has a header and no rows.", where=name, received=dialect.delimiter.join(header))
    cells = [list(found) for found in zip(*values, strict=True)] or [[] for _ in header]
    return {column: found for column, found in zip(header, cells, strict=True) if column}, lines


def detect(text: str, *, delimiter: str | None = None) -> Dialect:
    """Return the dialect of a file, by its first rows.

    Args:
        delimiter: the one that is known.
    """
    head = text.lstrip("\r\n")[:SAMPLE]
    cut = len(head) == SAMPLE
    if cut:
        head = head[: head.rfind("\n") + 1] or head
    header = head.split("\n", 1)[0]
    known = [delimiter] if delimiter else [each for each in _DELIMITERS if each in header] or [","]
    # of those that fit equally well, the one of most columns, and then the comma
    fits = {each: _fit(head, Dialect(each), cut=cut) for each in known}
    best = max(known, key=lambda each: fits[each])
    single = Dialect(best, "'")
    if f"{best}'" not in f"{best}{header}" and "\n'" not in head and f"{best}'" not in head:
        return Dialect(best)
    misfit, alone = fits[best][0] < 1, _fit(head, single, cut=cut)[0] == 1
    if alone and '"' not in header and (misfit or _all_single(head, best)):
        return single
    return Dialect(best)


def _fit(head: str, dialect: Dialect, *, cut: bool) -> tuple[float, int]:
    """Return the share of rows that fit the header, and its width; 0 where it has no column."""
    reader = csv.reader(
        io.StringIO(head, newline=""), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True
    )
    widths: list[int] = []
    broken = 0
    try:
        widths += (len(row) for row in reader if row)
    except csv.Error as error:
        broken = not (cut and "unexpected end" in str(error))
    fitting = sum(width == widths[0] for width in widths)
    return (fitting / (len(widths) + broken) if widths else 0.0), (widths[0] if widths else 0)


def _all_single(head: str, delimiter: str) -> bool:
    """Whether the first lines hold nothing but fields in apostrophes."""
    lines = [line.rstrip("\r") for line in head.split("\n") if line.strip()][:SHOWN_ROWS]
    return all(line[:1] == line[-1:] == "'" and len(line) > 1 for line in lines) and f"'{delimiter}'" in lines[0]


def _rows(text: str, name: str, *, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    if dialect == Dialect("\t"):
        plain = _plain_tabs(text)
        if plain is not None:
            yield from plain
            return
    before = csv.field_size_limit(LONGEST_LINE)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True
        )
        line = 1
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise _quotes(error, name, line=line) from None
            yield line, row
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def _plain_tabs(text: str) -> list[tuple[int, list[str]]] | None:
    """Return the rows of a file whose every line has the same number of tabs, or None."""
    rows = text.replace("\r\n", "\n").split("\n")
    if "\r" in rows[0]:  # the line ends of an old Macintosh
        return None
    split = [(number, line.split("\t")) for number, line in enumerate(rows, 1) if line]
    if not split or any(len(row) != len(split[0][1]) for _, row in split):
        return None
    return [
        (number, [_unquote(field) for field in row] if any(f[:1] == '"' for f in row) else row) for number, row in split
    ]


def _unquote(field: str) -> str:
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inner = field[1:-1]
    return inner.replace('""', '"') if '"' not in inner.replace('""', "") else field


def _check_header(header: Sequence[str], name: str, *, line: int) -> None:
    named = [column for column in header if column]
    if not named:
        raise DataError("The file has no header row with column names.", where=f"{name} line {line}")
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise DataError(
            f"The header names a column twice: {', '.join(twice)}.",
            where=f"{name} line {line}",
            hint="rename one of them",
        )


def _ragged(broken: list[tuple[int, list[str]]], header: Sequence[str], *, name: str) -> DataError:
    line, row = broken[0]
    more = ""
    if len(broken) > 1:
        others = ", ".join(str(number) for number, _ in broken[1 : SHOWN_ROWS + 1])
        more = f" {len(broken) - 1:,} more rows are like this (line {others}{', …' if len(broken) > SHOWN_ROWS + 1 else ''})."
    open_quote = any("\n" in field for field in row)
    hint = (
        "a quote seems to be open: close it, and double the quotes inside a text"
        if open_quote
        else "quote a text that holds the delimiter, or set data.delimiter"
    )
    what = f"The row has {len(row)} {'field' if len(row) == 1 else 'fields'}, the header has {len(header)} ({', '.join(header)[:80]}).{more}"
    return DataError(what, where=f"{name} line {line}", received=row, hint=hint)


def _quotes(error: csv.Error, name: str, *, line: int) -> DataError:
    hint = 'end the text with a quote, and double the quotes inside it: "He said ""hi"" to me"'
    if "unexpected end" in str(error):
        return DataError("A quote is opened in this row and never closed.", where=f"{name} line {line}", hint=hint)
    if "expected after" in str(error):
        return DataError(
            "The quotes of this row do not match: there is text after a closing quote.",
            where=f"{name} line {line}",
            hint=hint,
        )
    if "field limit" in str(error):
        what = f"A text of this row is longer than {LONGEST_LINE >> 20} MiB: a quote seems to be open."
        return DataError(what, where=f"{name} line {line}", hint=hint)
    return DataError(f"The row cannot be read: {error}.", where=f"{name} line {line}")
