"""Variants of training rows: made once and by rule, never those of held-out rows, with their labels, and judged by a teacher."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from test_doubt import TOPICS, rows

import small
from septet import registry
from septet.augment import augment, varied
from septet.errors import DataError, RecipeError
from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run
from septet.teacher import agreement, wilson

PLAIN = {"augmenters": ["drop", "swap"], "copies": 3, "check": False}


@pytest.fixture
def made(tmp_path):
    small.recipe(tmp_path, count=20)  # a tiny model

    def make(table: list[dict[str, str]], held: list[dict[str, str]] | None = None, name: str = "one", **options: Any):
        source = {
            "data": {"train": "<memory>", "split": {"validation": 0.2, "test": 0.0}, "augment": {**PLAIN, **options}},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": {"name": str(tmp_path / "base"), "max_length": 32},
        }
        tables = {"train": table}
        if held is not None:
            source["data"] |= {"test": "<memory>", "split": {"validation": 0.0}}
            tables["test"] = held
        recipe = Recipe.load(source, in_memory=tuple(tables))
        run = Run(tmp_path / "runs" / name)
        return recipe, prepare(recipe, run, tables=tables), run.read_json("data.json")

    return make


def by_row(recipe, prepared):
    """Return the text of each row -> its variants."""
    found: dict[str, list[tuple[str, str]]] = {}
    texts = [row["text"] for row in prepared.rows("train")]
    for copy in augment(recipe, prepared).copies():
        found.setdefault(texts[copy.place], []).append((copy.augmenter, copy.texts[0]))
    return found


def test_variants_follow_from_the_row_and_not_from_its_place(made):
    table = rows(60)
    first = by_row(*made(table)[:2])
    second = by_row(*made(table[::-1], name="two")[:2])
    third = by_row(*made(table, name="three", seed=7)[:2])
    assert len(first) == 48 and first == second != third
    assert all(1 <= len(each) <= 3 and len({text for _, text in each}) == len(each) for each in first.values())


def test_every_variant_is_booked(made):
    _, prepared, facts = made(rows(60))
    found = facts["augmented"]
    assert sum(found["made"].values()) + sum(found["left_out"].values()) == 3 * prepared.splits["train"]["rows"]
    assert set(found["made"]) == {"drop", "swap"}
    assert facts["ledger"]["train"]["variants"] == found["made"]
    (note,) = [f for f in facts["findings"] if f["slug"] == "rows-augmented"]
    assert f"{sum(found['made'].values()):,} variants of {found['varied']:,} of 48 rows" in note["message"]


def test_no_variant_is_the_text_of_another_row(made):
    table = [{"text": "alpha beta", "label": "a"}, {"text": "beta alpha", "label": "b"}, {"text": "beta", "label": "b"}]
    held = [{"text": "alpha", "label": "a"}, {"text": "something else", "label": "b"}]
    recipe, prepared, facts = made(table, held, copies=6)
    assert augment(recipe, prepared).copies() == []
    left = facts["augmented"]["left_out"]
    # dropping a word gives a held-out text or another row's; of one word nothing can be dropped or swapped
    assert left["the text of a held-out row"] > 0 and left["the text of another row"] > 0
    assert left["unchanged"] == 6 and sum(left.values()) == 18


def test_they_are_made_once_for_all_who_want_the_same(made):
    recipe, prepared, _ = made(rows(30))
    folder = augment(recipe, prepared).folder
    stamp = (folder / "copies.parquet").stat().st_mtime_ns
    again, same, facts = made(rows(30), name="two", share=0.9)
    assert same.path == prepared.path and (folder / "copies.parquet").stat().st_mtime_ns == stamp
    assert facts["augmented"]["share"] == 0.9 and augment(again, same).folder == folder
    other, kept, _ = made(rows(30), name="three", keep=[])
    assert kept.path == prepared.path and augment(other, kept).folder != folder


def test_a_damaged_file_is_named(made):
    recipe, prepared, _ = made(rows(30))
    found = augment(recipe, prepared)
    (found.folder / "copies.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="missing or damaged"):
        found.copies()


def test_protected_words_stay(made):
    words = "|".join(TOPICS["fruit"])
    found = by_row(*made(rows(60), keep=[words], augmenters={"drop": 0.5, "typos": 1.0})[:2])
    fruit = [(text, each) for text, each in found.items() if text.split()[0] in TOPICS["fruit"]]
    assert fruit == []  # every word of these rows is protected, or holds a digit
    assert len(found) > 20


def test_examples_of_variants_have_the_label_of_their_row(made):
    recipe, prepared, _ = made(rows(60), augmenters=["drop", "casing"])
    table = prepared.rows("train")
    task = registry.part("task", "classify")(recipe.task).learn(table, max_length=32)
    processor = task.input.processor(recipe.model.name)
    examples, versions, note = varied(augment(recipe, prepared), task, processor, table, None)
    assert note is not None and note.slug == "augmentation-without-effect"  # the tiny model reads small letters
    assert len(examples) == len(versions.owners) > 0
    for example, place in zip(examples, versions.owners, strict=True):
        assert task.labels[example.target] == table[place]["label"]
    ids = [e.row for e in examples] + [row["_row"] for row in table]
    assert max(Counter(ids).values()) == 1


def test_both_texts_of_a_pair_are_varied(tmp_path):
    small.recipe(tmp_path, count=20)
    table = [{**row, "more": f"other words {i} here"} for i, row in enumerate(rows(30))]
    source = {
        "data": {"train": "<memory>", "split": {"validation": 0.0, "test": 0.0}, "augment": PLAIN},
        "task": {"name": "classify", "text": ["text", "more"], "label": "label"},
        "model": {"name": str(tmp_path / "base"), "max_length": 32},
    }
    recipe = Recipe.load(source, in_memory=("train",))
    prepared = prepare(recipe, Run(tmp_path / "runs" / "one"), tables={"train": table})
    known = prepared.rows("train")
    copies = augment(recipe, prepared).copies()
    changed = [
        [known[c.place][name] != text for name, text in zip(("text", "more"), c.texts, strict=True)] for c in copies
    ]
    assert len(copies) > 60 and all(any(each) for each in changed)
    assert sum(map(all, changed)) > 0.8 * len(copies)  # two equal words beside each other swap to the same text


OWN = '''"""Exchanges the words of one topic for those of the next, so that the label is wrong."""

from septet.augmenters import Augmenter

kind = "augmenter"
TOPICS = {topics}


class Deceive(Augmenter):
    def change(self, phrase, rng):
        topics = list(TOPICS.values())
        other = {{w: topics[(i + 1) % 3][j] for i, words in enumerate(topics) for j, w in enumerate(words)}}
        return phrase.replaced({{span: other[phrase.text[slice(*span)]] for span in phrase.words}})
'''


@pytest.fixture
def deceive(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_codes", {})
    (tmp_path / "deceive.py").write_text(OWN.format(topics=TOPICS))
    return registry.load_code(tmp_path / "deceive.py")


def test_a_teacher_sees_labels_that_do_not_survive(made, deceive, monkeypatch):
    from septet.baselines._folds import Counted

    monkeypatch.setattr("septet.teacher.encoder_of", lambda recipe, listen: Counted())
    slugs = {}
    for name in ("swap", "deceive"):
        facts = made(rows(150), name=name, augmenters=[name], check=True)[2]
        slugs[name] = {f["slug"] for f in facts["findings"]}
        judged = facts["augmented"]["agreement"]
        assert judged["accuracy"] > 0.9 and judged["n"] > 80
        assert (judged["kept"] > 0.95) if name == "swap" else (judged["kept"] < 0.3)
        assert judged["low"] <= judged["kept"] <= judged["high"]
    assert "augmentation-changes-labels" in slugs["deceive"] - slugs["swap"]


def test_a_teacher_that_learned_nothing_says_nothing(made):
    from septet.baselines._folds import Counted

    recipe, _, _ = made(rows(30))
    table = [(f"{i} x",) for i in range(60)]
    variants = [type("V", (), {"place": i, "augmenter": "a", "texts": (f"{i} y",)})() for i in range(60)]
    assert agreement(recipe, table, ["a", "b"] * 30, variants, encoder=Counted()) is None


def test_wilson():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson(10, 10)[1] == 1.0


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"copies": 2}, "data.augment.copies would be ignored"),
        ({"augmenters": ["typo"]}, "names 'typo', which is no augmenter"),
        ({"augmenters": ["typos", "typos"]}, "names 'typos' twice"),
        ({"augmenters": ["back_translation"]}, "data.augment.translators is missing"),
        ({"augmenters": ["typos"], "translators": ["a", "b"]}, "data.augment.translators would be ignored"),
        ({"augmenters": ["typos"], "keep": ["("]}, "which is no regular expression"),
        ({"augmenters": {"typos": 1.5}}, "data.augment.augmenters must be"),
    ],
)
def test_a_block_that_makes_no_sense_is_named(block, said):
    with pytest.raises(RecipeError) as error:
        Recipe.load(
            {"data": {"train": "x.csv", "augment": block}, "task": {"name": "classify", "text": "a", "label": "b"}}
        )
    assert said in str(error.value)
