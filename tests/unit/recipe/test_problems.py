"""What is wrong with a recipe is said all at once, in the house form, with the place and a way out."""

import pytest

from septet.errors import Problems, SeptetError
from septet.recipe import Recipe

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


def test_the_house_form_of_an_error(tmp_path):
    path = written(
        tmp_path,
        "data: {train: a.csv}\ntask:\n  name: classify\n  text: body\n  label: team\nmethod:\n  name: lora\n\n  rank: eight\n",
    )
    [problem] = problems(path)
    assert str(problem) == (
        f'RecipeError: method.rank must be a whole number from 1 to 512. Received: "eight"\n  {path} line 9\n  try: rank: 16   (septet explain method.rank)'
    )


def test_all_problems_at_once_in_the_order_of_lines(tmp_path):
    found = problems(
        written(
            tmp_path,
            """\
data: {train: tickets.csv, test: tickets.csv, encoding: utf-9}
task: {name: classify, text: body, labell: team}
method: {name: lora, rank: 0}
train:
  lr: "1e-4"
  batch: 8
  micro_batch: 16
  seed: -1
  weight_decay: .inf
  clip: -1
  max_time: soon
evaluat: {}
""",
        )
    )
    lines = [int(problem.where.rpartition(" ")[2]) for problem in found]
    assert lines == sorted(lines)
    assert set(lines) == {1, 2, 3, 5, 7, 8, 9, 10, 11, 12}
    assert len(found) == 12


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ('train.lr="1e-4"', "a number above 0", "without the quotes"),
        ("train.lr=-1", "a number above 0", "lr: 1.0e-4"),
        ("train.lr=.nan", "a number above 0", "train.lr"),
        ("train.lr=1e999", "a number above 0", "train.lr"),
        ("train.keep=2.0", "a whole number of 1 or more", "keep: 2"),
        ("train.warmup=2.5", "a share below 1", "0.06"),
        ("train.schedule=cosin", "linear, cosine, constant", "schedule: cosine"),
        ("train.max_time=soon", "30m", "max_time"),
        ("train.save_every=often", "5m", "save_every"),
        ("train.max_time=10", "text", "max_time: 30m"),
        ("train.save_every=0", "a whole number of 1 or more", "save_every: 5m"),
        ("train.compile=yes", "true or false", "compile: true"),
        ("train.kernels=off", "true or false", "kernels: false"),
        ("optimizer.betas=[0.9]", "a list of 2 numbers", "[0.9, 0.999]"),
        ("serve.port=99999", "from 0 to 65,535", "8000"),
        ("evaluate.confidence=1", "above 0 and below 1", "0.95"),
        ("data.split.test=1.5", "from 0 to below 1", "0.1"),
        ("data.split={validation: 0.6, test: 0.5}", "must add up to less than 1", "split"),
        ("data.validation=tickets.csv", "the same file as data.train", "leave"),
        ("data.train=[a.csv, a.csv]", "twice", "once"),
        ("data.train=[]", "a list", "train.csv"),
        ("data.encoding=utf-9", "encoding that Python knows", "utf-8"),
        ("data.test={a b: x.csv}", "test set", "web"),
        ("monitor.permutations=10", "at least 99", "1000"),
        ("monitor.window=10", "min_requests", "window"),
        ("task.labels=[0, 1]", "a list of texts", '"0", "1"'),
        ("deploy.exports=hf", "a list of texts", "[hf]"),
        ("evaluate.baselines=[majorityy]", "no baseline", ""),
        ("evaluate.metrics=[f1, acuracy]", "evaluate.metrics names 'acuracy', which is no metric", "mean accuracy"),
        ("evaluate.metrics=[f1, f1]", "evaluate.metrics names 'f1' twice", "once"),
        ("evaluate.metrics=['recall[late]', 'f2[late]']", "names 'f2[late]', which is no metric", "mean f1"),
        ("train.metric=acuracy", "train.metric names 'acuracy', which is no metric", "mean accuracy"),
        ("task=classify", "task.text is missing", "COLUMN"),
        ("task.name=clasify", "must be one of", "classify"),
        ("method=lorra", "must be one of", "lora"),
        ("method.rank=8", "belongs to the method lora", "{name: lora, rank: 8}"),
        ("run.name=a/b", "run.name", "first-try"),
        ("model.max_length=1", "of 2 or more", "128"),
    ],
)
def test_values_that_make_no_sense_are_named(override, says, hint):
    text = "\n".join(str(problem) for problem in problems(MINIMAL, [override]))
    assert says in text
    assert hint in text


def test_a_misspelt_metric_is_told_with_its_line(tmp_path):
    text = "data: {train: missing.csv}\ntask: {name: classify, text: body, label: team}\n"
    text += "train:\n  metric: f1[late]\nevaluate:\n  metrics: [acuracy, 'recall[late]']\n"
    (problem,) = problems(written(tmp_path, text))
    assert "'acuracy'" in problem.what and problem.where.endswith("recipe.yaml line 6")


def test_contradictions_between_keys():
    assert "train.batch" in str(problems(MINIMAL, ["train.batch=8", "train.micro_batch=16"])[0])
    assert "whole run" in str(problems(MINIMAL, ["train.max_steps=10", "train.warmup=20"])[0])
    assert "cpu" in str(problems(MINIMAL, ["train.precision=fp16", "train.device=cpu"])[0])
    assert "beside data.hub" in str(problems(MINIMAL, ["data.hub.path=sst2"])[0])
    assert "ignored" in str(problems(MINIMAL, ["data.test=t.csv", "data.split.test=0.3"])[0])
    assert Recipe.load(MINIMAL, ["data.test=t.csv", "data.split.test=0"]).data.split.test == 0


def test_a_split_that_is_given_is_not_counted():
    assert Recipe.load(MINIMAL, ["data.test=t.csv", "data.split.validation=0.95"]).data.split.validation == 0.95


def test_missing_sections_and_data():
    assert [str(problem).split("\n")[0] for problem in problems({"model": "starter"})] == [
        "RecipeError: The recipe needs the section data.",
        "RecipeError: The recipe needs the section task.",
    ]
    assert "data.train is missing" in str(problems({"data": {}, "task": MINIMAL["task"]})[0])


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("train.lrr=1", "train.lr"),
        ("data.lr=1", "train.lr"),
        ("lr=1", "train.lr"),
        ("data.split.tset=0.1", "data.split.test"),
        ("evaluat.seed=1", "evaluate"),
        ("train.rank=4", "method.rank"),
        ("data.label=x", "task.label"),
        ("train.early_stopping={patience: 1, mindelta: 0}", "train.early_stopping.min_delta"),
    ],
)
def test_an_unknown_key_names_the_nearest(override, near):
    [problem] = problems(MINIMAL, [override])
    assert near in problem.hint


def test_an_unknown_key_names_at_most_three():
    [problem] = problems(MINIMAL, ["train.max_stepps=1"])
    assert problem.hint.count(" or ") <= 2
