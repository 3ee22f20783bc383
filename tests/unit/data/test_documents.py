"""Plain text as documents: where a file is cut, what a document keeps, and what is not asked of documents."""

from __future__ import annotations

import contextlib
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data import documents
from septet.data.held import read_on
from septet.data.read import Reading, read
from septet.data.schema import Schema, derived
from septet.errors import CheckError, DataError, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

PLAIN = Reading(plain=True)
WHOLE = {"split": {"validation": 0.0, "test": 0.0}}


def recipe(data: dict[str, Any], **task: Any) -> Recipe:
    return Recipe.load({"data": data, "task": {"name": "scribe"} | task, "model": "starter"})


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def novel(i: int) -> str:
    return f"Novel {i}\n\n  It was the night number {i}.\n"


@pytest.fixture
def made(scribe, tmp_path):
    """`made({"train": path}, task options…)` → prepared documents, whether or not a finding stops the run."""

    def make(data: dict[str, Any], **task: Any) -> Any:
        run = Run(tmp_path / "runs" / "one")
        with contextlib.suppress(CheckError):
            return prepare(recipe(data, **task), run)
        return run.read_json("data.json")

    return make


# ---- cuts ----


@pytest.mark.parametrize(
    ("cut", "text", "found"),
    [
        (None, "one\n\ntwo\n", {1: "one\n\ntwo"}),
        (None, "one\n\f\ntwo\nmore\n\f\n\n three", {1: "one", 3: "two\nmore", 7: " three"}),
        (None, "\n \none\n \f\f \ntwo\n\f\n", {3: "one", 5: "two"}),
        (None, "one\ftwo\nthree\n\f", {1: "one\ftwo\nthree"}),  # as pdftotext writes: one text
        (None, "\f\none\n", {2: "one"}),
        (None, "one\n\f two", {1: "one\n\f two"}),
        ("file", "\n\n  one \n\f\ntwo  \n\n", {3: "  one \n\f\ntwo  "}),
        ("page", "one\n\ftwo\n\f\n\f\nthree", {1: "one", 2: "two", 5: "three"}),
        ("paragraph", "\n\none\n  two\n \t\n\n\nthree \n\f\nfour\n\n", {3: "one\n  two", 8: "three ", 10: "four"}),
        ("line", "one\n\n  two \n \u3000\nthree", {1: "one", 3: "  two ", 5: "three"}),
        ("line", "a\u2028b\x0bc\x85d\n", {1: "a\u2028b\x0bc\x85d"}),
    ],
)
def test_where_a_text_is_cut(cut, text, found):
    columns, lines = documents.parse(text, cut)
    assert dict(zip(lines, columns["text"], strict=True)) == found
    assert list(columns) == ["text"]


def test_a_form_feed_inside_a_line_ends_a_page():
    columns, lines = documents.parse("one\fmore\n\ftwo", "page")
    assert (columns["text"], list(lines)) == (["one", "more", "two"], [1, 1, 2])


def test_line_ends_of_windows_become_those_of_unix():
    columns, lines = documents.parse("one\r\n\r\n\x0c\r\ntwo\r\nmore\r\n")
    assert columns == {"text": ["one", "two\nmore"]}
    assert list(lines) == [1, 4]


@given(
    st.text(st.sampled_from("ab \n\n\t\f\u2028\u3000"), max_size=40),
    st.sampled_from([None, "file", "line", "paragraph", "page"]),
)
@settings(max_examples=400, deadline=None)
def test_no_word_is_lost_and_every_line_is_right(text, cut):
    columns, lines = documents.parse(text, cut)
    assert [word for found in columns["text"] for word in found.split()] == text.split()
    written = text.split("\n")
    for found, line in zip(columns["text"], lines, strict=True):
        assert found.strip()
        assert found.split("\n")[0] in written[line - 1]
        assert found.split("\n")[0].strip()
        assert found.split("\n")[-1].strip()
    assert list(lines) == sorted(lines)


# ---- files ----


def test_a_txt_file_is_csv_unless_documents_are_read(tmp_path):
    path = write(tmp_path / "a.txt", "text,label\nhi,x\n")
    assert read(path).columns == {"text": ["hi"], "label": ["x"]}
    assert read(path, reading=PLAIN).columns == {"text": ["text,label\nhi,x"]}
    assert read(path, reading=Reading("csv", plain=True)).columns == {"text": ["hi"], "label": ["x"]}
    table = read(write(tmp_path / "a.csv", "text,label\nhi,x\n"), reading=PLAIN)
    assert table.columns == {"text": ["hi"], "label": ["x"]}


def test_the_format_can_be_forced(tmp_path):
    path = write(tmp_path / "a.log", "one\n\ntwo\n")
    assert read(path, reading=Reading("text", documents="paragraph")).columns == {"text": ["one", "two"]}
    with pytest.raises(RecipeError, match=r"no column 'label' \(task\.label\)[\s\S]*its columns are: text\."):
        read(path, reading=Reading("text"), columns={"text": "task.text", "label": "task.label"})


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zst"])
def test_a_documents_place_is_its_first_line(tmp_path, ending):
    import gzip

    import pyarrow as pa

    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": lambda raw: pa.compress(raw, "zstd", True)}
    raw = b"\xef\xbb\xbf" + "One\r\n\r\n\x0c\r\n\r\nTwo \u00e9\r\n".encode()
    table = read(write(tmp_path / f"novels.txt{ending}", pack[ending](raw)), reading=PLAIN)
    assert table.columns == {"text": ["One", "Two \u00e9"]}
    assert table.where(1).endswith(f"novels.txt{ending} line 5")


def test_other_encodings_and_files_that_are_no_text(tmp_path):
    path = write(tmp_path / "a.txt", "caf\u00e9\n".encode("latin-1"))
    assert read(path, reading=Reading(plain=True, encoding="latin-1")).columns["text"] == ["caf\u00e9"]
    with pytest.raises(DataError, match=r"a\.txt line 1[\s\S]*cp1252 reads"):
        read(path, reading=PLAIN)
    for content in ("", "\n \x0c\n\n"):
        with pytest.raises(DataError, match="empty"):
            read(write(tmp_path / "b.txt", content), reading=PLAIN)
    with pytest.raises(DataError, match="NUL"):
        read(write(tmp_path / "b.txt", "a\0b"), reading=PLAIN)


def test_a_folder_of_texts_is_read_where_documents_are(tmp_path):
    write(tmp_path / "b.txt", "two\n")
    write(tmp_path / "a.txt.xz", lzma.compress(b"one\n"))
    assert read(tmp_path, reading=PLAIN).columns["text"] == ["one", "two"]
    with pytest.raises(UsageError, match="no table"):
        read(tmp_path)


# ---- prepared ----


def test_documents_are_cut_into_splits_and_keep_their_layout(made, tmp_path):
    path = write(tmp_path / "novels.txt", "\f\n".join(novel(i).replace("\n", "\r\n") for i in range(40)))
    data = made({"train": path})
    assert data.located == {"text": "text"}
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {"train": 32, "validation": 4, "test": 4}
    found = {row["text"] for split in data.splits for row in data.rows(split)}
    assert found == {novel(i).strip() for i in range(40)}
    assert data.schema.documents
    assert {finding.slug for finding in data.findings} == set()


def test_files_in_a_list_and_a_folder_give_the_same_documents(made, tmp_path):
    folder = tmp_path / "novels"
    folder.mkdir()
    paths = [write(folder / f"{i:02}.txt", novel(i)) for i in range(30)]
    listed, whole = made({"train": paths} | WHOLE), made({"train": str(folder)} | WHOLE)
    assert listed.rows("train") == whole.rows("train")
    assert len(whole.rows("train")) == 30


def test_repeated_and_shared_documents_are_dropped(made, tmp_path):
    train = write(tmp_path / "train.txt", "\f\n".join([novel(i) for i in range(20)] + [novel(3) + "\n \n"]))
    validation = write(tmp_path / "validation.txt", "\n\f\n".join(novel(i) for i in range(18, 25)))
    data = made({"train": train, "validation": validation, "split": {"test": 0.0}})
    assert data.ledger["train"].dropped == {"duplicate": 1, "also in validation": 2}
    found = {finding.slug: finding for finding in data.findings}
    assert set(found) == {"duplicates", "data-leak", "no-test"}
    assert found["duplicates"].evidence["places"][0].endswith("train.txt line 81")


def test_a_sample_is_of_documents(made, tmp_path):
    path = write(tmp_path / "lines.txt", "".join(f"line {i}\n\n" for i in range(500)))
    data = made({"train": path, "documents": "line", "sample": {"train": 50}} | WHOLE)
    assert data.ledger["train"].read == 500
    assert data.splits["train"]["rows"] == 50


def test_the_cut_decides_the_prepared_rows(made, tmp_path):
    path = write(tmp_path / "a.txt", "one\n\ntwo\nthree\n")
    data = {cut: made({"train": path, "documents": cut} | WHOLE) for cut in ("auto", "file", "paragraph", "line")}
    assert {cut: found.splits["train"]["rows"] for cut, found in data.items()} == {
        "auto": 1,
        "file": 1,
        "paragraph": 2,
        "line": 3,
    }
    assert data["auto"].path != data["file"].path


def test_unchanged_texts_are_not_opened_again(made, tmp_path, opened):
    path = write(tmp_path / "novels.txt", "\f\n".join(novel(i) for i in range(40)))
    first = made({"train": path})
    assert any(name.endswith("novels.txt") for name in opened)
    opened.clear()
    assert made({"train": path}).path == first.path
    assert made({"train": path}, text="text").path == first.path
    assert not [name for name in opened if name.endswith("novels.txt")]


def test_tables_and_texts_go_together(made, tmp_path):
    text = write(tmp_path / "a.txt", "from a text\n")
    table = write(tmp_path / "b.jsonl", json.dumps({"text": "from a table", "label": "x"}) + "\n")
    data = made({"train": [table, text]} | WHOLE, text="text")
    assert [row["text"] for row in data.rows("train")] == ["from a table", "from a text"]
    write(tmp_path / "b.jsonl", json.dumps({"body": "from a table"}) + "\n")
    assert made({"train": table} | WHOLE, text="body").rows("train")[0]["body"] == "from a table"
    with pytest.raises(RecipeError, match=r"a\.txt[\s\S]*task\.text"):
        made({"train": [table, text]} | WHOLE, text="body")


def test_long_documents_are_not_called_long(made, tmp_path):
    texts = [novel(i) for i in range(60)] + ["word " * 30_000]
    data = made({"train": write(tmp_path / "a.txt", "\f\n".join(texts))})
    assert {finding.slug for finding in data.findings} == set()


def test_one_document_is_too_few_to_cut_a_split_from(made, tmp_path):
    facts = made({"train": write(tmp_path / "a.txt", novel(1))})
    assert {finding["slug"] for finding in facts["findings"]} == {"no-rows"}
    assert "data.documents" in facts["findings"][0]["fix"]


def test_other_texts_are_read_as_documents_too(made, tmp_path):
    data = {"train": write(tmp_path / "a.txt", "one\n\ntwo\n"), "documents": "paragraph"} | WHOLE
    prepared = made(data)
    found = read_on(recipe(data), prepared, write(tmp_path / "on.txt", "three\n\n\nfour"))
    assert [row["text"] for row in found.rows] == ["three", "four"]


# ---- the recipe ----


@pytest.mark.parametrize("extra", [{"train": "a.csv", "format": "csv"}, {"hub": {"path": "owner/name"}}])
def test_a_cut_that_nothing_reads_is_a_problem_of_the_recipe(scribe, extra):
    with pytest.raises(RecipeError, match=r"data\.documents would be ignored"):
        recipe({"documents": "line"} | extra)


def test_a_cut_without_a_text_is_an_error(scribe, tmp_path):
    path = write(tmp_path / "a.csv", "text\n" + "hi\n" * 5)
    with pytest.raises(RecipeError, match=r"data\.documents would be ignored"):
        prepare(recipe({"train": path, "documents": "line"}), Run(tmp_path / "runs" / "a"))
    with pytest.raises(RecipeError, match=r"data\.documents would be ignored"):
        prepare(
            recipe({"train": "<memory>", "documents": "line"}),
            Run(tmp_path / "runs" / "a"),
            tables={"train": [{"text": "a"}]},
        )


def test_a_txt_file_of_labels_does_not_take_a_cut(rows, tmp_path):
    lines = "".join(f"{row['text']},{row['label']}\n" for row in rows(60))
    data = {"train": write(tmp_path / "a.txt", "text,label\n" + lines)}
    task = {"name": "classify", "text": "text", "label": "label"}
    run = Run(tmp_path / "runs" / "a")
    assert prepare(recipe(data, **task), run).ledger["train"].read == 60
    with pytest.raises(RecipeError, match=r"data\.documents would be ignored"):
        prepare(recipe(data | {"documents": "line"}, **task), run)


def test_words_that_are_no_cut_are_refused(scribe):
    with pytest.raises(RecipeError, match=r"data\.documents must be"):
        recipe({"train": "a.txt", "documents": "sentence"})


def test_what_a_schema_without_documents_decides_is_as_before():
    assert Schema(("a",), "b", classes=False, layout=True).facts[2].keys() == {"classes", "required", "keys", "layout"}
    assert Schema(("a",), None, classes=False, layout=True, documents=True).facts[2]["documents"] is True
    assert (
        "learned"
        in derived(Schema(("a",), None, classes=False, layout=True, documents=True))["data.clean.whitespace"][1]
    )
