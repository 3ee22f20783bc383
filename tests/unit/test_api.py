"""The Python names: there when asked for, callable before and after their files are imported."""

import subprocess
import sys

import pytest

import septet
from septet import api


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_septet_imports_nothing():
    out = run_python(
        "import sys, septet; print(sorted({'torch', 'pydantic', 'click', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    assert out.strip() == "[]"


def test_every_public_name_is_there():
    out = run_python(
        "import septet\nfor name in septet.__all__:\n    value = getattr(septet, name)\n    assert callable(value) or name == '__version__', name\nprint(dir(septet) == sorted(septet.__all__))"
    )
    assert out.strip() == "True"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="trian"):
        septet.trian  # noqa: B018


def test_a_verb_can_be_called_after_its_file_was_imported():
    out = run_python(
        """
import inspect
import septet
import septet.init as module
from septet.run import Run
from septet import api
api.init = lambda data: f"called with {data}"
assert septet.init("x.csv") == "called with x.csv"
assert module.find_splits
assert septet.run.Run is Run
assert "recipe" in inspect.signature(septet.run).parameters
print("fine")
"""
    )
    assert out.strip() == "fine"


def test_a_verb_passes_its_arguments_to_the_journey(monkeypatch):
    from septet import journey

    calls = []
    monkeypatch.setattr(journey, "train", lambda *args, **options: calls.append((args, options)))
    rows = [{"body": "x", "team": "y"}]
    septet.train("recipe.yaml", "train.lr=1e-4", run="runs/x", data={"train": rows})
    args, options = calls[0]
    assert args == ("recipe.yaml", ("train.lr=1e-4",))
    assert options["run"] == "runs/x"
    assert options["tables"] == {"train": rows}


def test_tables_are_told_apart():
    rows = [{"text": "a", "label": "b"}]
    columns = {"text": ["a", "b"], "label": ["x", "y"]}
    assert api.tables(None) is None
    assert api.tables(rows) == {"train": rows}
    assert api.tables({"train": rows, "test": rows}) == {"train": rows, "test": rows}
    assert api.tables(columns) == {"train": columns}
    assert api.tables({"train": columns}) == {"train": columns}


def test_tables_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame({"text": ["a"], "label": ["b"]})
    assert api.tables({"train": table})["train"] is table
    assert api.tables(table)["train"] is table


def test_list():
    assert "lora" in septet.list("method")
