"""Lines that cannot be read, turns that nobody answers, and rows that only just can be read: told, counted, or read after all."""

from __future__ import annotations

import json

import pytest

from septet.data.ask import locate, task_of
from septet.data.read import Reading, read
from septet.data.schema import Schema
from septet.data.table import Part, Table, concatenate
from septet.errors import DataError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

ROWS = [{"instruction": f"Where is {i}?", "input": "", "output": f"Here, {i}."} for i in range(60)]


def recipe(data, **options) -> Recipe:
    return Recipe.load({"data": {"train": data} | options, "task": {"name": "generate"}, "model": "starter-lm"})


def prepared(tmp_path, rows, **options):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare(recipe(str(tmp_path / "rows.jsonl"), **options), Run(tmp_path / "runs" / "one"))


def test_lines_that_cannot_be_read_are_told_together(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n\n[]\n{"text": "b"}\n' + "{\n" * 7)
    with pytest.raises(DataError, match="Invalid JSON at column 10") as raised:
        read(path)
    said = str(raised.value)
    assert "8 more lines cannot be read (line 4, 6, 7, 8, 9, …)." in said and "a.jsonl line 2\n" in said
    path.write_text('{"text": "a"}\n{\n3\n')
    with pytest.raises(DataError, match=r"1 more line cannot be read \(line 3\)"):
        read(path)


def test_lines_that_cannot_be_read_can_be_left_out(tmp_path):
    lenient = Reading(lenient=True)
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b\x00"}\n{"text": "c"}\n')
    second.write_text('{"text": "d"}\n{"text": "\\ud800"}\nnull\n')
    found = concatenate([read(first, reading=lenient), read(second, reading=lenient)])
    assert found.columns == {"text": ["a", "c", "d", "\ud800"]}
    assert [found.where(i).rpartition(" ")[2] for i in range(4)] == ["1", "4", "1", "2"]
    assert [(error.where or "").rpartition("/")[2] for error in found.unread] == [
        "a.jsonl line 2",
        "a.jsonl line 3",
        "b.jsonl line 3",
    ]
    assert read(second, reading=Reading(lenient=True)).unread != [] and read({"text": ["a"]}).unread == []
    second.write_text("no JSON\nat all\n")
    with pytest.raises(DataError, match="1 more line"):
        read(second, reading=lenient)


def test_a_byte_order_mark_before_a_line_is_no_part_of_it(tmp_path):
    path = tmp_path / "joined.jsonl"
    path.write_text('\ufeff{"text": "a"}\n\ufeff{"text": "\ufeffb"}\n\ufeff\n')
    assert read(path).columns == {"text": ["a", "\ufeffb"]}


def test_a_value_that_is_nested_too_deeply_is_an_error_of_its_row():
    deep = []
    for _ in range(5_000):
        deep = [deep]
    table = Table({"messages": ["[]", deep]}, [Part("rows.jsonl", 0, [1, 2])])
    schema = Schema(("messages",), None, classes=False)
    with pytest.raises(DataError, match="a list that is nested too deeply") as raised:
        schema.extract(table)
    assert "rows.jsonl line 2" in str(raised.value)
    with pytest.raises(DataError, match="nested too deeply"):
        read([{"messages": deep}])


def test_an_empty_instruction_leaves_the_input_to_be_asked(tmp_path):
    odd = [
        {"instruction": None, "input": "Hello?", "output": "Hello!"},
        {"instruction": " ", "input": "", "output": "x"},
    ]
    data = prepared(tmp_path, [*ROWS, *odd])
    assert data.ledger["train"].dropped == {"malformed": 1}
    (finding,) = (each for each in data.findings if each.slug == "row-malformed")
    assert finding.evidence["reasons"] == {"The user's text is empty.": 1}


def test_columns_are_found_where_the_first_rows_tell_nothing():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    table = read([{"dialogue": each} for each in [None, "", [], 3, turns]])
    task, located = locate(task_of(recipe("<memory>")), table)
    assert located == {"messages": "dialogue"} and task.options.messages == "dialogue"
    nothing = read([{"dialogue": None, "n": 1}, {"dialogue": "x", "n": 2}])
    with pytest.raises(Exception, match="No conversation is found"):
        locate(task_of(recipe("<memory>")), nothing)


def test_half_characters_are_mended_and_counted(tmp_path):
    odd = [
        {"instruction": "half \ud83d", "input": "", "output": "a"},
        {"instruction": "why", "input": "", "output": "half \ud83d"},
        {"instruction": [{"role": "user", "content": "half \ud83d", "\ud800": 1}], "input": "", "output": "b"},
        {
            "instruction": '[{"role": "user", "content": "half \\ud83d\\u0007", "\\ud800": 1}]',
            "input": "",
            "output": "c",
        },
    ]
    data = prepared(tmp_path, [*ROWS, *odd], split={"validation": 0, "test": 0})
    assert data.ledger["train"].cleaned == {"control": 1, "surrogates": 4}
    rows = data.rows("train")[-4:]
    assert [json.dumps(row, ensure_ascii=False).count("half \ufffd") for row in rows] == [1, 1, 1, 1]
    assert data.ledger["train"].kept == len(ROWS) + 4


def test_turns_that_nobody_answers_are_told(tmp_path):
    turns = [{"role": who, "content": who} for who in ("user", "assistant", "user", "tool")]
    rows = [{"messages": [{"role": "user", "content": str(i)}, *turns[1 : 2 + (i % 3)]]} for i in range(60)]
    data = prepared(tmp_path, rows)
    (finding,) = (each for each in data.findings if each.slug == "turns-left-out")
    assert (finding.level, finding.evidence["rows"], finding.evidence["turns"]) == ("note", 40, 60)
    assert "nobody answers these 60 turns" in finding.message
    assert data.ledger["train"].dropped == {}
