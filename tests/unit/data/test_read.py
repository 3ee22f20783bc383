"""Readers: every value as written; every error names the file and the line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data import delimited, files
from septet.data.read import Reading, read
from septet.errors import DataError, RecipeError, UsageError


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


# ---- CSV and TSV ----


def test_words_that_look_missing_stay_text(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\nNA,null\nNone,nan\n"",NULL\n')
    assert read(path).columns == {"text": ["NA", "None", ""], "label": ["null", "nan", "NULL"]}


def test_numbers_stay_as_written(tmp_path):
    assert read(write(tmp_path / "a.csv", "text,label\n007,1.0\n1e5,true\n")).columns == {
        "text": ["007", "1e5"],
        "label": ["1.0", "true"],
    }


def test_quoted_newline_delimiter_and_quote(tmp_path):
    table = read(write(tmp_path / "a.csv", 'text,label\n"one\ntwo, ""three""",x\nlast,y\n'))
    assert table.columns["text"] == ['one\ntwo, "three"', "last"]
    assert table.where(0).endswith("a.csv line 2")
    assert table.where(1).endswith("a.csv line 4")


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    assert read(write(tmp_path / "a.csv", b"\xef\xbb\xbftext,label\r\nhi,x\r\n\r\nyo,y\r\n")).columns == {
        "text": ["hi", "yo"],
        "label": ["x", "y"],
    }


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_is_detected_where_the_header_has_no_comma(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", f"text{delimiter}label\nhi, there{delimiter}x\n")
    assert read(path).columns == {"text": ["hi, there"], "label": ["x"]}


def test_delimiter_from_the_recipe(tmp_path):
    assert read(write(tmp_path / "a.csv", "text,a:label\nhi:x\n"), reading=Reading(delimiter=":")).columns == {
        "text,a": ["hi"],
        "label": ["x"],
    }


def test_tsv_keeps_stray_quotes_and_unquotes_whole_fields(tmp_path):
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Oh" she said\tx\n"quoted ""whole"""\ty\n5" pipe\t"z"\n')
    assert read(path).columns == {"text": ['"Oh" she said', 'quoted "whole"', '5" pipe'], "label": ["x", "y", "z"]}


def test_tsv_with_a_quoted_newline(tmp_path):
    assert read(write(tmp_path / "a.tsv", 'text\tlabel\n"one\ntwo"\tx\n')).columns["text"] == ["one\ntwo"]


def test_columns_without_a_name_are_left_out(tmp_path):
    assert list(read(write(tmp_path / "a.csv", ",text,label,\n0,hi,x,\n")).columns) == ["text", "label"]


def test_long_field(tmp_path):
    assert len(read(write(tmp_path / "a.csv", f"text,label\n{'w' * 300_000},x\n")).columns["text"][0]) == 300_000


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)] * 3),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=150, deadline=None)
def test_equals_the_csv_module_on_any_quoted_content(table):
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b", "c"), *table])
    columns, lines = delimited.parse(out.getvalue(), "x.csv", dialect=delimited.Dialect())
    assert list(zip(*columns.values(), strict=True)) == table
    assert len(lines) == len(table)


def test_equals_the_csv_module_with_minimal_quotes():
    rng = random.Random(0)
    rows = [
        ["".join(rng.choices(string.ascii_letters + ' ,"\n;é😀', k=rng.randint(1, 30))) for _ in range(3)]
        for _ in range(500)
    ]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["a", "b", "c"], *rows])
    columns, _ = delimited.parse(out.getvalue(), "x.csv")
    assert (
        [list(row) for row in zip(*columns.values(), strict=True)]
        == list(csv.reader(io.StringIO(out.getvalue(), newline="")))[1:]
        == rows
    )


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("text,label\na,x\nb,y,z\nc,x\nd\n", 3, ["3 fields", "header has 2", "text, label", "1 more rows", "line 5"]),
        ("text,label\n\nb\n", 3, ["1 field,"]),
        ("text,label,text\na,x,b\n", 1, ["names a column twice", "text"]),
        ("text,label\na,x\nb\0c,y\n", 3, ["NUL"]),
        ('text,label\na,x\n"never closed,y\nmore,z\n', 3, ["never closed"]),
        ('text,label\n"one "two" three",y\n', 2, ["do not match"]),
        ("", None, ["empty"]),
        ("\n \n", None, ["empty"]),
        ("text,label\n", None, ["no rows"]),
        (b"text,label\na,x\ncaf\xe9,y\n", 3, ["0xe9", "utf-8", 'cp1252 reads "café,y"']),
        ("text,label\na,x\n".encode("utf-16")[:-1], 2, ["cut short"]),
        (b"PK\x03\x04rest of a zip", None, ["zip"]),
    ],
)
def test_a_broken_csv_is_named(tmp_path, content, line, words):
    path = write(tmp_path / "broken.csv", content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert "broken.csv" + (f" line {line}" if line else "") in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_open_quote_that_swallows_rows_is_hinted_at(tmp_path):
    with pytest.raises(DataError, match="a quote seems to be open"):
        read(write(tmp_path / "a.csv", 'text,label\n"open,x\nb,y\nc",d,z\n'))


def test_other_encodings(tmp_path):
    assert read(
        write(tmp_path / "a.csv", "text,label\ncafé,x\n", "latin-1"), reading=Reading(encoding="latin-1")
    ).columns["text"] == ["café"]
    assert read(
        write(tmp_path / "b.csv", "text,label\ncafé,x\n", "utf-16"), reading=Reading(encoding="utf-16")
    ).columns["text"] == ["café"]


# ---- JSON ----


def test_json_lines_keep_text_and_know_their_lines(tmp_path):
    table = read(write(tmp_path / "a.jsonl", '{"text": "NaN", "label": 1}\n\n{"text": "a\u2028b", "extra": null}\n'))
    assert table.columns == {"text": ["NaN", "a\u2028b"], "label": [1, None], "extra": [None, None]}
    assert table.where(1).endswith("a.jsonl line 3")


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
        {"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "version": 1},
        {"text": ["a", "b"], "label": ["x", "y"]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}},
    ],
)
def test_layouts_of_json(tmp_path, value):
    assert read(write(tmp_path / "a.json", json.dumps(value, indent=1))).columns == {
        "text": ["a", "b"],
        "label": ["x", "y"],
    }


def test_json_lines_under_the_name_json(tmp_path):
    assert len(read(write(tmp_path / "a.json", '{"text": "a"}\n{"text": "b"}\n'))) == 2


@pytest.mark.parametrize(
    ("name", "content", "place", "words"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b",}\n', "line 2", ["Invalid JSON", "column 14"]),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2", ["must be an object"]),
        ("a.jsonl", "[" * 100_000, "line 1", ["nested too deeply"]),
        ("a.json", '[{"text": "a"},\n {"text": }]', "line 2", ["Invalid JSON", "column 11"]),
        ("a.json", '[{"text": "a"}, 3]', "row 2", ["must be an object"]),
        ("a.json", "[" * 100_000, "a.json", ["nested too deeply"]),
        ("a.json", '"text"', "a.json", ["no table"]),
        ("a.json", "[]", "a.json", ["no rows"]),
        ("a.json", '{"text": ["a"], "label": []}', "a.json", ["different lengths"]),
    ],
)
def test_broken_json_is_named(tmp_path, name, content, place, words):
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / name, content))
    assert place in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# ---- Parquet, gzip, folders ----


def test_parquet_and_its_class_names(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {
        "info": {
            "features": {
                "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
                "text": {"dtype": "string", "_type": "Value"},
            }
        }
    }
    table = pa.table({"text": ["NA", None], "label": [1, -1], "n": [1.5, 2.5]}).replace_schema_metadata(
        {"huggingface": json.dumps(features)}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").columns == {"text": ["NA", None], "label": ["pos", None], "n": [1.5, 2.5]}
    assert list(read(tmp_path / "a.parquet", columns={"text": "task.text"}).columns) == ["text"]
    with pytest.raises(DataError, match="damaged or not Parquet"):
        read(write(tmp_path / "b.parquet", (tmp_path / "a.parquet").read_bytes()[:200]))


def test_gzip_by_content_not_by_name(tmp_path):
    packed = gzip.compress(b"text,label\nhi,x\n")
    assert read(write(tmp_path / "a.csv.gz", packed)).columns["text"] == ["hi"]
    assert read(write(tmp_path / "a.csv", packed)).columns["text"] == ["hi"]
    assert read(write(tmp_path / "b.csv.gz", "text,label\nhi,x\n")).columns["text"] == ["hi"]


def zstd(raw: bytes) -> bytes:
    import pyarrow as pa

    with pa.CompressedOutputStream(
        sink := pa.BufferOutputStream(), "zstd"
    ) as stream:  # of unknown size, as a pipe writes it
        stream.write(raw)
    return sink.getvalue().to_pybytes()


PACKERS = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd}
CSV = b"text,label\nhi,x\n"


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_tables_of_every_text_format(tmp_path, ending):
    pack = PACKERS[ending]
    for name, content in {
        "a.csv": CSV,
        "a.TSV": b"text\tlabel\nhi\tx\n",
        "a.jsonl": b'{"text": "hi", "label": "x"}\n',
        "a.json": b'[{"text": "hi", "label": "x"}]',
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        write(folder / f"{name}.{ending}", pack(content))
        assert read(folder).columns == {"text": ["hi"], "label": ["x"]}
    assert read(write(tmp_path / "b.csv", pack(CSV))).columns["text"] == ["hi"]
    assert read(write(tmp_path / f"b.csv.{ending}", CSV)).columns["text"] == ["hi"]


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_parts_one_after_the_other_are_all_read(tmp_path, ending):
    pack = PACKERS[ending]
    packed = pack(CSV) + pack(b"yo,y\n")
    assert read(write(tmp_path / f"a.csv.{ending}", packed)).columns["text"] == ["hi", "yo"]
    for damaged in (packed[:-3], packed[: len(pack(CSV)) + 3], packed + b"more"):
        with pytest.raises(DataError, match=rf"damaged or cut short[\s\S]*a\.csv\.{ending}"):
            read(write(tmp_path / f"a.csv.{ending}", damaged))


@pytest.mark.parametrize("ending", PACKERS)
def test_damaged_and_empty_packed_files(tmp_path, ending):
    rng = random.Random(0)
    words = "".join(f"{rng.random()},x\n" for _ in range(20_000)).encode()
    packed = bytearray(PACKERS[ending](b"text,label\n" + words))
    assert len(read(write(tmp_path / f"a.csv.{ending}", bytes(packed)))) == 20_000
    for damaged in (packed[:-12], packed[: len(packed) // 2], packed[:8]):
        with pytest.raises(DataError, match=rf"damaged or cut short[\s\S]*b\.csv\.{ending}"):
            read(write(tmp_path / f"b.csv.{ending}", bytes(damaged)))
    with pytest.raises(DataError, match="empty"):
        read(write(tmp_path / f"c.csv.{ending}", PACKERS[ending](b"")))


@pytest.mark.parametrize("ending", PACKERS)
def test_a_flipped_bit_is_found(tmp_path, ending):
    packed = bytearray(PACKERS[ending](CSV))
    if ending == "zst":  # Arrow writes no checksum; this is of the command `zstd`
        packed = bytearray(bytes.fromhex("28b52ffd0458810000746578742c6c6162656c0a68692c780aafe3ba69"))
    assert read(write(tmp_path / f"a.csv.{ending}", bytes(packed))).columns["text"] == ["hi"]
    packed[-9 if ending == "zst" else len(packed) // 2] ^= 1
    with pytest.raises(DataError, match=rf"damaged[\s\S]*a\.csv\.{ending}"):
        read(write(tmp_path / f"a.csv.{ending}", bytes(packed)))


@pytest.mark.parametrize("ending", PACKERS)
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, ending):
    unpacked = []
    monkeypatch.setattr(files, "FREE_BYTES", 100_000)
    monkeypatch.setattr(files, "CHUNK", 50_000)
    unpack = {name: getattr(files, name) for name in ("_unxz", "_unstream")}

    def watched(name):
        def chunks(*args):
            for chunk in unpack[name](*args):
                unpacked.append(len(chunk))
                yield chunk

        return chunks

    for name in unpack:
        monkeypatch.setattr(files, name, watched(name))
    bomb = PACKERS[ending](b"text,label\n" + b"x" * 20_000_000)
    with pytest.raises(DataError, match=rf"unpacks to more than 200 times[\s\S]*b\.csv\.{ending}"):
        read(write(tmp_path / f"b.csv.{ending}", bomb))
    assert max(unpacked) <= 50_000
    assert sum(unpacked) <= max(100_000, 200 * len(bomb)) + 50_000


def test_a_folder_is_read_sorted_and_a_list_in_its_order(tmp_path):
    write(tmp_path / "b.csv", "text,label\n2,x\n")
    write(tmp_path / "a.jsonl", '{"text": "1", "label": "x", "more": 5}\n')
    write(tmp_path / ".hidden.csv", "broken")
    write(tmp_path / "notes.txt", "not a table")
    table = read(tmp_path)
    assert table.columns == {"text": ["1", "2"], "label": ["x", "x"], "more": [5, None]}
    assert table.where(1).endswith("b.csv line 2")
    assert read([tmp_path / "b.csv", tmp_path / "a.jsonl"]).columns["text"] == ["2", "1"]
    assert read(str(tmp_path / "*.csv")).columns["text"] == ["2"]


def test_a_folder_of_several_splits_is_refused(tmp_path):
    for name in ("train.csv", "test.csv"):
        write(tmp_path / name, "text,label\nhi,x\n")
    with pytest.raises(RecipeError, match="several splits"):
        read(tmp_path)


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "tickets.csv", "text,label\nhi,x\n")
    with pytest.raises(UsageError, match=r"tickets\.csv"):
        read(tmp_path / "tikets.csv")
    with pytest.raises(UsageError, match="nor its folder"):
        read(tmp_path / "no" / "tickets.csv")


def test_what_is_not_read_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"data\.hub"):
        read("https://example.com/a.csv")
    with pytest.raises(RecipeError, match=r"data\.format"):
        read(write(tmp_path / "a.data", "text\nhi\n"))
    assert read(tmp_path / "a.data", reading=Reading(format="csv")).columns == {"text": ["hi"]}


def test_a_missing_column_lists_those_there_are(tmp_path):
    write(tmp_path / "a.csv", "texts,label\nhi,x\n")
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "a.csv", columns={"text": "task.text", "label": "task.label"})
    assert "task.text" in str(caught.value)
    assert "texts, label" in str(caught.value)
    assert "did you mean texts" in str(caught.value)
