"""`septet init` on a table of numbers and categories: it names the columns, and says what is the better tool."""

from __future__ import annotations

import random

import numpy as np
import pytest

from septet.init import init
from septet.recipe import Recipe


def table(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def clinic(tmp_path):
    draw = random.Random(0)
    rows = [
        (i, f"2026-11-{i % 28 + 1:02}", draw.randint(20, 80), round(draw.random(), 3), draw.choice("ab"), 1, i % 2)
        for i in range(60)
    ]
    return table(tmp_path / "clinic.csv", "patient_id,seen_date,age,dose,plan,site,outcome", rows)


def test_columns_are_named_and_keys_times_and_constants_left_out(clinic, tmp_path):
    text = init(clinic, label="outcome", out=tmp_path / "recipe.yaml")
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert recipe.task.columns == ["age", "dose", "plan"] and recipe.task.text is None
    assert recipe.task.label == "outcome" and recipe.whys["task.label"].startswith("given with --label")
    why = recipe.whys["task.columns"]
    assert "3 hold numbers and categories; left out: patient_id, seen_date, site" in why
    assert "gradient-boosted tree" in text and "seen_date says when a row came to be" in text


def test_arrays_are_such_a_table(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    init(tmp_path / "a.npz", out=tmp_path / "recipe.yaml")
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert (recipe.task.columns, recipe.task.label) == (["X0", "X1", "X2"], "y")
    np.savez(tmp_path / "wide.npz", X=rng.normal(size=(60, 50)), y=np.arange(60) % 2)
    init(tmp_path / "wide.npz", out=tmp_path / "wide.yaml")
    assert Recipe.load(tmp_path / "wide.yaml").task.columns == "all"


@pytest.mark.parametrize(
    ("header", "rows", "text"),
    [
        ("text,size,label", [(f"w{i}", i, i % 2) for i in range(40)], "text"),
        ("size,remark,label", [(i, f"it was {i} long", i % 2) for i in range(40)], "remark"),
        ("size,label", [(i * 1.5, i % 2) for i in range(40)], "size"),
    ],
    ids=["named", "words", "one"],
)
def test_a_text_or_a_single_column_stays_what_is_read(header, rows, text, tmp_path):
    init(table(tmp_path / "a.csv", header, rows), out=tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml").task.text == text
