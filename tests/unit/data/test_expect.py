"""Data tests in a recipe: kept ones are silent, others stop with exit code 3, nonsense is told before anything is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from septet.cli import main
from septet.data.expect import COUNTS, FINDINGS, Bound
from septet.errors import CheckError, RecipeError


@pytest.mark.parametrize(
    ("text", "count", "holds"),
    [
        (">= 1,000", 1000, True),
        (">= 1_000", 999, False),
        ("< 1%", 9, True),
        ("<1%", 10, False),
        (" == 0 ", 0, True),
        ("> 0.5 %", 5, False),
        ("<= 10", 10, True),
    ],
)
def test_a_bound_is_a_number_of_rows_or_a_share_of_those_read(text, count, holds):
    assert Bound.of(text).holds(count, 1000) is holds


ROWS = [
    {"text": f"{word} came {again} times to the door of number {i}", "label": "ab"[i % 2]}
    for i, word in enumerate(["post", "milk", "rain", "dogs", "cats", "snow", "wind", "news", "bread", "birds"])
    for again in ("three", "many")
]


def test_what_is_kept_is_silent(prepared):
    expect = {
        "rows": ">= 20",
        "train": "> 10",
        "test": "== 2",
        "validation": ">= 2",
        "duplicates": "<= 5%",
        "labels": "== 2",
    }
    done = prepared(
        {"train": [*ROWS, ROWS[0]]},
        {"expect": expect | {"rarest-label": ">= 5", "dropped": "== 1", "empty-text": "== 0"}},
    )
    assert "expectation-failed" not in {f["slug"] for f in done.findings.to_json()}


def test_every_one_that_is_not_is_told(prepared):
    expect = {"rows": ">= 21", "duplicates": "< 4%", "near-duplicates": "== 0", "labels": "> 1"}
    with pytest.raises(CheckError) as caught:
        prepared(
            {"train": [*ROWS, ROWS[0], {"text": "Post came three times, to the door of number 0!", "label": "a"}]},
            {"expect": expect},
        )
    told = str(caught.value)
    assert "data.expect: duplicates must be < 4%; it is 1 (4.5 % of the rows read)." in told
    assert "data.expect: near-duplicates must be == 0; it is 1." in told
    assert "rows must be" not in told
    assert caught.value.exit_code == 3


def test_the_guide_names_all_that_is_counted():
    guide = (Path(__file__).parents[3] / "docs" / "how-to" / "test-your-data.md").read_text()
    assert [name for name in (*COUNTS, *FINDINGS) if f"`{name}`" not in guide] == []


def test_names_and_bounds_are_checked_first(prepared, recipe):
    with pytest.raises(RecipeError, match="names nothing that is counted") as caught:
        prepared({"train": ROWS}, {"expect": {"duplicate": "< 1%"}})
    assert "duplicates" in str(caught.value)
    with pytest.raises(RecipeError, match="near duplicates are not looked for"):
        prepared({"train": ROWS}, {"expect": {"near-leak": "== 0"}, "near": {"policy": "off"}})
    for name, key in (
        ("contaminated", "data.against"),
        ("semantic-leak", "data.near.semantic"),
        ("language-other", "data.clean.language"),
        ("labels-doubtful", "data.doubtful.policy"),
    ):
        with pytest.raises(RecipeError, match=f"data.expect.{name} cannot be known") as caught:
            prepared({"train": ROWS}, {"expect": {name: "== 0"}})
        assert f"try: {key}" in str(caught.value)
    with pytest.raises(RecipeError, match="must be a comparison") as caught:
        recipe({"train": "x.csv", "expect": {"rows": "1000"}})
    assert "data.expect.rows" in str(caught.value)


def test_the_command_line_ends_with_3(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    source = {
        "data": {"train": "rows.jsonl", "expect": {"rows": ">= 1000"}},
        "task": {"name": "classify", "text": "text", "label": "label"},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(source))
    with pytest.raises(SystemExit) as ended:
        main(["prepare", str(tmp_path / "recipe.yaml"), "--run", str(tmp_path / "run"), "--json"])
    assert ended.value.code == 3
    assert "rows must be >= 1000; it is 20" in capsys.readouterr().out
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert [f["evidence"]["count"] for f in facts["findings"] if f["slug"] == "expectation-failed"] == [20]
