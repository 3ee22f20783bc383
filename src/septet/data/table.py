"""A table as it was read: columns of values, and where each row came from.

Every reader returns a `Table`. Values are kept as the source has them (text stays text, a missing value is None);
`where(i)` names the file and the line, or the row where a format has no lines, for messages and findings.
"""

from __future__ import annotations

import bisect
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.errors import DataError, RecipeError
from septet.registry import suggest
from septet.report import Finding

if TYPE_CHECKING:
    from septet.data.media import Media


@dataclass(frozen=True, slots=True)
class Stamp:
    """What identifies one raw file: enough to see later, without opening it, that it is unchanged.

    A remote data set has `hf://…` for a path: what was read once is used again until its prepared folder is removed. A database has `sql:…`, and
    is never known to be unchanged without reading it.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str

    def fresh(self) -> bool:
        """Whether the file still has the size and the time it had when it was read."""
        if self.path.startswith(("hf://", "media:")):  # every file is watched by itself
            return True
        if self.path.startswith("sql:"):
            return False
        try:
            now = Path(self.path).stat()
        except OSError:
            return False
        if not stat.S_ISREG(now.st_mode):  # a pipe gives something else each time
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one file in a table: `start` is the index of its first row, `lines` the line each row begins on.

    `unit` is what messages call such a line: a spreadsheet has rows. `files` names each row where it is a file of its own. `source` is the place of what it was read from among the sources of the table.
    """

    name: str
    start: int
    lines: Sequence[int] | None = None
    unit: str = "line"
    source: int = 0
    files: Sequence[str] | None = None


@dataclass(slots=True)
class Table:
    """Columns of equal length.

    Args:
        columns: name -> values.
        parts: the files (or the one in-memory table) the rows came from, in order.
        stamps: the raw files, for the manifest; empty for a table in memory.
        unread: what is wrong with lines that were left out; see `Reading.lenient`.
        left_out: rows that were left out for another reason, by reason.
        findings: what is to be told of how the files were read.
        media: what was looked at, where a column names files.
    """

    columns: dict[str, list[Any]]
    parts: list[Part]
    stamps: list[Stamp] = field(default_factory=list)
    unread: list[DataError] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    media: Media | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    @property
    def name(self) -> str:
        """What messages call the table."""
        return self.parts[0].name if len(self.parts) == 1 else f"{self.parts[0].name} and {len(self.parts) - 1} more"

    def where(self, index: int) -> str:
        """Return the place of a row, such as `tickets.csv line 17`."""
        part = self.parts[bisect.bisect_right([p.start for p in self.parts], index) - 1]
        own = index - part.start
        if part.files is not None:
            return part.files[own]
        return f"{part.name} row {own + 1}" if part.lines is None else f"{part.name} {part.unit} {part.lines[own]}"

    def take(self, indices: Sequence[int]) -> Table:
        """Return a table with the rows at these indices, which grow, and all that is told of the whole."""
        parts = []
        for part, after in zip(self.parts, [*(each.start for each in self.parts[1:]), len(self)], strict=True):
            start, own = bisect.bisect_left(indices, part.start), [i for i in indices if part.start <= i < after]
            lines = None if part.files is not None else [self._line(part, i - part.start) for i in own]
            files = None if part.files is None else [part.files[i - part.start] for i in own]
            unit = part.unit if part.lines is not None else "row"
            parts.append(replace(part, start=start, lines=lines, unit=unit, files=files))
        columns = {name: [values[i] for i in indices] for name, values in self.columns.items()}
        return replace(self, columns=columns, parts=parts)

    @staticmethod
    def _line(part: Part, own: int) -> int:
        return own + 1 if part.lines is None else part.lines[own]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts."""
        names = list(self.columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*self.columns.values(), strict=True)]


def require_columns(present: Sequence[str], wanted: dict[str, str], *, where: str) -> None:
    """Check that a table has the columns a recipe names.

    Args:
        wanted: column -> the recipe key that names it.

    Raises:
        RecipeError: one is missing; says which there are.
    """
    for column, key in wanted.items():
        if column not in present:
            shown = ", ".join(list(present)[:20]) + (", …" if len(present) > 20 else "")
            near = suggest(column, list(present))
            raise RecipeError(
                f"There is no column {column!r} ({key}) in the data; its columns are: {shown}.",
                where=where,
                hint=near or (f"name one of them in {key}" if "." in key else None),
            )


def concatenate(tables: Sequence[Table]) -> Table:
    """Return one table with the rows of all; a column that a table lacks is None there. Each is a source of the whole."""
    if len(tables) == 1:
        return tables[0]
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    whole = Table(columns, [])
    left_out: Counter[str] = Counter()
    rows = 0
    for source, table in enumerate(tables):
        whole.parts += [replace(part, start=rows + part.start, source=source) for part in table.parts]
        rows += len(table)
        for name in names:
            columns[name] += table.columns.get(name) or [None] * len(table)
        whole.stamps += table.stamps
        whole.unread += table.unread
        whole.findings += table.findings
        left_out.update(table.left_out)
        if table.media is not None:
            whole.media = table.media if whole.media is None else whole.media.with_(table.media)
    whole.left_out = dict(left_out)
    return whole
