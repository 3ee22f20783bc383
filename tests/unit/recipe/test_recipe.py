"""A recipe: loaded, overridden, checked, filled, saved."""

import math
from pathlib import Path

import pytest
import yaml

from septet.errors import Problems, RecipeError, SeptetError, UsageError
from septet.recipe import MEMORY, Recipe

MINIMAL = {"data": {"train": "tickets.csv"}, "task": {"name": "classify", "text": "body", "label": "team"}}


def problems(source, overrides=()):
    """Return the errors of a recipe that must not load."""
    with pytest.raises(SeptetError) as caught:
        Recipe.load(source, overrides)
    return caught.value.problems if isinstance(caught.value, Problems) else [caught.value]


def written(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


# ---- loading ----


def test_four_lines_are_enough(tmp_path):
    recipe = Recipe.load(
        written(
            tmp_path,
            "data: {train: tickets.csv}\ntask: {name: classify, text: body, label: team}\nmodel: starter\nmethod: lora\n",
        )
    )
    assert (recipe.task.name, recipe.method.name, recipe.method.rank, recipe.model.name) == (
        "classify",
        "lora",
        16,
        "starter",
    )
    assert recipe.train.lr is None
    assert recipe.folder == tmp_path
    assert recipe.path("tickets.csv") == tmp_path / "tickets.csv"


def test_method_and_model_have_defaults_with_reasons():
    recipe = Recipe.load(MINIMAL)
    assert recipe.method.name == "full"
    assert "strongest" in recipe.whys["method.name"]
    assert recipe.whys["data.train"] == "set in the recipe"
    assert recipe.folder == Path.cwd()


def test_a_recipe_loads_as_itself():
    recipe = Recipe.load(MINIMAL)
    assert Recipe.load(recipe) is recipe
    changed = Recipe.load(recipe.filled({"train.epochs": (3, "few rows")}), ["train.lr=1e-3"])
    assert changed.train.lr == 1e-3
    assert changed.whys["train.epochs"] == "few rows"
    assert changed.whys["train.lr"] == "set on the command line"


def test_blocks_are_the_options_of_the_registered_file():
    from septet.methods.lora import Options

    recipe = Recipe.load(MINIMAL | {"method": {"name": "lora", "rank": 4}})
    assert isinstance(recipe.method, Options)


def test_whole_numbers_are_fine_for_floats_and_booleans_are_not_numbers():
    recipe = Recipe.load(MINIMAL, ["train.epochs=3", "train.clip=2"])
    assert recipe.train.epochs == 3.0
    assert "train.epochs" in str(problems(MINIMAL, ["train.epochs=true"])[0])
    assert "train.seed" in str(problems(MINIMAL, ["train.seed=true"])[0])


def test_auto_and_null_leave_a_value_to_be_derived():
    recipe = Recipe.load(MINIMAL | {"train": {"lr": "auto", "epochs": None, "clip": None}, "method": "auto"})
    assert recipe.train.lr is None
    assert recipe.train.epochs is None
    assert recipe.train.clip is None
    assert recipe.method.name == "full"


def test_auto_is_still_a_name_where_text_is_required():
    assert Recipe.load(MINIMAL, ["task.label=auto"]).task.label == "auto"


def test_tables_from_python_need_no_path(tmp_path):
    recipe = Recipe.load({"task": MINIMAL["task"]}, in_memory=["train", "test"])
    assert recipe.data.train == recipe.data.test == MEMORY
    assert Recipe.load(written(tmp_path, recipe.to_yaml())) == recipe


def test_plain_python_values_are_taken():
    import numpy as np

    recipe = Recipe.load(
        {
            "data": {"train": Path("a.csv")},
            "task": MINIMAL["task"],
            "train": {"seed": np.int64(7)},
            "optimizer": {"betas": (0.8, 0.9)},
        }
    )
    assert recipe.data.train == "a.csv"
    assert recipe.optimizer.betas == (0.8, 0.9)
    assert recipe.train.seed == 7


def test_a_table_in_the_recipe_is_pointed_to_its_place():
    [problem] = problems({"data": {"train": object()}, "task": MINIMAL["task"]})
    assert 'data={"train": table}' in str(problem)


@pytest.mark.parametrize(
    ("text", "says"), [("", "empty"), ("# only a comment\n", "empty"), ("- a\n", "mapping"), ("word", "mapping")]
)
def test_no_mapping_is_no_recipe(tmp_path, text, says):
    [problem] = problems(written(tmp_path, text))
    assert says in str(problem)


def test_missing_file_folder_and_bad_bytes(tmp_path):
    written(tmp_path, "data: {}")
    [missing] = problems(tmp_path / "recip.yaml")
    assert isinstance(missing, UsageError)
    assert "recipe.yaml" in missing.hint
    [folder] = problems(tmp_path)
    assert "folder" in str(folder)
    (tmp_path / "latin.yaml").write_bytes(b"data: {}\ntask: \xff\n")
    [undecodable] = problems(tmp_path / "latin.yaml")
    assert undecodable.where.endswith("latin.yaml line 2")


# ---- overrides ----


def test_overrides_use_the_scalars_of_a_recipe():
    recipe = Recipe.load(
        MINIMAL,
        [
            "train.lr=1e-4",
            "method=lora",
            "method.rank=8",
            "data.split.validation=0.2",
            "data.test.web=x.csv",
            "evaluate.baselines=[majority]",
            "train.clip=null",
            "task.label=NO",
        ],
    )
    assert recipe.train.lr == 1e-4
    assert recipe.method.rank == 8
    assert recipe.data.test == {"web": "x.csv"}
    assert recipe.evaluate.baselines == ["majority"]
    assert recipe.train.clip is None
    assert recipe.task.label == "NO"
    assert recipe.whys["train.lr"] == "set on the command line"
    assert "# on the command line: train.lr=1e-4" in recipe.given


def test_an_override_keeps_special_characters_of_text():
    recipe = Recipe.load(MINIMAL, ["task.label=my: label #1", "data.train=@home.csv", "data.delimiter=|"])
    assert recipe.task.label == "my: label #1"
    assert recipe.data.train == "@home.csv"
    assert recipe.data.delimiter == "|"


def test_the_last_override_wins():
    assert Recipe.load(MINIMAL, ["train.seed=1", "train.seed=2"]).train.seed == 2


def test_an_override_makes_the_block_it_needs():
    assert Recipe.load(MINIMAL, ["train.early_stopping.patience=3"]).train.early_stopping.patience == 3


@pytest.mark.parametrize(
    "override",
    [
        "train.lr",
        "=3",
        "train.=3",
        "data.train.web=x",
        "train.lr=[1",
        "train.lr=eight",
        "train.lrr=1",
        "train.early_stoping.patience=3",
        "foo=1",
        "serve.port=99999",
    ],
)
def test_a_wrong_override_names_the_command_line(override):
    [problem] = problems(MINIMAL, [override])
    assert problem.exit_code == 2
    assert problem.where.startswith("command line")


# ---- filling and saving ----


def test_filled_respects_what_is_set():
    recipe = Recipe.load(MINIMAL, ["train.lr=1e-3"]).filled(
        {"train.lr": (5e-5, "full"), "train.epochs": (3, "850 rows"), "train.precision": ("bf16", "6.1 times faster")}
    )
    assert (recipe.train.lr, recipe.train.epochs, recipe.train.precision) == (1e-3, 3.0, "bf16")
    assert recipe.whys["train.epochs"] == "850 rows"
    assert recipe.whys["train.lr"] == "set on the command line"
    with pytest.raises(UsageError, match=r"no key train\.lrr"):
        recipe.filled({"train.lrr": (1, "")})


FULL = [
    "train.lr=1e-4",
    "optimizer.betas=[0.8, 0.99]",
    "data.test={web: a.csv, shop: [b.csv, c.csv]}",
    "data.sample={train: 100}",
    "train.early_stopping={patience: 2, min_delta: 1e-3}",
    "train.eval_every=0.25",
    "train.clip=null",
    'task.labels=["NO", "on", "12:30", "1e-4", "null", "ünï", "a \\"b\\"", "😀", "a: b", " x", "#", ""]',
    "task.class_weights={NO: 1, on: 2.5}",
    "method={name: lora, rank: 4}",
    "model.dropout=0.2",
]


def test_a_saved_recipe_loads_as_an_equal_one_with_the_same_whys(tmp_path):
    recipe = Recipe.load(MINIMAL, FULL).filled(
        {"train.epochs": (3.5, "because: a # b"), "model.max_length": (192, "p99 of your rows is 187 tokens")}
    )
    again = Recipe.load(written(tmp_path, recipe.to_yaml()))
    assert again == recipe
    assert again.whys == recipe.whys
    assert again.to_yaml() == recipe.to_yaml()
    assert again.folder == recipe.folder != tmp_path


def test_every_key_of_a_saved_recipe_has_its_why():
    recipe = Recipe.load(MINIMAL, FULL)
    keys = [
        line
        for line in recipe.to_yaml().splitlines()
        if ":" in line and not line.startswith("#") and not line.rstrip().endswith(":")
    ]
    assert len(keys) == len(recipe.whys) > 60
    assert [line for line in keys if "# why: " not in line] == []


def test_a_saved_recipe_means_the_same_to_an_older_yaml():
    """PyYAML reads by YAML 1.1; what differs there is quoted or written with a point."""
    recipe = Recipe.load(MINIMAL, FULL)
    old = yaml.safe_load(recipe.to_yaml())
    assert old["train"]["lr"] == 1e-4
    assert old["optimizer"]["eps"] == 1e-8
    assert old["task"]["labels"] == recipe.task.labels
    assert old["task"]["class_weights"] == {"NO": 1, "on": 2.5}


def test_secrets_stay_out_of_saved_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SEPTET_TEST_DIR", "/secret/place")
    text = """\
data:
  train: ${SEPTET_TEST_DIR}/a.csv
  validation: "https://me:pa55word@example.com/v.csv"
  test: "https://example.com/t.csv?token=abc123&x=1"
task: {name: classify, text: body, label: team}
"""
    recipe = Recipe.load(written(tmp_path, text))
    assert recipe.path(recipe.data.train) == Path("/secret/place/a.csv")
    for saved in (recipe.to_yaml(), recipe.given):
        assert "${SEPTET_TEST_DIR}/a.csv" in saved
        assert "https://me:***@example.com/v.csv" in saved
        assert "token=***&x=1" in saved
        assert "pa55word" not in saved
        assert "abc123" not in saved
        assert "/secret" not in saved
    assert "pa55word" in recipe.data.validation


def test_variables(monkeypatch):
    recipe = Recipe.load(MINIMAL)
    monkeypatch.delenv("SEPTET_ABSENT", raising=False)
    assert recipe.expand("${SEPTET_ABSENT:-x}/y") == "x/y"
    assert recipe.expand("${SEPTET_ABSENT:-}") == ""
    with pytest.raises(RecipeError, match="SEPTET_ABSENT is not set"):
        recipe.expand("${SEPTET_ABSENT}")


def test_data_folder_moves_relative_paths(tmp_path):
    recipe = Recipe.load(
        written(tmp_path, "data: {folder: sets, train: a.csv}\ntask: {name: classify, text: t, label: l}\n")
    )
    assert recipe.path("a.csv") == tmp_path / "sets" / "a.csv"
    assert recipe.path("/b.csv") == Path("/b.csv")
    assert recipe.path("~/c.csv") == Path.home() / "c.csv"


def test_save_every_counts_steps_or_time():
    counted = Recipe.load(MINIMAL, ["train.save_every=100"]).train
    assert (counted.save_steps, counted.save_every_s) == (100, None)
    timed = Recipe.load(MINIMAL, ["train.save_every=1h"]).train
    assert (timed.save_steps, timed.save_every_s) == (None, 3600)
    assert Recipe.load(MINIMAL).train.save_every_s == 300, "a kill loses five minutes at most"
    never = Recipe.load(MINIMAL, ["train.save_every=null"]).train
    assert (never.save_steps, never.save_every_s) == (None, None)


def test_max_time_in_seconds():
    assert Recipe.load(MINIMAL, ["train.max_time=1h30m"]).train.max_time_s == 5400
    assert Recipe.load(MINIMAL, ["train.max_time=45s"]).train.max_time_s == 45
    assert Recipe.load(MINIMAL).train.max_time_s is None


def test_blocks_are_frozen():
    recipe = Recipe.load(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.lr = 1.0


def test_no_default_is_wrong():
    """Every default passes its own block's checks, and no float is nan or infinite."""
    values = Recipe.load(MINIMAL).to_dict()
    again = Recipe.load(values)
    assert again == Recipe.load(MINIMAL)
    assert all(
        math.isfinite(value) for block in values.values() for value in block.values() if isinstance(value, float)
    )
