"""`evaluate` on a run whose model is a stand-in with a chosen skill."""

import json

import numpy as np
import pytest

import invented_run
from septet.baselines import tfidf
from septet.errors import DataError, RecipeError, UsageError
from septet.evaluate import evaluate
from septet.run import Run

KEYS = {"split", "metric", "value", "low", "high", "n", "who"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.9)
    return invented_run.write(tmp_path, labels=4, rows=(240, 60, 120))


def lines(run: Run, **wanted) -> list[dict]:
    return [line for line in run.records("scores.jsonl") if all(line[k] == v for k, v in wanted.items())]


def test_everyone_is_scored_on_every_split(run):
    result = evaluate(run)
    assert all(set(line) == KEYS for line in result.scores)
    assert run.records("scores.jsonl") == result.scores
    assert {(line["split"], line["who"]) for line in result.scores} == {
        *((split, who) for split in ("test", "validation") for who in ("tuned", "majority", "tfidf", "features")),
        ("train (sample)", "tuned"),
    }
    tuned = lines(run, split="test", who="tuned", metric="accuracy")[0]
    assert 0.8 < tuned["low"] < tuned["value"] < tuned["high"] <= 1 and tuned["n"] == 120
    names = {line["metric"] for line in lines(run, split="test", who="tuned")}
    assert {
        "accuracy",
        "precision",
        "recall",
        "f1",
        "f1_micro",
        "log_loss",
        "calibration_error",
        "f1[billing]",
        "recall[returns]",
    } <= names
    assert lines(run, split="test", who="tuned", metric="f1[delivery]")[0]["n"] < 120
    majority = lines(run, split="test", who="majority", metric="accuracy")[0]
    assert majority["value"] < 0.5


def test_the_record_says_what_each_split_is_for_and_holds_every_row(run):
    record = evaluate(run).record
    assert {name: split["role"] for name, split in record["splits"].items()} == {
        "test": "test",
        "validation": "selection",
        "train (sample)": "train",
    }
    test = record["splits"]["test"]
    assert sum(sum(row.values()) for row in test["confusion"].values()) == 120
    assert (
        sum(test["confidence"]["right"]) + sum(test["confidence"]["wrong"])
        == 120
        == sum(b["n"] for b in test["reliability"])
    )
    right = sum(test["confusion"][label].get(label, 0) for label in test["confusion"])
    assert right / 120 == lines(run, split="test", who="tuned", metric="accuracy")[0]["value"]
    losses = [mistake["loss"] for mistake in test["mistakes"]]
    assert losses == sorted(losses, reverse=True) and len(losses) == min(20, 120 - right)
    assert all(m["label"] != m["predicted"] and m["texts"][0] for m in test["mistakes"])
    assert [pair["who"] for pair in test["paired"]] == ["majority", "tfidf", "features"]
    json.dumps(record, allow_nan=False)


def test_running_again_changes_nothing_and_fits_nothing(run, monkeypatch):
    first = evaluate(run)
    monkeypatch.setattr(tfidf.Tfidf, "fit", lambda *_: pytest.fail("fitted again"))
    again = evaluate(run)
    assert again.scores == first.scores == run.records("scores.jsonl")
    assert again.record["findings"] == first.record["findings"]
    assert not [p for p in run.path.rglob("*") if p.suffix in (".pkl", ".pickle", ".joblib", ".bin")]


def test_damaged_or_foreign_baseline_answers_are_made_again(run):
    first = evaluate(run)
    file = run.path / "baselines.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert evaluate(run).scores == first.scores
    facts = run.read_json("baselines.json")
    run.write_json("baselines.json", facts | {"prepared": "another"})
    assert evaluate(run).scores == first.scores


def test_a_baseline_that_is_not_beaten_is_said_everywhere(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.35)
    run = invented_run.write(tmp_path, labels=4, rows=(240, 60, 120))
    result = evaluate(run)
    found = [f for f in result.findings if f.slug == "baseline-not-beaten" and f.evidence["split"] == "test"]
    assert {f.evidence["who"] for f in found} >= {"tfidf"}
    worse = next(f for f in found if f.evidence["who"] == "tfidf")
    assert "is worse than the baseline tfidf" in worse.message and "points" in worse.message
    assert "does not beat" in (run.path / "report.html").read_text()
    assert "baseline-not-beaten" in result.text()


def test_a_better_model_has_no_such_finding(run):
    result = evaluate(run)
    majority = next(p for p in result.record["splits"]["test"]["paired"] if p["who"] == "majority")
    assert majority["beaten"] and majority["low"] > 0 and majority["p"] < 0.05
    assert "majority" not in {f.evidence["who"] for f in result.findings if f.slug == "baseline-not-beaten"}


def test_named_test_sets_are_scored_apart(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch, skill=0.9)
    names = invented_run.label_names(3)
    sets = {"mail": invented_run.table(names, 40, seed=7), "chat": invented_run.table(names, 50, seed=8)}
    run = invented_run.write(tmp_path, labels=3, rows=(150, 40, 0), tests=sets)
    evaluate(run)
    assert {line["n"] for line in lines(run, who="tfidf", metric="accuracy") if line["split"] != "validation"} == {
        40,
        50,
    }
    assert {line["split"] for line in lines(run, who="tuned")} == {
        "test.mail",
        "test.chat",
        "validation",
        "train (sample)",
    }


def write_csv(path, rows):
    import csv

    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_other_data_join_the_same_run(run, tmp_path):
    before = evaluate(run)
    more = invented_run.table(invented_run.label_names(4), 50, seed=9)
    more[0]["label"] = more[1]["label"] = "complaints"
    rows = [*more, {"text": "", "label": "billing"}, {"text": "no label here", "label": ""}]
    source = write_csv(tmp_path / "autumn.csv", rows)
    after = evaluate(run, on=source)
    assert [line for line in after.scores if line["split"] != "autumn.csv"] == before.scores
    counted = {m: lines(run, split="autumn.csv", who="tuned", metric=m)[0]["n"] for m in ("accuracy", "log_loss")}
    assert counted == {"accuracy": 50, "log_loss": 48}
    assert {line["who"] for line in lines(run, split="autumn.csv")} == {"tuned", "majority", "tfidf", "features"}
    record = after.record["splits"]["autumn.csv"]
    assert record["role"] == "on" and record["unknown"]["complaints"] == 2 and record["dropped"]["no text"] == 1
    unknown = next(f for f in after.findings if f.slug == "label-not-learnt")
    assert "complaints" in unknown.message
    assert after.record["diagnosis"] == before.record["diagnosis"]
    again = evaluate(run, on=source)
    assert again.scores == after.scores and again.record["findings"] == after.record["findings"]
    whole = evaluate(run)
    assert {f.slug for f in whole.findings} >= {"label-not-learnt"}
    assert lines(run, split="autumn.csv") and "autumn.csv" in (run.path / "report.html").read_text()


def test_other_data_before_the_first_evaluation_score_everything(run, tmp_path):
    source = write_csv(tmp_path / "test.csv", invented_run.table(invented_run.label_names(4), 30, seed=9))
    evaluate(run, on=source)
    assert {line["split"] for line in lines(run, who="tuned")} == {"test", "validation", "train (sample)", "test.csv"}


def test_other_data_may_be_a_table(run):
    evaluate(run)
    after = evaluate(run, on=invented_run.table(invented_run.label_names(4), 30, seed=9))
    assert (
        lines(run, split="data", who="tuned", metric="accuracy")[0]["n"] == 30
        and after.record["splits"]["data"]["source"] == "data"
    )


def test_unfit_other_data_are_named_and_change_nothing(run, tmp_path):
    evaluate(run)
    kept = (run.path / "scores.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"nowhere\.csv"):
        evaluate(run, on=str(tmp_path / "nowhere.csv"))
    (tmp_path / "wrong.csv").write_text("body,team\na,b\n")
    with pytest.raises(RecipeError, match="text"):
        evaluate(run, on=str(tmp_path / "wrong.csv"))
    (tmp_path / "bare.csv").write_text("text,label\n,x\n")
    with pytest.raises(DataError, match="both a text and a label"):
        evaluate(run, on=str(tmp_path / "bare.csv"))
    assert (run.path / "scores.jsonl").read_bytes() == kept


def test_a_failing_baseline_is_a_finding_and_the_others_are_scored(run, monkeypatch):
    from septet.errors import ModelError
    from septet.model import features

    def gone(*_, **__):
        raise ModelError("The checkpoint is gone.", hint="bring it back")

    monkeypatch.setattr(features, "Features", gone)
    result = evaluate(run)
    assert {line["who"] for line in lines(run, split="test")} == {"tuned", "majority", "tfidf"}
    assert any(f.slug == "baseline-failed" and "checkpoint is gone" in f.message for f in result.findings)


def test_a_failed_write_leaves_the_old_scores(run, monkeypatch):
    evaluate(run)
    kept = (run.path / "scores.jsonl").read_bytes()
    monkeypatch.setattr(Run, "rewrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError):
        evaluate(run)
    assert (run.path / "scores.jsonl").read_bytes() == kept


def test_the_train_sample_is_seeded_and_can_be_off(tmp_path, monkeypatch):
    invented_run.answering(monkeypatch)
    run = invented_run.write(tmp_path, labels=2, rows=(200, 40, 60), overrides=("evaluate.train_sample=50",))
    evaluate(run)
    assert lines(run, split="train (sample)", metric="accuracy")[0]["n"] == 50
    other = invented_run.write(
        tmp_path / "b", labels=2, rows=(200, 40, 60), overrides=("evaluate.train_sample=0", "evaluate.baselines=[]")
    )
    result = evaluate(other)
    assert not lines(other, split="train (sample)") and {line["who"] for line in result.scores} == {"tuned"}
    assert result.record["diagnosis"]["verdict"] == "healthy"


def test_the_result_is_told_in_text_and_json(run):
    result = evaluate(run)
    told = result.text()
    assert "tuned" in told and "accuracy" in told and "report.html" in told and "diagnosis" in told
    value = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (
        value["report"].endswith("report.html") and value["scores"] == result.scores and value["diagnosis"]["verdict"]
    )


def test_the_same_rows_answer_every_system(run):
    """A paired test needs it: row ids are those of the prepared file, in its order."""
    from septet.baselines._kept import _rows_hash
    from septet.data.store import Prepared

    evaluate(run)
    ids = np.array([row["_row"] for row in Prepared.of(run).rows("test")])
    kept = run.read_json("baselines.json")["baselines"]
    assert {facts["splits"]["test"] for facts in kept.values()} == {_rows_hash(ids)}
