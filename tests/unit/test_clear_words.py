"""What a newcomer gets wrong is answered with what is wanted: files for folders, tables for recipes, epochs without end."""

import subprocess
import sys

import pytest

from septet.check import check
from septet.errors import DataError, RecipeError, SeptetError, UsageError
from septet.recipe import Recipe
from septet.recipe.scan import scan
from septet.run import Run
from septet.tasks.classify import Classify
from septet.train import train

GIVEN = {"data": {"train": "a.csv"}, "task": {"name": "classify", "text": "text", "label": "label"}}


@pytest.mark.parametrize("epochs", [1e300, 1_000_001])
def test_epochs_have_an_end(epochs):
    with pytest.raises(SeptetError, match="above 0 and at most 1,000,000"):
        Recipe.load(GIVEN | {"train": {"epochs": epochs}})


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "recipe.yaml").write_text("data: {}")
    with pytest.raises(UsageError, match="A run is a folder; this is a file"):
        Run.open(tmp_path / "recipe.yaml")


def test_a_table_is_no_recipe():
    with pytest.raises(RecipeError, match=r"septet init tickets\.csv -o recipe\.yaml"):
        scan('id,text\n1,"He said: no"\n2,a: b: c\n', "tickets.csv")


def test_an_input_may_be_a_text():
    options = Recipe.load(GIVEN).task
    with pytest.raises(DataError, match="An input is a text, or an object with text"):
        Classify(options).parse(1)


def test_a_closed_output_is_no_defect():
    command = f"exec '{sys.executable}' -m septet list >&-"
    found = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert "Defect" not in found.stderr and "Traceback" not in found.stderr


def test_a_model_folder_that_is_not_there_is_told_before_anything_is_prepared(tmp_path, monkeypatch):
    (tmp_path / "damaged").mkdir()
    for verb in (check, train):
        monkeypatch.setattr(f"{verb.__module__}.prepare", lambda *_, **__: pytest.fail("it was prepared"))
        for name, told in (("./nowhere", "no model folder here"), (str(tmp_path / "damaged"), "no config.json")):
            recipe = Recipe.load(GIVEN | {"model": name})
            with pytest.raises(SeptetError, match=told):
                verb(recipe, Run(tmp_path / verb.__name__).create())
