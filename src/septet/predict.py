"""Answer a file, a table or a stream of lines with a trained model; order kept, nothing dropped.

`predict("runs/x", "new.csv", out="answers.csv")` writes the rows with their columns and, after them, `label`, `score`
and `flag` (what is odd about the row: empty text, tokens cut off); where the task writes texts, `answer` and `flag`. A column that already has such a name stays, and
ours is called `predicted_label` beside it. Answers are computed and written in chunks.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from septet.data import media
from septet.data.address import Unreadable
from septet.data.files import ENDINGS, in_archive
from septet.data.lines import read_lines
from septet.data.read import read
from septet.data.table import Part, Table, require_columns
from septet.data.write import Writer, open_writer, part_of
from septet.errors import DataError, SeptetError, UsageError
from septet.inputs import cut_off
from septet.interrupt import Interrupted, given_up, held
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.recipe.data import counted

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
    skip: int = 0,
    device: str | None = None,
    code: Sequence[str] = (),
    predictor: Any = None,
    listen: Listen = quiet,
) -> Predicted:
    """Answer every row of a source.

    A signal that is heard (`septet/interrupt.py`) leaves the rows that were written, of a file under `part_of` its name.

    Args:
        folder: a run folder or a model folder.
        source: a file, a folder, a table of a database, or a list of these; `-` or a binary stream for lines; a table in memory.
        out: a .csv, .tsv, .jsonl or .parquet file, or a text stream for JSON lines; None keeps the answers in memory.
        scores: also write the probability of every label.
        skip: leave out so many rows at the beginning.
        device: where the model runs; None: on a GPU that has room, else on the CPU.
        code: plug-in files the model was made with.
        predictor: an open model instead of the folder's.
        listen: told of the progress.

    Raises:
        UsageError: a file is missing, a column is missing, `skip` leaves no row, or the ending of `out` is unknown.
        DataError: a row cannot be read.
        Interrupted: a signal came; it says what is kept and how to go on.
    """
    from septet.model.predictor import Predictor

    _check_out(folder, source, out)
    model = predictor or Predictor.load(folder, device, code)
    rows, columns, total = _rows(source, model.task, listen=listen)
    names = _added(columns, ADDED[model.task.answers_with], scores=scores)
    found = Predicted(columns=list(names.values()), out=Path(out) if isinstance(out, (str, Path)) else None)
    if total is not None and 0 < total <= skip:
        raise UsageError(f"There are only {_rows_said(total)}.", received=f"--skip {skip}")
    started = time.perf_counter()
    chunks = _chunks(islice(rows, skip, None))
    written, whole = 0, False
    try:
        with held():
            with _writer(out, found) as writer:
                while answered := _next(chunks, model, names=names, found=found):
                    writer.write(answered)
                    written += len(answered)
                    listen("progress", what="predict", done=skip + written, total=total)
            whole = True
    except Interrupted as stop:
        if not whole:
            _tell_kept(stop, written, skip, out)
            raise
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


def _next(
    chunks: Iterator[list[dict[str, Any]]], model: Any, *, names: dict[str, str], found: Predicted
) -> list[dict[str, Any]]:
    """Return the answers of the next chunk, which a signal may stop as nothing is half written; none behind the last."""
    with given_up():
        chunk = next(chunks, [])
        return _answered(chunk, model, names=names, found=found) if chunk else []


def _tell_kept(stop: Interrupted, written: int, skip: int, out: Any) -> None:
    """Let an interruption say which answers are there, and how to get the rest."""
    if not written or out is None or stop.at_once:
        return
    stop.kept = f"{_rows_said(written)} answered"
    stop.goes_on = {"--skip": str(skip + written)}
    if isinstance(out, (str, Path)):
        path = Path(out)
        stop.kept += f", kept in {part_of(path)}"
        first = re.sub(r"\.from-\d+$", "", path.stem)
        stop.goes_on["-o"] = str(path.with_name(f"{first}.from-{skip + written}{path.suffix}"))


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
    with open_writer(out, keeps=lambda error: isinstance(error, Interrupted) and not error.at_once) as writer:
        yield writer


class _Kept:
    """Keeps the answers in memory."""

    def __init__(self, answers: list[dict[str, Any]]):
        self._answers = answers

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._answers.extend(rows)


def _check_out(folder: str | Path, source: Any, out: Any) -> None:
    if (
        isinstance(out, (str, Path))
        and isinstance(source, (str, Path))
        and Path(out).resolve() == Path(source).resolve()
    ):
        raise UsageError(
            "The answers would overwrite the rows they answer.", received=str(out), hint="another name: -o answers.csv"
        )
    if isinstance(out, (str, Path)) and Path(out).resolve() in _own_rows(Path(folder) / "recipe.yaml"):
        raise UsageError(
            "The answers would overwrite rows that the model learned from or is scored on.",
            received=str(out),
            hint="another name: -o answers.csv",
        )


def _own_rows(given: Path) -> set[Path]:
    """Return the files that a run's recipe reads; none where there is no recipe, or one that is not understood here."""
    try:
        recipe = Recipe.load(given)
        names = [name for split in ("train", "validation", "test") for name in recipe.data.files(split)]
        return {recipe.path(counted(name)[0]).resolve() for name in names if "://" not in name}
    except SeptetError:
        return set()


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
        return read_lines(_stdin() if isinstance(source, str) else source, texts, where="standard input")
    if isinstance(source, (str, Path)) and _is_plain_text(Path(source), texts):
        return read_lines(io.BytesIO(Path(source).read_bytes()), texts, where=str(source))
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
