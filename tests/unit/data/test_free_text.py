"""Data of tasks that generate text: turns, prompts with answers, plain texts; nothing is asked of labels."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from septet.data.held import held_in, read_on
from septet.data.schema import Schema, derived
from septet.data.store import Prepared
from septet.errors import CheckError, DataError, RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run

pytestmark = pytest.mark.usefixtures("recite")

LABEL_SLUGS = {"single-label", "many-labels", "rare-labels", "class-imbalance", "label-missing", "label-conflict"}
LABEL_SLUGS |= {"label-shift", "label-unseen", "label-variants", "label-looks-missing"}


def recipe(data: dict[str, Any], **task: Any) -> Recipe:
    return Recipe.load({"data": data, "task": {"name": "recite"} | task, "model": "starter"})


@pytest.fixture
def made(tmp_path):
    """`made({"train": [dicts]}, {data options}, task options…)` → prepared data of tables in memory."""

    def make(tables, data=None, **task) -> Prepared:
        names = {split: "<memory>" for split in tables if not split.startswith("test.")}
        return prepare(recipe(names | (data or {}), **task), Run(tmp_path / "runs" / "one"), tables=tables)

    return make


@pytest.fixture
def found(made, tmp_path):
    """Findings by slug, whether or not they stop the run."""

    def make(tables, data=None, **task):
        with contextlib.suppress(CheckError):
            made(tables, data, **task)
        return {f["slug"]: f for f in Run(tmp_path / "runs" / "one").read_json("data.json")["findings"]}

    return make


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def chats(n: int, prefix: str = "chat") -> list[dict[str, Any]]:
    return [{"messages": turns(f"{prefix} {i}?", f"answer\n\n  {i}")} for i in range(n)]


def pairs(n: int, prefix: str = "question") -> list[dict[str, Any]]:
    return [{"prompt": f"{prefix} {i}", "answer": f"the answer to {prefix} {i}"} for i in range(n)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


# ---- turns ----


def test_lists_of_turns_are_kept_as_json_and_read_without_naming_their_column(tmp_path):
    rows = [*chats(300), {"messages": [{"role": "assistant", "content": "hello"}]}, {"messages": turns("and?")}]
    rows += [{"messages": turns("and?", "yes", "and then?")}, {"messages": None}, {"messages": []}]
    data = prepare(recipe({"train": jsonl(tmp_path / "chat.jsonl", rows)}), Run(tmp_path / "runs" / "a"))
    assert data.located == {"messages": "messages"}
    assert data.labels == []
    first = data.rows("train")[0]
    assert list(first) == ["_row", "messages"]
    assert json.loads(first["messages"])[1]["content"].startswith("answer\n\n  ")  # layout stays
    train = data.ledger["train"]
    assert train.read == 305
    assert train.dropped == {"empty text": 2, "malformed": 3}
    assert train.kept + sum(train.moved.values()) == 300
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    assert LABEL_SLUGS.isdisjoint(finding.slug for finding in data.findings)


def test_malformed_rows_are_counted_by_reason_in_every_split(found, tmp_path):
    bad = [{"messages": turns("no answer")}] * 3 + [{"messages": [{"role": f"r{i}"}]} for i in range(6)]
    tables = {"train": chats(100) + bad, "test": chats(120, "t") + bad[:1]}
    findings = found(tables, {"duplicates": "keep"})
    finding = findings["row-malformed"]
    assert finding["level"] == "warning"
    everything = Run(tmp_path / "runs" / "one").read_json("data.json")
    both = [f for f in everything["findings"] if f["slug"] == "row-malformed"]
    assert [f["evidence"]["split"] for f in both] == ["train", "test"]
    message = both[0]["message"]
    assert 'train: 9 of 109 rows (8.3 %) cannot be read and were dropped: 3 "There is no answer", ' in message
    assert "and 2 more reasons" in message
    assert both[0]["evidence"]["places"][0] == "train row 101"
    assert both[0]["evidence"]["reasons"]["There is no answer."] == 3
    assert everything["ledger"]["train"]["dropped"] == {"malformed": 9}
    assert everything["ledger"]["test"]["dropped"] == {"malformed": 1}


def test_a_train_split_of_which_no_row_can_be_read_stops(found):
    findings = found({"train": [{"messages": turns(f"no answer {i}")} for i in range(60)]})
    assert findings["row-malformed"]["level"] == "blocker"
    assert "task.messages" in findings["row-malformed"]["fix"]
    assert findings["no-rows"]["level"] == "blocker"


def test_texts_inside_turns_are_cleaned_and_the_json_is_not(made):
    rows = chats(60)
    rows[0]["messages"] = turns("cafe\u0301\u200b ＂x＂", "line\none\x07")
    data = made({"train": rows}, {"clean": {"unicode": "NFKC"}, "split": {"validation": 0.0, "test": 0.0}})
    assert json.loads(data.rows("train")[0]["messages"]) == turns('caf\u00e9 "x"', "line\none")
    assert data.ledger["train"].cleaned == {"control": 1, "unicode": 1}
    data = made(
        {"train": [*rows[1:], {"messages": turns("  as  text ", "stays")}]},
        {"clean": {"whitespace": True}, "split": {"validation": 0.0, "test": 0.0}},
    )
    assert json.loads(data.rows("train")[-1]["messages"]) == turns("as text", "stays")


def test_turns_as_json_text_of_a_csv_file(tmp_path):
    import csv

    texts = [json.dumps(turns(f"question {i}", "two\n\nparts\u200b"), ensure_ascii=False, indent=1) for i in range(60)]
    with (tmp_path / "chat.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["messages"], *([text] for text in texts), ["no turns"]])
    data = prepare(recipe({"train": str(tmp_path / "chat.csv")}, messages="messages"), Run(tmp_path / "runs" / "a"))
    assert json.loads(data.rows("test")[0]["messages"])[1]["content"] == "two\n\nparts"
    assert data.ledger["train"].dropped == {"malformed": 1}
    assert data.ledger["train"].cleaned == {"control": 60}


def test_every_kind_of_table_gives_the_same_turns(made, tmp_path):
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = chats(40)
    rows[0]["messages"] = [*turns("one", "two"), *turns("three", "four")]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "chat.parquet")
    options = {"split": {"validation": 0.0, "test": 0.0}}
    expected = made({"train": rows}, options).rows("train")
    for kind in (pd.DataFrame(rows), pd.read_parquet(tmp_path / "chat.parquet"), pl.DataFrame(rows), table):
        assert made({"train": kind}, options).rows("train") == expected
    from_file = prepare(
        recipe({"train": str(tmp_path / "chat.parquet")} | options, messages="messages"), Run(tmp_path / "runs" / "b")
    )
    assert from_file.rows("train") == expected


def test_lists_are_read_inside_pandas_cells_of_one_item(made):
    import numpy as np
    import pandas as pd

    cells = [np.array([{"role": "user", "content": str(i), "parts": np.array(["a"], dtype=object)}]) for i in range(60)]
    frame = pd.DataFrame({"messages": [list(cell) + turns("", "b")[1:] for cell in cells]})
    data = made({"train": frame}, {"split": {"validation": 0.0, "test": 0.0}})
    first, answer = json.loads(data.rows("train")[0]["messages"])
    assert first == {"role": "user", "content": "0", "parts": ["a"]}
    assert answer == {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"raw", "must hold text"),
        ({"a": b"raw"}, "must hold text"),
        (lambda: __import__("numpy").arange(3), "hold text"),
    ],
)
def test_bytes_and_numbers_in_arrays_are_refused(made, value, words):
    value = value() if callable(value) else value
    with pytest.raises(DataError, match=rf"{words}[\s\S]*train row 61"):
        made({"train": [*({"text": f"text {i}"} for i in range(60)), {"text": value}]}, text="text")


def test_a_class_is_no_list():
    from septet.data.read import read

    table = read([{"text": "a", "label": [1]}], name="train")
    with pytest.raises(DataError, match="must hold text"):
        Schema(("text",), "label").extract(table)
    assert Schema(("text",), "label", classes=False).extract(table).labels == ["[1]"]


# ---- prompts and answers ----


def test_answers_are_free_text(tmp_path):
    lines = [f'"question {i}","same\n\tanswer  {i % 2}"' for i in range(200)]
    lines += ['"no answer",""', '"no answer either","  "']
    (tmp_path / "pairs.csv").write_text("prompt,answer\n" + "\n".join(lines) + "\n")
    run = Run(tmp_path / "runs" / "a")
    data = prepare(recipe({"train": str(tmp_path / "pairs.csv")}), run)
    assert data.located == {"prompt": "prompt", "answer": "answer"}
    assert data.manifest["columns"]["label"] == "answer"
    row = data.rows("train")[0]
    assert list(row) == ["_row", "prompt", "answer"]
    assert row["answer"].startswith("same\n\tanswer  ")
    assert data.labels == []
    found = run.read_json("data.json")
    assert found["labels"] == []
    assert found["profile"]["train"]["labels"] == {}
    assert found["profile"]["train"]["characters"]["max"] == len("question 199") + len("same\n\tanswer  1")
    missing = next(f for f in data.findings if f.slug == "answer-missing")
    assert missing.level == "warning"
    assert "2 of 202 rows (1.0 %) have no answer" in missing.message
    assert data.ledger["train"].dropped == {"no answer": 2}
    assert {split: facts["rows"] for split, facts in data.splits.items()} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }
    assert LABEL_SLUGS.isdisjoint(f.slug for f in data.findings)


def test_one_answer_for_all_and_an_answer_a_row_are_both_fine(found):
    same = [{"prompt": f"question {i}", "answer": "nan"} for i in range(200)]
    assert LABEL_SLUGS.isdisjoint(found({"train": same, "test": pairs(100, "t")}))
    assert LABEL_SLUGS.isdisjoint(found({"train": pairs(200), "test": pairs(100, "t")}))


def test_one_question_may_have_several_answers(made):
    rows = pairs(100) + [{"prompt": "question 0", "answer": "another one"}] * 2
    data = made({"train": rows}, {"split": {"validation": 0.3, "test": 0.3}})
    assert data.ledger["train"].dropped == {"duplicate": 1}
    where = {split for split in data.splits for row in data.rows(split) if row["prompt"] == "question 0"}
    assert len(where) == 1
    message = next(f.message for f in data.findings if f.slug == "duplicates")
    assert "repeat an earlier row's text and answer" in message


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"clean": {"labels": "merge"}}, r"data\.clean\.labels: merge"),
        ({"expect": {"label-conflict": "== 0"}}, r"data\.expect\.label-conflict"),
        ({"expect": {"rarest-label": ">= 5"}}, r"data\.expect\.rarest-label"),
    ],
)
def test_what_is_of_labels_would_be_ignored(made, options, key):
    with pytest.raises(RecipeError, match=f"{key} would be ignored"):
        made({"train": chats(60)}, options)


def test_conflicts_cannot_be_dropped_where_there_are_none(made):
    with pytest.raises(RecipeError, match=r"data\.conflicts"):
        made({"train": pairs(60)}, {"conflicts": "drop"})


def test_overlap_is_of_prompts(made):
    train = [*pairs(100), {"prompt": "t 3", "answer": "another answer"}]
    data = made({"train": train, "test": pairs(40, "t")}, {"split": {"validation": 0.0}})
    assert data.ledger["train"].dropped == {"also in test": 1}
    assert "data-leak" in {f.slug for f in data.findings}


def test_only_what_is_required_must_not_be_empty(made):
    rows = [row | {"context": None if i % 2 else "about it"} for i, row in enumerate(pairs(60))]
    data = made({"train": [*rows, {"prompt": " ", "context": "x", "answer": "y"}]})
    assert data.ledger["train"].dropped == {"empty text": 1}
    assert {row["context"] for row in data.rows("train")} == {"", "about it"}


def test_groups_stay_together(made):
    rows = [row | {"thread": f"t{i // 5}"} for i, row in enumerate(pairs(300))]
    data = made({"train": rows}, {"split": {"group": "thread"}}, prompt="prompt", answer="answer")
    groups = [{row["thread"] for row in data.rows(split)} for split in data.splits]
    assert len(groups) == 3
    assert sum(map(len, groups)) == 60 == len(set().union(*groups))


def test_the_split_does_not_look_at_answers(made):
    options = {"split": {"validation": 0.2, "test": 0.0}}
    rows = [{"prompt": f"q {i}", "answer": "yes" if i % 10 else "no"} for i in range(100)]
    with_stratify = made({"train": rows}, options)
    without = made({"train": rows}, {"split": options["split"] | {"stratify": False}})
    ids = [[row["_row"] for row in data.rows("validation")] for data in (with_stratify, without)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 20


def test_white_space_can_be_collapsed_and_answers_are_cleaned_too(made):
    rows = [*pairs(60), {"prompt": "two  words", "answer": " an\u200b  answer\n"}]
    options = {"split": {"validation": 0.0, "test": 0.0}}
    kept = made({"train": rows}, options)
    assert kept.rows("train")[-1]["answer"] == " an  answer\n"
    assert kept.ledger["train"].cleaned == {"control": 1}
    cleaned = made({"train": rows}, options | {"clean": {"whitespace": True}})
    assert cleaned.rows("train")[-1] | {"_row": 0} == {"_row": 0, "prompt": "two words", "answer": "an answer"}


def test_an_answer_that_is_json_is_kept_as_it_was_written(made):
    answer = '{"name":  "x",\n "n": 1.0}'
    data = made({"train": [{"prompt": f"q {i}", "answer": answer} for i in range(60)]})
    assert {row["answer"] for row in data.rows("train")} == {answer}


# ---- plain texts ----


def test_texts_without_a_label(tmp_path):
    path = tmp_path / "texts.jsonl"
    jsonl(
        path,
        [{"text": f"text\n\n number {i}", "n": i} for i in range(100)] + [{"text": ""}, {"text": "text\n\n number 0"}],
    )
    run = Run(tmp_path / "runs" / "a")
    data = prepare(recipe({"train": str(path)}), run)
    assert list(data.rows("train")[0]) == ["_row", "text"]
    assert data.ledger["train"].dropped == {"empty text": 1, "duplicate": 1}
    assert run.read_json("data.json")["profile"]["train"]["labels"] == {}
    assert {f.slug for f in data.findings} <= {"few-rows", "empty-text", "duplicates"}
    assert "repeat an earlier row's text;" in next(f.message for f in data.findings if f.slug == "duplicates")


def test_a_constant_text_names_the_column(found):
    assert "task.text" in found({"train": [{"text": "same"}] * 60}, {"duplicates": "keep"})["constant-text"]["fix"]
    finding = found({"train": [{"prompt": "same", "answer": str(i)} for i in range(60)]})["constant-text"]
    assert "task.prompt" in finding["fix"]


# ---- found again ----


def test_what_was_found_is_found_again_without_opening_a_raw_file(tmp_path, opened):
    files = {
        "train": jsonl(tmp_path / "train.jsonl", chats(90)),
        "test": jsonl(tmp_path / "test.jsonl", chats(30, "t")),
    }
    first = prepare(recipe(files), Run(tmp_path / "runs" / "a"))
    resolved = recipe(files | {"clean": {"whitespace": False}}, messages="messages")
    opened.clear()
    again = prepare(recipe(files), Run(tmp_path / "runs" / "b"))
    named = prepare(resolved, Run(tmp_path / "runs" / "c"))
    assert again.path == named.path == first.path
    assert again.located == {"messages": "messages"}
    assert not [name for name in opened if name.endswith(".jsonl")]


def test_named_and_located_columns_share_the_prepared_data(tmp_path, opened):
    files = {"train": jsonl(tmp_path / "train.jsonl", chats(90))}
    named = prepare(recipe(files, messages="messages"), Run(tmp_path / "runs" / "a"))
    assert named.located == {}
    located = prepare(recipe(files), Run(tmp_path / "runs" / "b"))
    assert located.path == named.path
    assert located.located == {"messages": "messages"}
    opened.clear()
    for again in (recipe(files), recipe(files, messages="messages")):
        prepare(again, Run(tmp_path / "runs" / "c"))
    assert not [name for name in opened if name.endswith(".jsonl")]


def test_a_setting_of_learning_shares_and_a_column_does_not(tmp_path):
    rows = [row | {"context": f"about {i}"} for i, row in enumerate(pairs(90))]
    files = {"train": jsonl(tmp_path / "train.jsonl", rows)}
    run = Run(tmp_path / "runs" / "a")
    columns = {"prompt": "prompt", "answer": "answer"}
    one = prepare(recipe(files, **columns), run)
    assert prepare(recipe(files, **columns, emphasis=2.0), run).path == one.path
    assert prepare(recipe(files, **columns, context="context"), run).path != one.path
    assert prepare(recipe(files, prompt="context", answer="answer"), run).path != one.path
    assert prepare(recipe(files, text="prompt"), run).path != one.path
    assert prepare(recipe(files, emphasis=2.0), run).path == prepare(recipe(files, emphasis=3.0), run).path


def test_nothing_found_is_an_error(made):
    with pytest.raises(UsageError, match="No column is known"):
        made({"train": [{"body": "a"}]})


def test_a_missing_column_is_named_by_its_key(made):
    with pytest.raises(RecipeError, match=r"\(task\.prompt\)"):
        made({"train": pairs(3)}, prompt="promt", answer="answer")
    with pytest.raises(RecipeError, match="cannot be both"):
        made({"train": pairs(3)}, prompt="prompt", answer="prompt")


def test_a_task_says_its_columns(made, monkeypatch):
    monkeypatch.setattr(sys.modules["septet_code_recite"].Recite, "schema", None)
    with pytest.raises(UsageError, match="recite does not say which columns"):
        made({"train": pairs(3)}, prompt="prompt")


def test_what_was_located_is_told(tmp_path):
    heard = []
    prepare(
        recipe({"train": jsonl(tmp_path / "a.jsonl", pairs(60))}),
        Run(tmp_path / "runs" / "a"),
        listen=lambda event, **facts: heard.append(facts.get("text", "")),
    )
    assert "data: found the columns prompt (prompt) and answer (answer) in the data" in heard


# ---- held ----


def test_held_rows_of_free_text(made, tmp_path):
    data = made({"train": pairs(200), "test": pairs(40, "t")})
    held = held_in(recipe({"train": "<memory>"}), data)
    assert {split.name: len(split.rows) for split in held} == {"test": 40, "validation": 20}
    assert all(split.unknown_counts == {} for split in held)
    rows = [*pairs(20, "on"), {"prompt": "x", "answer": ""}, {"prompt": "", "answer": "y"}]
    found = read_on(recipe({"train": "<memory>"}), data, jsonl(tmp_path / "on.jsonl", rows))
    assert found.dropped == {"no answer": 1, "no text": 1}
    assert list(found.rows[0]) == ["_row", "prompt", "answer"]
    assert len({row["_row"] for row in found.rows}) == len(found.rows) == 20


def test_how_other_data_were_read_is_told(made, tmp_path):
    data = made({"train": pairs(60)})
    (tmp_path / "on.csv").write_text("prompt;answer\n" + "".join(f"question {i};answer {i}\n" for i in range(9)))
    (told,) = read_on(recipe({"train": "<memory>"}), data, tmp_path / "on.csv").findings
    assert told.slug == "delimiter-guessed" and told.evidence["split"] == "on.csv"


def test_malformed_rows_of_other_data_are_counted(made, tmp_path):
    data = made({"train": chats(60)})
    path = jsonl(tmp_path / "on.jsonl", [*chats(5, "on"), {"messages": turns("and?")}])
    found = read_on(recipe({"train": "<memory>"}), data, path)
    assert found.dropped == {"malformed": 1}
    assert len(found.rows) == 5
    with pytest.raises(DataError, match="No row"):
        read_on(recipe({"train": "<memory>"}), data, jsonl(tmp_path / "none.jsonl", [{"messages": turns("and?")}]))


# ---- what set-up fills ----


def test_what_is_derived_of_the_columns():
    value, why = derived(Schema(("messages",), None, classes=False, layout=True))["data.clean.whitespace"]
    assert (value, bool(why)) == (False, True)
    assert derived(Schema(("text",), "label"))["data.clean.whitespace"][0] is True
    filled = recipe({"train": "a.csv"}).filled(derived(Schema(("text",), "label")))
    assert filled.data.clean.whitespace is True


def test_a_schema_fills_what_it_is_not_told():
    schema = Schema(("a", "b"), "c", "d", keys={"a": "task.question"})
    assert schema.required == ("a", "b")
    assert dict(schema.keys) == {"a": "task.question", "b": "task.text", "c": "task.label", "d": "data.split.group"}
    assert schema.columns == ["a", "b", "c", "d"]
    assert Schema(("a",), None).columns == ["a"]


def test_the_columns_are_kept(made):
    data = made({"train": pairs(60)})
    assert data.schema == Schema(
        ("prompt",), "answer", classes=False, keys={"prompt": "task.prompt", "answer": "task.answer"}, layout=True
    )


def test_counts_of_reasons_add_up(made):
    rows = chats(60) + [{"messages": turns("x")}] * 2 + [{"messages": None}]
    data = made({"train": rows})
    accounts = data.ledger.accounts.values()
    dropped = sum((Counter(a.dropped) for a in accounts), Counter())
    assert sum(a.read for a in accounts) == sum(a.kept for a in accounts) + dropped.total() == 63
