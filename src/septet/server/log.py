"""The request log: one row an answered input, in SQLite, written by a thread of its own.

Serving never waits for it: `put` adds to a bounded queue and counts what does not fit; a full disk or a damaged file is
told once, counted, and tried again with the next batch. A row holds the input's hash and the model's answer with its
pooled embedding; the text itself only where it was asked for. `read` gives the rows back as arrays for `septet monitor`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from septet.errors import DataError, UsageError
from septet.tasks import Prediction, Row

MAX_ROWS = 1_000_000
QUEUE = 10_000
BATCH = 500
FLUSH_S = 0.2
PRUNE_EVERY = 20_000

_COLUMNS = {
    "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "time": "REAL NOT NULL",
    "model": "TEXT NOT NULL",
    "row_hash": "TEXT NOT NULL",
    "tokens": "INTEGER NOT NULL",
    "truncated": "INTEGER NOT NULL",
    "label": "TEXT NOT NULL",
    "score": "REAL",
    "scores": "TEXT",
    "embedding": "BLOB",
    "latency_s": "REAL NOT NULL",
    "text": "TEXT",
}
_CREATE = f"CREATE TABLE IF NOT EXISTS requests ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())})"
_NAMES = [name for name in _COLUMNS if name != "id"]
_INSERT = f"INSERT INTO requests ({', '.join(_NAMES)}) VALUES ({', '.join('?' for _ in _NAMES)})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Record:
    """One answered input, as it is queued for the log."""

    row: Row
    prediction: Prediction
    latency_s: float
    model: str
    time: float = field(default_factory=time.time)


class RequestLog:
    """Writes records in the background; every method returns at once but `close`.

    Args:
        path: the SQLite file; made with its folder, readable by its owner only.
        keep_text: also store the inputs' text.
        max_rows: the newest rows kept.
        wrote: called with the number of records written.
        dropped: called with a reason (`queue_full`, `write_failed`) and a number.
        tell: called once with one sentence when writing fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_text: bool = False,
        max_rows: int = MAX_ROWS,
        wrote: Callable[[int], Any],
        dropped: Callable[[str, int], Any],
        tell: Callable[[str], Any],
    ):
        self.path = path
        self._keep_text = keep_text
        self._max_rows = max_rows
        self._wrote = wrote
        self._dropped = dropped
        self._tell = tell
        self._told = False
        self._since_prune = 0
        self._queue: queue.Queue[Record | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._write_all, name="septet-log", daemon=True)

    def start(self) -> RequestLog:
        self._thread.start()
        return self

    def put(self, record: Record) -> None:
        """Queue a record; when the queue is full, count it as dropped."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped("queue_full", 1)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued and end the thread."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=timeout_s)
            self._thread.join(timeout_s)

    # ---- the writer's thread ----

    def _write_all(self) -> None:
        connection: sqlite3.Connection | None = None
        open_ended = True
        while open_ended:
            batch, open_ended = self._next_batch()
            if not batch:
                continue
            try:
                connection = connection or _open(self.path)
                self._write(connection, batch)
                self._wrote(len(batch))
            except (sqlite3.Error, OSError) as error:
                self._failed(len(batch), error)
                connection = _close(connection)
        _close(connection)

    def _next_batch(self) -> tuple[list[Record], bool]:
        batch: list[Record] = []
        until = None
        while len(batch) < BATCH:
            try:
                record = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if record is None:
                return batch, False
            batch.append(record)
            until = until or time.monotonic() + FLUSH_S
        return batch, True

    def _write(self, connection: sqlite3.Connection, batch: list[Record]) -> None:
        with connection:
            connection.executemany(_INSERT, [_values(record, self._keep_text) for record in batch])
            self._since_prune += len(batch)
            if self._since_prune >= min(PRUNE_EVERY, self._max_rows):
                self._since_prune = 0
                connection.execute(
                    "DELETE FROM requests WHERE id <= (SELECT max(id) FROM requests) - ?", (self._max_rows,)
                )

    def _failed(self, count: int, error: Exception) -> None:
        self._dropped("write_failed", count)
        if not self._told:
            self._told = True
            self._tell(f"Requests are not logged at {self.path}: {error}. Serving goes on; lost records are counted.")


# ---- reading ----


@dataclass(slots=True)
class Logged:
    """Rows of a request log, oldest first.

    Args:
        labels: the predicted label of each row.
        tokens: (N,) token counts before truncation.
        embeddings: (N, H) float32; NaN where a row has none.
        hashes: the inputs' hashes.
        texts: the inputs, None where they were not stored.
        models: the short hash of the model that answered.
    """

    labels: list[str]
    tokens: np.ndarray
    embeddings: np.ndarray
    hashes: list[str]
    texts: list[str | None]
    models: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def read(path: Path, *, last: int | None = None, model: str | None = None) -> Logged:
    """Return the newest rows of a log.

    Args:
        path: the SQLite file.
        last: how many at most; None is all.
        model: only rows that this model (short hash) answered.

    Raises:
        UsageError: there is no such file.
        DataError: it is not a request log, or it is damaged.
    """
    if not path.is_file():
        raise UsageError("There is no request log yet.", where=str(path), hint="septet serve DIR writes it")
    query = "SELECT label, tokens, truncated, embedding, row_hash, text, model FROM requests"
    values: list[Any] = []
    if model is not None:
        query, values = f"{query} WHERE model = ?", [model]
    query = f"{query} ORDER BY id DESC LIMIT ?"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, [*values, -1 if last is None else last]).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"The request log cannot be read: {error}.", where=str(path)) from error
    return _logged(rows[::-1])


def row_hash(row: Row) -> str:
    """Return the 64-bit hash of an input's content, in hexadecimal."""
    content = json.dumps({k: v for k, v in row.items() if not k.startswith("_")}, sort_keys=True, default=str)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _logged(rows: list[tuple[Any, ...]]) -> Logged:
    widths = [len(r[3]) // 2 for r in rows if r[3]]
    width = max(set(widths), key=widths.count) if widths else 0
    embeddings = np.full((len(rows), width), np.nan, np.float32)
    for i, row in enumerate(rows):
        if row[3] and len(row[3]) == 2 * width:
            embeddings[i] = np.frombuffer(row[3], np.float16)
    tokens = np.array([r[1] + r[2] for r in rows], np.int64)
    labels, hashes = [r[0] for r in rows], [r[4] for r in rows]
    return Logged(labels, tokens, embeddings, hashes, [r[5] for r in rows], [r[6] for r in rows])


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=5.0)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=4194304")
        connection.execute(_CREATE)
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _values(record: Record, keep_text: bool) -> tuple[Any, ...]:
    answer = record.prediction
    scores = answer.scores
    content = {k: v for k, v in record.row.items() if not k.startswith("_")}
    embedding = None if answer.embedding is None else np.asarray(answer.embedding, np.float16).tobytes()
    return (
        record.time,
        record.model,
        row_hash(record.row),
        answer.tokens,
        answer.truncated,
        answer.label,
        None if scores is None else scores.get(answer.value),
        None if scores is None else json.dumps(scores, ensure_ascii=False),
        embedding,
        record.latency_s,
        _text(content) if keep_text else None,
    )


def _text(content: dict[str, Any]) -> str:
    if len(content) == 1:
        return str(next(iter(content.values())))
    return json.dumps(content, ensure_ascii=False)
