"""`data.target` in a recipe, end to end: from files and from a request log, by the model and by TF-IDF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from septet.errors import RecipeError, UsageError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run
from septet.server.log import Record, RequestLog
from septet.tasks import Prediction

WORDS = [
    "refund",
    "parcel",
    "late",
    "invoice",
    "broken",
    "colour",
    "size",
    "order",
    "track",
    "return",
    "shop",
    "please",
]


def texts(num: int, seed: int, words=WORDS) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(4, 12))) + f" {rng.integers(10**6)}" for _ in range(num)]


def write(path: Path, rows: list[str], *, labels: str | None = None) -> None:
    head = "text" if labels is None else "text,label"
    lines = [text if labels is None else f"{text},{labels[i % len(labels)]}" for i, text in enumerate(rows)]
    path.write_text("\n".join([head, *lines]) + "\n")


def recipe(folder: Path, target: str | None, *, model="nobody/no-such-model", task=None, **data) -> Recipe:
    named = {} if target is None else {"target": target}
    return Recipe.load(
        {
            "data": {"folder": str(folder), "train": "train.csv", "near": {"policy": "off"}, **named, **data},
            "task": task or {"name": "classify", "text": "text", "label": "label"},
            "model": model,
            "monitor": {"permutations": 200},
        }
    )


def slugs(run: Run) -> list[str]:
    return [finding["slug"] for finding in run.read_json("data.json")["findings"]]


def test_a_target_of_other_texts_is_found_and_told(tmp_path):
    write(tmp_path / "train.csv", texts(300, 1), labels="ab")
    write(tmp_path / "other.csv", texts(60, 2, ["visa", "embassy", "passport", "border", "consulate"]))
    run, heard = Run(tmp_path / "runs" / "a"), []
    prepare(recipe(tmp_path, "other.csv"), run, listen=lambda event, **facts: heard.append((event, facts)))
    found = run.read_json("data.json")["target"]
    assert {"target-shift", "target-not-covered"} <= set(slugs(run))
    assert found["compared_by"] == "TF-IDF"
    assert found["rows"] == {"train": 240, "target": 60, "of_target": 60}
    assert {"passport", "visa"} & set(found["regions"][0]["words"])
    assert "target-shift" in [facts["finding"].slug for event, facts in heard if event == "finding"]
    page = (run.path / "data.html").read_text()
    assert "Where the target lies and train does not" in page
    assert 'id="target"' in page


def test_the_prepared_rows_stay_the_same_and_the_comparison_is_not_made_twice(tmp_path, monkeypatch):
    write(tmp_path / "train.csv", texts(300, 1), labels="ab")
    write(tmp_path / "same.csv", texts(60, 2))
    run = Run(tmp_path / "runs" / "a")
    with_target = prepare(recipe(tmp_path, "same.csv"), run)
    assert slugs(run)[-1] == "target-alike"
    before = run.read_json("data.json")
    assert prepare(recipe(tmp_path, None), Run(tmp_path / "runs" / "b")).path == with_target.path
    monkeypatch.setattr("septet.watch.target.judge", None)  # would fail where it is called
    prepare(recipe(tmp_path, "same.csv"), run)
    assert run.read_json("data.json") == before
    write(tmp_path / "same.csv", texts(61, 2))
    with pytest.raises(TypeError):
        prepare(recipe(tmp_path, "same.csv"), run)


def test_the_model_embeds_where_it_is_here(tmp_path):
    write(tmp_path / "train.csv", texts(120, 1), labels="ab")
    write(tmp_path / "same.csv", texts(50, 2), labels="ab")
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe(tmp_path, "same.csv", model="starter"), run)
    found = run.read_json("data.json")["target"]
    assert found["compared_by"] == "starter"
    assert {test["test"] for test in found["tests"]} == {"text", "labels", "length", "coverage"}


def log_of(path: Path, rows: list[dict], *, keep_text: bool) -> None:
    log = RequestLog(path, keep_text=keep_text, wrote=lambda n: None, dropped=lambda why, n: None, tell=print).start()
    for row in rows:
        log.put(Record(row, Prediction(0, "a", tokens=5), 0.01, "m"))
    log.close()


def test_a_request_log_is_a_target_where_it_keeps_texts(tmp_path):
    write(tmp_path / "train.csv", texts(300, 1), labels="ab")
    log_of(tmp_path / "requests.sqlite", [{"text": text} for text in texts(70, 2)], keep_text=True)
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe(tmp_path, "requests.sqlite"), run)
    assert run.read_json("data.json")["target"]["rows"]["target"] == 70
    assert "target-alike" in slugs(run)
    log_of(tmp_path / "bare.sqlite", [{"text": "one"}], keep_text=False)
    with pytest.raises(UsageError, match="keeps no texts"):
        prepare(recipe(tmp_path, "bare.sqlite"), run)


def test_a_request_of_two_columns_is_read_from_its_json(tmp_path):
    lines = [f"{a},{b},{'xy'[i % 2]}" for i, (a, b) in enumerate(zip(texts(200, 1), texts(200, 3), strict=True))]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,label", *lines]) + "\n")
    rows = [{"a": a, "b": b} for a, b in zip(texts(60, 2), texts(60, 4), strict=True)]
    log_of(tmp_path / "requests.sqlite", rows, keep_text=True)
    run = Run(tmp_path / "runs" / "a")
    task = {"name": "classify", "text": ["a", "b"], "label": "label"}
    prepare(recipe(tmp_path, "requests.sqlite", task=task), run)
    assert "target-alike" in slugs(run)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, UsageError, "no such file"),
        ("body,label\nx,a\n", RecipeError, "data.target"),
    ],
)
def test_a_target_that_cannot_be_read_is_named(tmp_path, content, error, words):
    write(tmp_path / "train.csv", texts(60, 1), labels="ab")
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(error, match=words):
        prepare(recipe(tmp_path, "t.csv"), Run(tmp_path / "runs" / "a"))


def test_the_facts_are_plain_json(tmp_path):
    write(tmp_path / "train.csv", texts(300, 1), labels="ab")
    write(tmp_path / "t.csv", texts(80, 2), labels="aaaaaaab")
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe(tmp_path, "t.csv"), run)
    found = run.read_json("data.json")["target"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["labels"][0] == {"label": "a", "before": 0.5, "now": 0.875}
    assert "target-label-shift" in slugs(run)


def test_how_the_target_was_read_is_told(tmp_path):
    write(tmp_path / "train.csv", texts(300, 1), labels="ab")
    (tmp_path / "other.csv").write_text("n;text\n" + "".join(f"{i};{text}\n" for i, text in enumerate(texts(60, 2))))
    run = Run(tmp_path / "runs" / "a")
    prepare(recipe(tmp_path, "other.csv"), run)
    assert "delimiter-guessed" in slugs(run)
