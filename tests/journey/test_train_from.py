"""Rows from everywhere, through the same verbs: a tiny model is tuned, evaluated and asked, wherever its rows are kept."""

from __future__ import annotations

import json
import os
import sqlite3
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import database
import languages
import sheets
import small
from septet.data import stream
from septet.evaluate import evaluate
from septet.init import init
from septet.journey import train
from septet.predict import predict
from septet.run import Run
from tiny import rows

ROWS = [{"text": row["text"], "label": row["label"]} for row in rows(48, 5, longest=8)]
TABLE = pa.table({key: [row[key] for row in ROWS] for key in ("text", "label")})


def tuned(folder, data):
    """Tune a tiny model on data, score it, and return the run."""
    source = small.recipe(folder, epochs=1)
    source["data"] = {"folder": str(folder), "split": {"test": 0.2}, **data}
    source["evaluate"] = {"baselines": ["majority"], "train_sample": 0}
    run = train(source, run=folder / "run").run
    evaluate(run)
    return run


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The model tuned on the same rows as JSON lines."""
    folder = tmp_path_factory.mktemp("jsonl")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return weights(tuned(folder, {"train": "rows.jsonl"}))


def weights(run):
    return (run.model / "model.safetensors").read_bytes()


def check(run, folder, reference, asked):
    """The model is that of the same rows from a file, and answers rows from where the training rows are."""
    assert weights(run) == reference
    assert Run(run.path).read_json("data.json")["ledger"]["train"]["read"] == len(ROWS)
    assert (run.path / "report.html").is_file()
    answered = predict(run.path, asked, out=folder / "answers.jsonl")
    assert answered.rows == len(ROWS)


def test_parquet(tmp_path, reference):
    pq.write_table(TABLE, tmp_path / "rows.parquet", row_group_size=20)
    check(tuned(tmp_path, {"train": "rows.parquet"}), tmp_path, reference, tmp_path / "rows.parquet")


def test_arrow_as_datasets_saves_it(tmp_path, reference):
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset(TABLE)}).save_to_disk(tmp_path / "saved")
    assert "train: saved/train " in init(tmp_path / "saved", out=tmp_path / "r.yaml")
    run = tuned(tmp_path, {"train": "saved/train"})
    check(run, tmp_path, reference, tmp_path / "saved" / "train")


def test_a_spreadsheet(tmp_path, reference):
    cells = [["text", "label"], *([row["text"], row["label"]] for row in ROWS)]
    path = sheets.xlsx(tmp_path / "rows.xlsx", {"Notes": [["nothing"]], "Rows": cells})
    run = tuned(tmp_path, {"train": "rows.xlsx", "sheet": "Rows"})
    assert weights(run) == reference
    single = sheets.xlsx(tmp_path / "single.xlsx", {"Rows": cells})
    check(run, tmp_path, reference, single)
    assert "classify" in init(path.rename(tmp_path / "notes.xlsx").with_name("single.xlsx"))


def test_sqlite(tmp_path, reference):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT, label TEXT)")
        connection.executemany("INSERT INTO tickets (text, label) VALUES (:text, :label)", ROWS)
    connection.close()
    run = tuned(tmp_path, {"train": "sqlite:///shop.db#SELECT text, label FROM tickets ORDER BY id"})
    check(run, tmp_path, reference, f"sqlite:///{tmp_path}/shop.db#tickets")
    assert "train: sqlite:///shop.db#tickets" in init(
        f"sqlite:///{tmp_path}/shop.db#tickets", out=tmp_path / "recipe.yaml"
    ).replace('"', "")


def test_postgresql(tmp_path, reference, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", database.PASSWORD)
    with database.postgres() as place:
        database.execute(
            place,
            "CREATE TABLE tickets (id serial PRIMARY KEY, text text, label text)",
            many=("INSERT INTO tickets (text, label) VALUES (%s, %s)", [(row["text"], row["label"]) for row in ROWS]),
        )
        source = f"postgresql://{database.USER}:${{PGPASSWORD}}@{place}#tickets"
        drafted = init(source, text="text", label="label")
        assert source in drafted and "export PGPASSWORD" not in drafted
        run = tuned(tmp_path, {"train": source})
        check(run, tmp_path, reference, source)
        evaluate(run, on=f"postgresql://{database.USER}:${{PGPASSWORD}}@{place}#SELECT * FROM tickets WHERE id < 20")
    kept = [
        path
        for path in run.path.parent.rglob("*")
        if path.is_file() and database.PASSWORD.encode() in path.read_bytes()
    ]
    assert not kept


def test_a_folder_in_the_layout_of_the_hub(tmp_path, reference, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "reviews" / "data").mkdir(parents=True)
    pq.write_table(TABLE, tmp_path / "reviews" / "data" / "train-00000-of-00001.parquet")
    run = tuned(tmp_path, {"hub": {"path": str(tmp_path / "reviews"), "splits": {"train": "train"}}})
    check(run, tmp_path, reference, tmp_path / "reviews" / "data")


def test_questions_of_squad_are_answered(tmp_path):
    languages.folder(tmp_path / "llama", "llama")
    asked = [
        {"question": f"Where is parcel {i}?", "answers": [{"text": f"shelf {i}", "answer_start": 14}]}
        for i in range(20)
    ]
    asked.append({"question": "Where is nothing?", "is_impossible": True, "answers": []})
    value = {"data": [{"title": "T", "paragraphs": [{"context": "It is lying on shelf 1.", "qas": asked}]}]}
    (tmp_path / "train.json").write_text(json.dumps(value))
    source = {
        "data": {"train": str(tmp_path / "train.json")},
        "task": {"name": "generate", "prompt": "question", "input": "context", "answer": "answer"},
        "model": {"name": str(tmp_path / "llama")},
        "train": {**small.quiet_recipe(), "max_steps": 2, "batch": 4, "lr": 3e-3},
        "evaluate": {"bootstrap": 100, "written": 2},
    }
    run = train(source, run=tmp_path / "run").run
    book = run.read_json("data.json")["ledger"]["train"]
    assert (book["read"], book["dropped"]) == (21, {"no answer": 1})
    assert "answer" in predict(run.path, tmp_path / "train.json").answers[0]
    drafted = init(tmp_path / "train.json")
    assert "generate" in drafted and "context" in drafted


def test_sentences_of_conll_are_learned(tmp_path):
    languages.folder(tmp_path / "llama", "llama")
    (tmp_path / "a.conll").write_text("".join(f"word{i}\tO\nby\tO\nnumber{i}\tB-N\n\n" for i in range(40)))
    source = {
        "data": {"train": str(tmp_path / "a.conll")},
        "task": {"name": "pretrain", "text": "text"},
        "model": {"name": str(tmp_path / "llama")},
        "train": {**small.quiet_recipe(), "max_steps": 2, "batch": 4, "lr": 3e-3},
        "evaluate": {"bootstrap": 100},
    }
    run = train(source, run=tmp_path / "run").run
    assert run.read_json("data.json")["ledger"]["train"]["read"] == 40
    assert len(small.steps(run.path)) == 2


def test_a_large_file_in_pieces(tmp_path, reference, monkeypatch):
    monkeypatch.setattr(stream, "LARGE", 1)
    monkeypatch.setattr(stream, "CHUNK", 100)
    lines = [json.dumps({**row, "more": "x" * 50}) + "\n" for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    run = tuned(tmp_path, {"train": "rows.jsonl"})
    check(run, tmp_path, reference, tmp_path / "rows.jsonl")
    assert "read-in-pieces" in {finding["slug"] for finding in run.read_json("data.json")["findings"]}


def test_a_pipe(tmp_path, reference):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    run = tuned(tmp_path, {"train": "pipe", "format": "jsonl"})
    writer.join()
    assert weights(run) == reference
