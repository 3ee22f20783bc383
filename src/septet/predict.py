"""Answer a file, a table or a stream of lines with a trained model; order kept, nothing dropped.

`predict("runs/x", "new.csv", out="answers.csv")` writes the rows with their columns and, after them, `label`, `score`
and `flag` (what is odd about the row: empty text, tokens cut off); where the task writes texts, `answer` and `flag`. A column that already has such a name stays, and
ours is called `predicted_label` beside it. Answers are computed and written in chunks.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from septet.data import media
from septet.data.address import Unreadable
from septet.data.files import ENDINGS, LONGEST_LINE, in_archive
from septet.data.read import read
from septet.data.table import Part, Table, require_columns
from septet.data.write import Writer, open_writer
from septet.errors import DataError, UsageError
from septet.inputs import cut_off
from septet.progress import Listen, quiet

CHUNK = 1024
STDIN = "-"
ADDRESS = "\0address"  # of a row's file, beside its columns, until it is asked
ADDED = {"choices": ("label", "score", "flag"), "texts": ("answer", "flag")}


@dataclass(slots=True)
class Predicted:
    """What `predict` did.

    Args:
        rows: rows answered.
        labels: how often each label was given; of texts, how they ended (`stop` or `length`).
        empty: rows without text; they are answered and flagged.
        unread: rows that are no question, of a model that writes; they are flagged with the reason, and not answered.
        tokens, truncated_tokens, truncated_rows: what the model read, and what it could not.
        cut: how much that is, as a person reads it.
        columns: the names of the added columns.
        out: the file written, if one was.
        seconds: time spent answering and writing.
        answers: the rows themselves, where nothing was written.
    """

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    unread: int = 0
    tokens: int = 0
    truncated_tokens: int = 0
    truncated_rows: int = 0
    cut: str = ""
    columns: list[str] = field(default_factory=list)
    out: Path | None = None
    seconds: float = 0.0
    answers: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "labels": dict(self.labels.most_common()),
            "empty": self.empty,
            "unread": self.unread,
            "tokens": self.tokens,
            "truncated_tokens": self.truncated_tokens,
            "truncated_rows": self.truncated_rows,
            "columns": self.columns,
            "out": None if self.out is None else str(self.out),
            "seconds": round(self.seconds, 3),
            **({"predictions": self.answers} if self.answers else {}),
        }

    def text(self) -> str:
        """The answers as JSON lines where they were kept, else the outcome in a few plain lines."""
        if self.out is None and self.answers:
            return "\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in self.answers)
        return self.summary()

    def summary(self) -> str:
        """The outcome in a few plain lines."""
        lines = [f"{_rows_said(self.rows - self.unread)} answered" + (f", written to {self.out}" if self.out else "")]
        answered = max(1, self.rows - self.unread)
        shares = [f"{label} {count / answered:.0%}" for label, count in self.labels.most_common(8)]
        lines.append("labels: " + ", ".join(shares) + (", …" if len(self.labels) > 8 else ""))
        if self.truncated_rows:
            said = f"{_rows_said(self.truncated_rows)} longer than the model reads"
            lines.append(f"{said}: {self.cut or f'{self.truncated_tokens:,} tokens'} cut off")
        if self.unread:
            lines.append(f"{_rows_said(self.unread)} that cannot be asked, flagged with the reason and not answered")
        if self.empty:
            lines.append(
                f"{_rows_said(self.empty)} without text, flagged empty: what the model says of nothing means nothing"
            )
        return "\n".join(lines)


def predict(
    folder: str | Path,
    source: Any,
    *,
    out: str | Path | TextIO | None = None,
    scores: bool = False,
    device: str | None = None,
    code: Sequence[str] = (),
    predictor: Any = None,
    listen: Listen = quiet,
) -> Predicted:
    """Answer every row of a source.

    Args:
        folder: a run folder or a model folder.
        source: a file, a folder, a table of a database, or a list of these; `-` or a binary stream for lines; a table in memory.
        out: a .csv, .tsv, .jsonl or .parquet file, or a text stream for JSON lines; None keeps the answers in memory.
        scores: also write the probability of every label.
        device: where the model runs; the CPU when None.
        code: plug-in files the model was made with.
        predictor: an open model instead of the folder's.
        listen: told of the progress.

    Raises:
        UsageError: a file is missing, a column is missing, or the ending of `out` is unknown.
        DataError: a row cannot be read.
    """
    from septet.model.predictor import Predictor

    _check_out(source, out)
    model = predictor or Predictor.load(folder, device, code)
    rows, columns, total = _rows(source, model.task, listen=listen)
    names = _added(columns, ADDED[model.task.answers_with], scores=scores)
    found = Predicted(columns=list(names.values()), out=Path(out) if isinstance(out, (str, Path)) else None)
    started = time.perf_counter()
    with _writer(out, found) as writer:
        for chunk in _chunks(rows):
            writer.write(_answered(chunk, model, names=names, found=found))
            listen("progress", what="predict", done=found.rows, total=total)
    found.seconds = time.perf_counter() - started
    for line in found.summary().split("\n")[2:]:
        listen("note", text=line)
    return found


def source_rows(source: Any, task: Any) -> list[dict[str, str]]:
    """Return the rows of a source with the model's text columns only, ready to be answered.

    Raises:
        DataError: a value is no text.
    """
    rows, _, _ = _texts(source, task.fields)
    return [_of_columns(row, task) for row in rows]


def _asked(row: dict[str, Any], task: Any) -> tuple[Any, str]:
    """Return a row with the model's columns only, ready to be answered, or None and why it cannot be."""
    if not task.input.varies:
        address = row.pop(ADDRESS)
        try:
            media.KINDS[task.schema.media].read_whole(address)
        except Unreadable as error:
            return None, str(error)
        return {task.texts[0]: address}, ""
    try:
        if task.answers_with == "choices":
            return _of_columns(row, task), ""
        return task.parse({column: row.get(column) for column in task.texts}, "the row"), ""
    except DataError as error:
        return None, error.reason


def _of_columns(row: dict[str, Any], task: Any) -> dict[str, str]:
    """Return the texts of a row, or the one text that several columns make."""
    if task.schema.members:
        return task.parse(row, "the row")
    return {column: _as_text(row.get(column)) for column in task.texts}


# ---- answering ----


def _answered(
    chunk: list[dict[str, Any]], model: Any, *, names: dict[str, str], found: Predicted
) -> list[dict[str, Any]]:
    asked = [_asked(row, model.task) for row in chunk]
    predictions = iter(model.predict([given for given, _ in asked if given is not None]))
    answered = []
    for row, (given, refused) in zip(chunk, asked, strict=True):
        if given is None:
            answered.append({**row, **{name: refused if key == "flag" else None for key, name in names.items()}})
            found.unread += 1
            continue
        prediction = next(predictions)
        empty = not any(value.strip() if isinstance(value, str) else value for value in given.values())
        flags = ["empty"] if empty else []
        if prediction.truncated:
            flags.append(f"{cut_off(model.task, prediction.truncated)} cut off")
        if not prediction.ended:
            flags.append(f"not finished after {prediction.written} tokens")
        values = {**prediction.to_json(), "flag": ", ".join(flags)}
        answered.append({**row, **{name: values.get(key) for key, name in names.items()}})
        found.labels[prediction.label] += 1
        found.empty += empty
        found.tokens += prediction.tokens
        found.truncated_tokens += prediction.truncated
        found.truncated_rows += prediction.truncated > 0
    found.rows += len(answered)
    found.cut = cut_off(model.task, found.truncated_tokens)
    return answered


def _added(columns: Iterable[str], added: Sequence[str], *, scores: bool) -> dict[str, str]:
    taken = set(columns)
    wanted = (*added, "scores") if scores else added
    names = {}
    for key in wanted:
        name = key if key not in taken else f"predicted_{key}"
        while name in taken:
            name = f"{name}_"
        names[key] = name
    return names


def _rows_said(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


@contextlib.contextmanager
def _writer(out: str | Path | TextIO | None, found: Predicted) -> Iterator[Writer]:
    if out is None:
        yield _Kept(found.answers)
        return
    with open_writer(out) as writer:
        yield writer


class _Kept:
    """Keeps the answers in memory."""

    def __init__(self, answers: list[dict[str, Any]]):
        self._answers = answers

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._answers.extend(rows)


def _check_out(source: Any, out: Any) -> None:
    if (
        isinstance(out, (str, Path))
        and isinstance(source, (str, Path))
        and Path(out).resolve() == Path(source).resolve()
    ):
        raise UsageError(
            "The answers would overwrite the rows they answer.", received=str(out), hint="another name: -o answers.csv"
        )


# ---- reading ----


def _rows(source: Any, task: Any, *, listen: Listen = quiet) -> tuple[Iterable[dict[str, Any]], list[str], int | None]:
    """Return the rows, the names of their columns, and their number where it is known; pictures and recordings as their paths."""
    if task.input.varies:
        return _texts(source, task.fields, listen=listen)
    (column,) = task.texts
    table = _files(source, column, task.schema.media)
    for found in table.findings:
        listen("finding", finding=found)
    names = list(table.columns)
    table.columns[ADDRESS] = media.addresses(table, column, task.schema.media)
    return table.rows(), names, len(table)


def _files(source: Any, column: str, kind: str) -> Table:
    """Return the table of one picture or recording, of a folder of them, or of a table that names them."""
    if source == STDIN if isinstance(source, str) else hasattr(source, "readline"):
        raise UsageError(
            f"{kind.capitalize()}s are not read from standard input.",
            hint=f"a {kind}, a folder, or a table with paths",
        )
    path = Path(source).expanduser() if isinstance(source, (str, Path)) else None
    if path is not None and path.suffix.lower() in ENDINGS[kind] and (path.is_file() or in_archive(path)):
        return Table({column: [str(source)]}, [Part(kind, 0)])
    if path is not None and media.is_folder(path):
        table = media.folder(path, kind, labelled=False)
        return replace(table, columns={column: next(iter(table.columns.values()))})
    table = read(source)
    require_columns(list(table.columns), {column: "which the model reads"}, where=table.name)
    return table


def _texts(
    source: Any, texts: list[str], *, listen: Listen = quiet
) -> tuple[Iterable[dict[str, Any]], list[str], int | None]:
    """Return the rows, the names of their columns, and their number where it is known."""
    if source == STDIN if isinstance(source, str) else hasattr(source, "readline"):
        return _lines(_stdin() if isinstance(source, str) else source, texts, where="standard input")
    if isinstance(source, (str, Path)) and _is_plain_text(Path(source), texts):
        return _lines(io.BytesIO(Path(source).read_bytes()), texts, where=str(source))
    table = read(source)
    for found in table.findings:
        listen("finding", finding=found)
    require_columns(list(table.columns), dict.fromkeys(texts, "which the model reads"), where=table.name)
    names = list(table.columns)
    rows = (dict(zip(names, values, strict=True)) for values in zip(*table.columns.values(), strict=True))
    return rows, names, len(table)


def _stdin() -> BinaryIO:
    import sys

    return sys.stdin.buffer


def _is_plain_text(path: Path, texts: list[str]) -> bool:
    """Whether a .txt file holds one text a line, and no table that has the model's columns."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.readline(1 << 16).decode("utf-8", "replace").lstrip("\ufeff")
    return not set(texts) <= {cell.strip().strip('"') for separator in ",;\t|" for cell in header.split(separator)}


def _lines(stream: BinaryIO, texts: list[str], *, where: str) -> tuple[Iterable[dict[str, Any]], list[str], None]:
    first = _decoded(stream.readline(LONGEST_LINE + 1), 1, where=where).lstrip("\ufeff")
    if not first:
        raise DataError("There is no row to answer.", where=where)
    lines = _numbered(stream, first, where=where)
    head = _object(first)
    if head is not None:
        return _objects(lines, texts, where=where), list(head), None
    if len(texts) > 1:
        hint = "one JSON object a line: " + json.dumps(dict.fromkeys(texts, "…"), ensure_ascii=False)
        raise UsageError(
            f"The model reads {' and '.join(texts)}; a line of plain text has only one.", where=where, hint=hint
        )
    return ({texts[0]: line} for _, line in lines), [texts[0]], None


def _numbered(stream: BinaryIO, first: str, *, where: str) -> Iterator[tuple[int, str]]:
    yield 1, first.rstrip("\r\n")
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 2):
        yield number, _decoded(line, number, where=where).rstrip("\r\n")


def _objects(lines: Iterable[tuple[int, str]], texts: list[str], *, where: str) -> Iterator[dict[str, Any]]:
    for number, line in lines:
        if not line.strip():
            continue
        row = _object(line)
        if row is None:
            raise DataError(
                "The first line is a JSON object, and this one is not.", where=f"{where} line {number}", received=line
            )
        missing = [column for column in texts if column not in row]
        if missing:
            raise DataError(
                f"There is no {missing[0]!r}, which the model reads.",
                where=f"{where} line {number}",
                received=sorted(row),
            )
        yield row


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(line: bytes, number: int, *, where: str) -> str:
    if len(line) > LONGEST_LINE:
        raise DataError(f"A line is longer than {LONGEST_LINE >> 20} MiB; no text is.", where=f"{where} line {number}")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Byte 0x{line[error.start]:02x} is not valid utf-8.", where=f"{where} line {number}") from None
