"""Rows of numbers and categories from a table to served answers: train, evaluate, predict, export and serve read one text."""

from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from septet.cli import main
from septet.data.store import Prepared
from septet.errors import DataError
from septet.model.artifact import read_task
from septet.model.predictor import Predictor
from septet.predict import predict
from septet.recipe import Recipe
from septet.run import Run
from septet.testing.tiny import checkpoint

COLUMNS = ["age", "dose", "plan"]
TRAIN = {"lr": 3e-3, "epochs": 12, "batch": 16, "precision": "fp32", "threads": 1, "device": "cpu"}


def table(count: int, seed: int = 0) -> list[dict]:
    """Return rows whose label is the plan, but for one of them that is told by the dose; now and then a value is missing."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        plan, dose = draw.choice(["basic", "gold", None]), draw.choice([0.5, 2.0])
        risk = "high" if plan == "gold" or (plan is None and dose == 2.0) else "low"
        found.append(
            {"age": 20 + (seed * 997 + i) % 1000, "dose": dose, "plan": plan, "clinic": f"c{i // 4}", "risk": risk}
        )
    return found


def write_csv(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def said(*args: object) -> tuple[int, str]:
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.stdout", told)
        patch.setattr("sys.stderr", told)
        main([str(each) for each in args])
    assert "Traceback" not in told.getvalue() and "Defect" not in told.getvalue(), told.getvalue()[-2000:]
    return int(ended.value.code or 0), told.getvalue()


def recipe(folder: Path, model: Path, task: dict, **data: object) -> Path:
    source = {
        "data": {"train": "rows.csv", **data},
        "task": {"name": "classify", "label": "risk", **task},
        "model": str(model),
        "train": TRAIN,
        "evaluate": {"bootstrap": 100, "baselines": ["majority", "tfidf"]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(source))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    words = [f"{number};" for number in range(10)] + ["age: dose: 0.5; 2; 0.5 2 plan: basic gold"]
    return checkpoint(tmp_path_factory.mktemp("models") / "bert", words)


@pytest.fixture(scope="module")
def done(tmp_path_factory, model):
    """A finished run of named columns, made by `septet run`."""
    folder = tmp_path_factory.mktemp("columns")
    write_csv(folder / "rows.csv", table(240))
    code, told = said("run", recipe(folder, model, {"columns": COLUMNS}), "--run", folder / "runs" / "a")
    assert code == 0, told
    return folder, told


def test_the_whole_journey(done):
    folder, told = done
    run = Run.open(folder / "runs" / "a")
    rows = Prepared.of(run).rows("train")
    assert {*rows[0]} == {"_row", "columns", "risk"} and all(row["columns"].startswith("age: ") for row in rows)
    assert any("dose: 2; plan: gold" in row["columns"] for row in rows)
    assert any(row["columns"].endswith("dose: 0.5") for row in rows)
    task = read_task(run.model)
    assert task.members == COLUMNS and task.texts == ["columns"]
    scores = {(s["split"], s["who"], s["metric"]): s["value"] for s in run.records("scores.jsonl")}
    assert scores["test", "tuned", "accuracy"] > 0.9 > scores["test", "majority", "accuracy"]
    assert "near-" not in told and "label-leak" not in told
    parity = run.read_json("deploy.json")["exports"]["hf"]["parity"]
    assert parity["labels_different"] == 0 and parity["max_difference"] < 1e-5
    assert '"age: …; dose: …; plan: …"' in (run.model / "README.md").read_text()


def test_every_form_of_a_row_has_one_answer(done, tmp_path):
    folder, _ = done
    run, rows = folder / "runs" / "a", [{c: row[c] for c in COLUMNS} for row in table(40, seed=3)]
    write_csv(tmp_path / "rows.csv", rows)
    written = [{**row, "dose": f"{row['dose']:.2f}"} for row in rows]
    write_csv(tmp_path / "padded.csv", written)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist([{**row, "age": float(row["age"])} for row in rows]), tmp_path / "rows.parquet")
    answers = []
    for name in ("rows.csv", "padded.csv", "rows.jsonl", "rows.parquet"):
        found = predict(run, tmp_path / name, scores=True).answers
        answers.append([row["scores"] for row in found])
        assert {*COLUMNS} < {*found[0]} and "columns" not in found[0]
    predictor = Predictor.load(run)
    answers.append([answer.scores for answer in predictor.predict(rows)])
    assert all(
        each == pytest.approx(first) for other in answers[1:] for first, each in zip(answers[0], other, strict=True)
    )
    assert len({json.dumps(each) for each in answers[0]}) > 1


def test_a_request_holds_the_columns_as_json(done):
    httpx = pytest.importorskip("httpx", reason="the serve extra is not installed")
    pytest.importorskip("starlette", reason="the serve extra is not installed")
    from septet.serve import Server, settings_of

    folder, _ = done
    row = {"age": 44.0, "dose": 2, "plan": None}
    (wanted,) = Predictor.load(folder / "runs" / "a").predict([row])
    model = folder / "runs" / "a" / "model"
    with Server(model, settings=settings_of(model, host="127.0.0.1", port=0)) as server:
        ask = httpx.Client(base_url=f"http://127.0.0.1:{server.port}")
        answer = ask.post("/v1/predict", json={"inputs": [row]})
        assert answer.status_code == 200
        assert answer.json()["predictions"][0]["scores"] == pytest.approx(wanted.scores, abs=1e-6)
        for wrong, words in ((["x"], "age and dose and plan"), ([{"age": 1, "dose": 2}], "'plan' is missing")):
            refused = ask.post("/v1/predict", json={"inputs": wrong})
            assert refused.status_code == 422 and words in refused.text


def test_a_missing_column_is_named(done, tmp_path):
    folder, _ = done
    without = [{"age": 1, "plan": "gold", "risk": "low"}]
    code, told = said("predict", folder / "runs" / "a", write_csv(tmp_path / "rows.csv", without))
    assert code == 2 and "'dose'" in told and "age, plan, risk" in told
    code, told = said("evaluate", folder / "runs" / "a", "--on", tmp_path / "rows.csv")
    assert code == 2 and "'dose' (task.columns)" in told
    code, told = said("prepare", recipe(tmp_path, folder, {"columns": COLUMNS}), "--run", tmp_path / "runs" / "a")
    assert code == 2 and "'dose' (task.columns)" in told
    with pytest.raises(DataError, match="'dose' is missing"):
        Predictor.load(folder / "runs" / "a").predict([{"age": 1, "plan": "gold"}])


def test_a_row_that_cannot_be_read_is_flagged(done, tmp_path):
    folder, _ = done
    rows = [{"age": 1, "dose": 2, "plan": "gold"}, {"age": [1], "dose": 2, "plan": "gold"}, dict.fromkeys(COLUMNS)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, told = said("predict", folder / "runs" / "a", tmp_path / "rows.jsonl", "-o", tmp_path / "out.csv")
    flags = [row["flag"] for row in csv.DictReader((tmp_path / "out.csv").open())]
    assert code == 0 and flags[0] == "" and "must hold text" in flags[1] and flags[2] == "empty", told


def test_other_rows_are_scored_and_watched(done, tmp_path):
    folder, _ = done
    other = write_csv(tmp_path / "other.csv", table(60, seed=5))
    code, told = said("evaluate", folder / "runs" / "a", "--on", other)
    assert code == 0, told
    record = json.loads((folder / "runs" / "a" / "evaluation.json").read_text())
    assert record["splits"]["other.csv"]["n"] == 60
    code, told = said("monitor", folder / "runs" / "a", "--log", other)
    assert code in (0, 3) and "60 requests" in told, told


def test_all_columns_are_those_that_nothing_else_uses(tmp_path, model):
    write_csv(tmp_path / "rows.csv", table(80))
    source = recipe(tmp_path, model, {"columns": "all"}, split={"group": "clinic", "validation": 0.2, "test": 0.2})
    code, told = said("train", source, "train.max_steps=2", "--run", tmp_path / "runs" / "a")
    assert code == 0, told
    assert "found the columns age (columns), dose (columns) and plan (columns)" in told
    resolved = Recipe.load(tmp_path / "runs" / "a" / "recipe.yaml")
    assert resolved.task.columns == COLUMNS and resolved.whys["task.columns"] == "found in the data"
    assert read_task(tmp_path / "runs" / "a" / "model").members == COLUMNS
    code, told = said("prepare", tmp_path / "runs" / "a" / "recipe.yaml", "--run", tmp_path / "runs" / "b")
    assert code == 0 and "prepared before" in told


def test_duplicates_are_equal_in_every_column(tmp_path, model):
    rows = [{"age": age, "dose": dose, "plan": "x", "risk": "ab"[age % 2]} for age in range(20) for dose in (1, 2)]
    write_csv(tmp_path / "rows.csv", [*rows, *({**row, "dose": f"{row['dose']}.0"} for row in rows[:3])])
    source = recipe(tmp_path, model, {"columns": COLUMNS}, split={"validation": 0, "test": 0})
    code, told = said("prepare", source, "--run", tmp_path / "runs" / "a")
    ledger = json.loads((tmp_path / "runs" / "a" / "data.json").read_text())["ledger"]["train"]
    assert code == 0 and ledger["read"] == 43 and ledger["dropped"] == {"duplicate": 3}, told


def test_a_column_that_is_the_label_in_other_words_is_a_leak(tmp_path, model):
    rows = [{**row, "code": row["risk"][0]} for row in table(80)]
    write_csv(tmp_path / "rows.csv", rows)
    source = recipe(tmp_path, model, {"columns": [*COLUMNS, "code"]})
    code, told = said("prepare", source, "--run", tmp_path / "runs" / "a")
    assert code == 0 and "label-leak: train: the column 'code', which is read, gives the label away" in told


@pytest.mark.parametrize(
    ("task", "data", "words"),
    [
        ({"columns": COLUMNS, "text": "plan"}, {}, "cannot be given beside task.text"),
        ({"columns": ["age", "age"]}, {}, "names a column twice"),
        ({"columns": []}, {}, "task.columns"),
        ({"columns": ["age", "risk"]}, {}, "task.columns and task.label are the same column"),
        ({}, {}, "task.columns, of numbers and categories"),
        ({"columns": COLUMNS}, {"near": {"policy": "drop"}}, "data.near would be ignored"),
        ({"columns": COLUMNS}, {"against": "rows.csv"}, "data.against would be ignored"),
        ({"columns": COLUMNS}, {"augment": {"augmenters": ["typos"]}}, "data.augment would be ignored"),
        ({"columns": COLUMNS}, {"expect": {"near-leak": "== 0"}}, "data.expect.near-leak would be ignored"),
    ],
    ids=["text too", "twice", "none", "the label", "no text", "near", "against", "augment", "expect"],
)
def test_what_makes_no_sense_of_columns_is_refused(task, data, words, tmp_path, model):
    write_csv(tmp_path / "rows.csv", table(40))
    code, told = said("prepare", recipe(tmp_path, model, task, **data), "--run", tmp_path / "runs" / "a")
    assert code == 2 and words in told, told


def test_label_refuses_them(done):
    folder, _ = done
    code, told = said("label", folder / "rows.csv", "--recipe", folder / "recipe.yaml")
    assert code == 2 and "the rows of this recipe are columns" in told
