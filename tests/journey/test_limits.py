"""Limits from a column of the rows to the report, on a tiny model: carried, never read by the model, measured of everyone who answers."""

from __future__ import annotations

import json

import pytest

import languages
import septet
from septet.errors import RecipeError
from septet.evaluate import evaluate
from septet.journey import train
from septet.run import Run
from small import quiet_recipe

WAYS = [
    ("Answer in one sentence.", {"sentences": 1}),
    ("Name the team.", {"mention": ["delivery team"], "avoid": ["refund*"]}),
    ("Answer.", {}),
]
ROWS = [
    {
        "instruction": way,
        "limits": limits,
        "question": f"Where is parcel {i}?",
        "reply": f"Parcel {i} is with the delivery team.",
    }
    for i in range(60)
    for way, limits in [WAYS[i % 3]]
]


def recipe(folder, rows=ROWS, **task):
    base = folder / "llama"
    if not base.exists():
        languages.folder(base, "llama")
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"prompt": "question", "answer": "reply", "instruction": "instruction", "limits": "limits"}
    given = {name: column for name, column in {**named, **task}.items() if column is not None}
    return {
        "data": {"train": str(data), "split": {"validation": 0.2, "test": 0.3, "seed": 1}},
        "task": {"name": "generate", "decode": {"max_new_tokens": 12}, **given},
        "model": {"name": str(base)},
        "train": {**quiet_recipe(), "epochs": 1, "batch": 8, "lr": 3e-3},
        "evaluate": {"bootstrap": 100, "train_sample": 20},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    train(recipe(folder), run=folder / "run")
    evaluate(Run.open(folder / "run"))
    return Run.open(folder / "run")


def scores(run):
    return {(line["split"], line["who"], line["metric"]): line for line in run.records("scores.jsonl")}


def test_everyone_is_held_to_them_in_all_and_by_kind(finished):
    found = scores(finished)
    for who in ("tuned", "base", "nearest", "constant", "copy", "lead"):
        for metric in ("adherence", "adherence[sentences]", "adherence[mention]", "adherence[avoid]"):
            line = found["test", who, metric]
            assert 0 <= line["low"] <= line["value"] <= line["high"] <= 1
        by_kind = [found["test", who, f"adherence[{kind}]"]["n"] for kind in ("sentences", "mention")]
        assert found["test", who, "adherence"]["n"] == sum(by_kind) < 18
        assert ("test", who, "adherence[words]") not in found
    assert found["test", "nearest", "adherence"]["value"] == 1  # every answer of train keeps every limit
    assert found["test", "copy", "adherence[mention]"]["value"] == 0
    assert not any(split == "train (sample)" and "adherence" in metric for split, _, metric in found)


def test_the_report_shows_them(finished):
    record = json.loads((finished.path / "evaluation.json").read_text())["splits"]["test"]
    sample = next(each for each in record["samples"] if "mentions" in each.get("limits", ""))
    assert sample["limits"] == "mentions delivery team · avoids refund*"
    assert sample["broken"]["reference"] == [] and sample["broken"]["copy"] == ["mention"]
    page = (finished.path / "report.html").read_text()
    assert "Limits kept on test" in page and "breaks mention" in page and sample["limits"] in page


def test_the_model_never_reads_them(finished):
    predictor = septet.load(finished.path)
    bare = {name: ROWS[1][name] for name in ("question", "instruction")}
    said = [predictor.task.rendered(row, predictor.processor) for row in (ROWS[1], bare)]
    assert said[0] == said[1] and "mention" not in said[0]
    ids = [predictor.task.encode([row], predictor.processor) for row in (ROWS[1], {**ROWS[1], "limits": None})]
    assert ids[0][0][0].inputs == ids[1][0][0].inputs
    assert predictor.predict([bare])[0].value == predictor.predict([ROWS[1]])[0].value
    assert predictor.task.texts == ["question", "instruction"]


def test_a_file_without_the_column_can_be_answered(finished, tmp_path):
    file = tmp_path / "ask.jsonl"
    file.write_text(json.dumps({"question": "Where is parcel 7?", "instruction": "Answer."}) + "\n")
    assert septet.predict(finished.path, file).rows == 1


def test_limits_that_cannot_be_read_are_problems_of_their_rows(tmp_path):
    odd = [
        {**ROWS[0], "question": f"Odd {i}?", "limits": each}
        for i, each in enumerate(({"sentence": 1}, "short", {"words": -1}))
    ]
    found = train(recipe(tmp_path, [*ROWS, *odd]), run=tmp_path / "run")
    data = json.loads((found.run.path / "data.json").read_text())
    (finding,) = (each for each in data["findings"] if each["slug"] == "row-malformed")
    assert finding["evidence"]["reasons"] == {
        "There is no limit named 'sentence'.": 1,
        "Limits are an object, or its JSON text.": 1,
        "The limit words must be a whole number, or an object with min and max.": 1,
    }
    assert data["ledger"]["train"]["dropped"] == {"malformed": 3}


def test_without_a_column_nothing_is_measured(tmp_path):
    train(recipe(tmp_path, limits=None), run=tmp_path / "run")
    evaluate(Run.open(tmp_path / "run"))
    assert not any("adherence" in metric for _, _, metric in scores(Run.open(tmp_path / "run")))
    assert "limits" not in Run.open(tmp_path / "run").read_json("data.json")["columns"]["texts"]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("evaluate", {"metrics": ["chrf", "adherence"]}),
        ("evaluate", {"metrics": ["adherence[mention]"]}),
        ("train", {"metric": "adherence"}),
    ],
)
def test_asked_for_without_a_column_it_is_refused_before_a_step(tmp_path, section, change):
    source = recipe(tmp_path, limits=None)
    source[section] = {**source[section], **change}
    with pytest.raises(RecipeError, match="no column states the limits") as caught:
        train(source, run=tmp_path / "run")
    assert "task.limits=COLUMN" in str(caught.value) and not (tmp_path / "run" / "steps.jsonl").exists()


def test_a_column_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError, match=r"no column 'limit' \(task.limits\)"):
        train(recipe(tmp_path, limits="limit"), run=tmp_path / "run")


def test_columns_left_open_are_found_and_the_limits_stay(tmp_path):
    rows = [{**row, "answer": row["reply"]} for row in ROWS]
    source = recipe(tmp_path, rows, prompt=None, answer=None, instruction=None)
    train(source, run=tmp_path / "run")
    recorded = septet.Recipe.load(tmp_path / "run" / "recipe.yaml")
    assert (recorded.task.prompt, recorded.task.instruction, recorded.task.limits) == (
        "question",
        "instruction",
        "limits",
    )
    assert "adherence" in recorded.evaluate.metrics


def test_adherence_can_choose_the_checkpoint(tmp_path):
    source = recipe(tmp_path)
    source["train"]["metric"] = "adherence"
    found = train(source, run=tmp_path / "run")
    (record,) = found.run.records("evaluations.jsonl")
    assert 0 <= record["adherence"] <= 1 and found.run.read_json("best.json")["metric"] == "adherence"
