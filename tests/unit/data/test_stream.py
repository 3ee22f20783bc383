"""Large files in pieces: the same rows, lines and hash as whole; what is odd is told as whole files tell it; pipes are read once."""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from septet.data import files, stream
from septet.data import read as reader
from septet.data.read import Reading, read
from septet.errors import DataError, RecipeError
from septet.prepare import prepare
from septet.run import Run

USED = {"text": "task.text", "label": "task.label"}


@pytest.fixture
def large(monkeypatch):
    """Every file is large, and a piece is seven bytes."""
    monkeypatch.setattr(stream, "LARGE", 1)
    monkeypatch.setattr(stream, "CHUNK", 7)
    monkeypatch.setattr(files, "CHUNK", 7)


def both(path, monkeypatch, reading=None):
    """Return the table in pieces and as a whole, with the columns in use."""
    pieces = read(path, columns=USED, reading=reading)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "is_large", lambda path: False)
        whole = read(path, columns=USED, reading=reading)
    return pieces, whole


def check(pieces, whole):
    assert list(pieces.columns) == list(USED)
    assert pieces.columns == {name: whole.columns[name] for name in USED}
    assert [pieces.where(i) for i in range(len(pieces))] == [whole.where(i) for i in range(len(whole))]
    assert pieces.stamps == whole.stamps


LINES = '\ufeff{"text": "é😀", "label": "x", "n": 1}\r\n\n \n{"label": "y"}\n{"text": null, "label": "z", "m": [1]}'
TABLE = '\ufefftext,n,label\r\n"one\ntwo, ""three""",1,x\n\né😀,2,\r\nNA,3,null'


@pytest.mark.parametrize("packed", ["", ".gz", ".xz", ".zst"])
@pytest.mark.parametrize(("name", "content", "left"), [("a.jsonl", LINES, ["n", "m"]), ("a.csv", TABLE, ["n"])])
def test_the_same_table_less_what_no_one_uses(tmp_path, large, monkeypatch, name, content, left, packed):
    path = tmp_path / f"{name}{packed}"
    raw = content.encode()
    if packed == ".zst":
        raw = pa.compress(raw, "zstd", asbytes=True) if False else pa.Codec("zstd").compress(raw, asbytes=True)
    elif packed:
        raw = __import__({".gz": "gzip", ".xz": "lzma"}[packed]).compress(raw)
    path.write_bytes(raw)
    pieces, whole = both(path, monkeypatch)
    check(pieces, whole)
    (found,) = pieces.findings
    assert (found.slug, found.level, found.evidence["columns"]) == ("read-in-pieces", "note", left)


def test_parquet_by_its_row_groups(tmp_path, large, monkeypatch):
    table = pa.table({"text": [str(i) for i in range(50)], "n": list(range(50)), "label": ["a", None] * 25})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=9)
    monkeypatch.setattr("septet.data.parquet.BATCH", 4)
    monkeypatch.setattr(reader, "read_bytes", None)  # the file is not read as a whole
    assert read(tmp_path / "a.parquet", columns=USED).columns == table.select(list(USED)).to_pydict()


@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)] * 2),
        min_size=1,
        max_size=6,
    ),
    size=st.integers(1, 40),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_cut_anywhere(tmp_path, monkeypatch, rows, size):
    lines = "".join(json.dumps({"text": a, "label": b}, ensure_ascii=False) + "\n" for a, b in rows)
    (tmp_path / "a.jsonl").write_bytes(lines.encode())
    quoted = [[f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row] for row in [("text", "label"), *rows]]
    (tmp_path / "a.csv").write_bytes("".join(",".join(row) + "\n" for row in quoted).encode())
    with monkeypatch.context() as patch:
        patch.setattr(stream, "LARGE", 1)
        patch.setattr(stream, "CHUNK", size)
        for name in ("a.jsonl", "a.csv"):
            check(*both(tmp_path / name, patch))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "a", "label": "b"}\n{"text"\n', "line 2"),
        ("a.jsonl", b'{"text": "a"}\n', "no column 'label'"),
        ("a.jsonl", b'{"text": "caf\xe9", "label": "b"}\n', "0xe9"),
        ("a.jsonl", b"\n\n", "empty"),
        ("a.csv", b"text,label\na,x\nb,y,z\n", "line 3"),
        ("a.csv", b"text,label,text\na,x,b\n", "twice"),
        ("a.csv", b"text,label\na,\0\n", "NUL"),
        ("a.csv", b'text,label\n"a,x\n', "never closed"),
        ("a.csv", b"text,n\na,x\n", "no column 'label'"),
        ("a.csv.gz", gzip.compress(b"text,label\n" + b"a,x\n" * 99, mtime=0)[:-9], "cut short"),
        ("a.parquet", b"PAR1 and no more", "not Parquet"),
    ],
)
def test_what_is_odd_is_told_as_ever(tmp_path, large, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, RecipeError)) as caught:
        read(tmp_path / name, columns=USED)
    assert words in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reading"),
    [
        (b"text\tlabel\na\tx\n", Reading("csv")),
        ("text,label\né,x\n".encode("latin-1"), Reading("csv", "latin-1")),
        (b'text,label\r"a\rb",x\r', Reading("csv")),
        (b'\n\ntext,label\n"a",x\n', Reading("csv")),
    ],
)
def test_what_cannot_be_read_in_pieces_is_read_whole(tmp_path, large, monkeypatch, content, reading):
    (tmp_path / "a.data").write_bytes(content)
    try:
        pieces, whole = both(tmp_path / "a.data", monkeypatch, reading)
    except DataError:
        pytest.skip("it cannot be read at all")
    assert pieces.columns == whole.columns and pieces.findings == whole.findings


def test_memory_holds_the_columns_in_use_and_not_the_file(tmp_path, monkeypatch):
    draw = random.Random(0)
    other = ["".join(draw.choices("abcdefgh ", k=2_000)) for _ in range(40)]
    with (tmp_path / "a.jsonl").open("w") as file:
        for i in range(4_000):
            file.write(json.dumps({"text": f"row {i}", "label": "x", "other": other[i % 40]}) + "\n")
    size = (tmp_path / "a.jsonl").stat().st_size
    peaks = []
    for limit in (1, size + 1):
        monkeypatch.setattr(stream, "LARGE", limit)
        tracemalloc.start()
        assert len(read(tmp_path / "a.jsonl", columns=USED)) == 4_000
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < size and peaks[1] > 2 * size


def test_prepare_is_the_same_and_says_what_it_left_out(tmp_path, recipe, rows, monkeypatch):
    lines = [json.dumps({**row, "id": i}) + "\n" for i, row in enumerate(rows(30))]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    made = recipe({"train": str(tmp_path / "a.jsonl"), "sample": {"train": 20}})
    whole = prepare(made, Run(tmp_path / "one" / "a"))
    monkeypatch.setattr(stream, "LARGE", 1)
    pieces = prepare(made, Run(tmp_path / "two" / "a"))
    assert [facts["sha256"] for facts in pieces.splits.values()] == [facts["sha256"] for facts in whole.splits.values()]
    assert "read-in-pieces" in {finding.slug for finding in pieces.findings}


def test_a_pipe_is_read_once_and_never_taken_for_unchanged(tmp_path, recipe, rows):
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    made = recipe({"train": str(pipe)})
    kept = []
    for number in (0, 1):
        text = "".join(json.dumps(row) + "\n" for row in rows(30, prefix=f"row {number}"))
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        kept.append(prepare(made, Run(tmp_path / "runs" / str(number))))
        writer.join()
    assert kept[0].path != kept[1].path
    assert kept[0].ledger["train"].read == 30
