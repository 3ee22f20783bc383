"""CoNLL and SQuAD files: sentences with their tags, questions with their context; real ones read whole."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from septet.data.read import Reading, read
from septet.errors import DataError

SHARED = Path(os.environ.get("SEPTET_SHARED", Path(__file__).parents[3].parent / "shared"))
SPACED = """-DOCSTART- -X- O O

EU NNP I-NP B-ORG
rejects VBZ I-VP O

# a comment
Peter NNP I-NP B-PER
# NN I-NP O


"""


def test_columns_by_position_and_lines(tmp_path):
    (tmp_path / "a.conll").write_text(SPACED)
    table = read(tmp_path / "a.conll")
    assert table.columns == {
        "text": ["EU rejects", "Peter #"],
        "tokens": [["EU", "rejects"], ["Peter", "#"]],
        "tags": [["B-ORG", "O"], ["B-PER", "O"]],
    }
    assert [table.where(i).rsplit(" ", 2)[-2:] for i in (0, 1)] == [["line", "3"], ["line", "7"]]


def test_tabs_keep_spaces_in_tokens_and_a_last_sentence_needs_no_blank_line(tmp_path):
    (tmp_path / "a.bio").write_bytes("# id = 1\r\n#\tO\r\nNew\u00a0York City\tB-LOC\r\n\r\nyo\tO".encode())
    assert read(tmp_path / "a.bio").columns["tokens"] == [["#", "New\u00a0York City"], ["yo"]]


def test_tokens_without_tags(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    table = read(tmp_path / "a.txt", reading=Reading("conll"))
    assert table.columns == {"text": ["one two", "three"], "tokens": [["one", "two"], ["three"]]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a\tO\nb\tO\n#c\nd\te\tf\n", ["line 3", "1 columns, most have 2", "1 more lines", "line 4"]),
        ("-DOCSTART- O\n\n", ["no sentences"]),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, words):
    (tmp_path / "a.conll").write_text(content)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.conll")
    assert all(word in str(caught.value) for word in words)


@pytest.mark.skipif(not (SHARED / "data" / "wnut17").is_dir(), reason="the real data are not here")
def test_wnut17_written_as_conll_comes_back_whole(tmp_path):
    with gzip.open(SHARED / "data" / "wnut17" / "train.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    sentences = ("".join(f"{t}\t{g}\n" for t, g in zip(r["tokens"], r["tags"], strict=True)) for r in rows)
    (tmp_path / "wnut.conll").write_text("\n".join(sentences))
    table = read(tmp_path / "wnut.conll")
    assert len(table) == 3394
    assert table.columns["tokens"] == [row["tokens"] for row in rows]
    assert table.columns["tags"] == [row["tags"] for row in rows]


def test_questions_of_squad(tmp_path):
    asked = [
        {
            "id": "1",
            "question": "Who?",
            "answers": [{"text": "Ann", "answer_start": 0}, {"text": "Ann B", "answer_start": 0}],
        },
        {
            "id": "2",
            "question": "Why?",
            "is_impossible": True,
            "answers": [],
            "plausible_answers": [{"text": "x", "answer_start": 1}],
        },
    ]
    value = {"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "Ann B sang.", "qas": asked}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(value))
    assert read(tmp_path / "dev.json").rows() == [
        {
            "id": "1",
            "title": "T",
            "context": "Ann B sang.",
            "question": "Who?",
            "answer": "Ann",
            "answers": {"text": ["Ann", "Ann B"], "answer_start": [0, 0]},
        },
        {
            "id": "2",
            "title": "T",
            "context": "Ann B sang.",
            "question": "Why?",
            "answer": None,
            "answers": {"text": [], "answer_start": []},
        },
    ]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"context": 1, "qas": []}, ["paragraph 1", "'context'"]),
        ({"context": "a", "qas": [{"question": "b"}, {}]}, ["paragraph 1 question 2", "'question'"]),
        ({"context": "a"}, ["'qas'"]),
        ({"context": "a", "qas": [{"question": "b", "answers": [{}]}]}, ["question 1", "'text'"]),
        ({"context": "a", "qas": []}, ["no questions"]),
    ],
)
def test_what_is_not_squad_is_named(tmp_path, part, words):
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": [part]}]}))
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json")
    assert all(word in str(caught.value) for word in ["a.json", *words])


@pytest.mark.parametrize(("start", "told"), [(0, 0), (None, 0), (1, 1), (-1, 1), (99, 1), ("0", 1)])
def test_an_answer_that_stands_elsewhere_is_told(tmp_path, start, told):
    answers = [{"text": "Ann", "answer_start": start}, {"text": "B", "answer_start": 4}]
    qas = [{"question": "Who?", "answers": answers}]
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": "Ann B sang.", "qas": qas}]}]}))
    found = read(tmp_path / "a.json").findings
    assert [(each.slug, each.evidence["answers"], each.evidence["of"]) for each in found] == [
        ("answer-misplaced", 1, 2)
    ] * told


@pytest.mark.skipif(not (SHARED / "data" / "xquad").is_dir(), reason="the real data are not here")
@pytest.mark.parametrize("language", ["en", "de", "es", "zh"])
def test_xquad_is_read_whole(language):
    table = read(SHARED / "data" / "xquad" / f"xquad.{language}.json.gz")
    assert len(table) == 1190 and not table.findings
    for row in table.rows():
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start : start + len(text)] == text == row["answer"]
