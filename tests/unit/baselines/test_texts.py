"""The baselines that write texts."""

import gzip
import json
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from septet import baselines, registry
from septet.baselines import Options, nearest
from septet.baselines.constant import Constant
from septet.baselines.copy import Copy
from septet.baselines.lead import Lead, sentence_ends
from septet.baselines.nearest import Nearest

REPOSITORY = Path(__file__).parents[3]
PROMPTS = ["a dog runs", "two men play chess", "a child sleeps", "雨が降っています。", "Ein Café 🙂"]
REFERENCES = ["ein Hund rennt", "zwei Männer spielen Schach", "ein Kind schläft", "Es regnet.", "un café"]


def made(name: str, prompts: list[str] = PROMPTS, references: list[str] = REFERENCES):
    return registry.part("baseline", name)(Options()).fit(prompts, references)


def shared(name: str, split: str, prompt: str, reference: str) -> tuple[list[str], list[str]]:
    """Return the prompts and references of a shared file."""
    folder = Path(os.environ.get("SEPTET_SHARED", REPOSITORY.parent / "shared")) / "data" / name
    if not folder.is_dir():
        pytest.skip("no shared data (SEPTET_SHARED)")
    with gzip.open(folder / f"{split}.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    return [row[prompt] for row in rows], [row[reference] for row in rows]


# ---- all of them ----


@pytest.mark.parametrize("name", baselines.of("texts"))
def test_every_prompt_gets_its_text(name):
    baseline = made(name)
    asked = ["a dog", "", " \n", "未知の文。次の文。", "naïve “quotes”\u2028🙂", "x" * 5000]
    written = baseline.write(asked)
    assert len(written) == len(asked) and all(isinstance(text, str) for text in written)
    assert written == made(name).write(asked) and baseline.write(asked[:1]) == written[:1]
    assert made(name).write([]) == []
    json.dumps(baseline.facts, allow_nan=False)


@pytest.mark.parametrize("name", baselines.of("texts"))
@pytest.mark.parametrize("row", [("a dog runs", "ein Hund rennt"), ("", "?"), ("?", "")])
def test_one_training_row_is_enough(name, row):
    wanted = {"copy": "a cat. It sits.", "lead": "a cat."}
    assert made(name, [row[0]], [row[1]]).write(["a cat. It sits."]) == [wanted.get(name, row[1])]


# ---- copy, lead ----


def test_copy_answers_the_prompt():
    baseline = Copy(Options()).fit(PROMPTS, REFERENCES)
    assert baseline.write([" a\n", ""]) == [" a\n", ""] and baseline.facts == {}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" \n\t ", []),
        ("no end", ["no end"]),
        ("One. Two! Three? Four… Five", ["One.", " Two!", " Three?", " Four…", " Five"]),
        ("One.", ["One."]),
        ("3.5 of a.b.c?!  Yes...", ["3.5 of a.b.c?!", "  Yes..."]),
        ("A: hi\nB: ho\r\n\r\nC", ["A: hi\n", "B: ho\r", "\n\r\nC"]),
        ("你好。再见！真的？", ["你好。", "再见！", "真的？"]),
        ("「行こう。」と言った。", ["「行こう。」", "と言った。"]),
        ('He said "Go." She went (home.) Then', ['He said "Go."', " She went (home.)", " Then"]),
        ("one\u2028two", ["one\u2028", "two"]),
    ],
)
def test_where_sentences_end(text, parts):
    ends = sentence_ends(text)
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)] == parts


def test_lead_takes_as_many_sentences_as_answers_have():
    answers = ["One.", "One. Two.", "One. Two. Three. Four."]
    baseline = Lead(Options()).fit(["x"] * 3, answers)
    assert baseline.facts == {"sentences": 2}
    assert baseline.write(["A: yes.\nB: no. C.", "only one", "", " 一。二。三。"]) == [
        "A: yes.\nB: no.",
        "only one",
        "",
        "一。二。",
    ]


@pytest.mark.parametrize(("answers", "count"), [(["A.", "A. B."], 1), (["", ""], 1), (["A. B. C."], 3)])
def test_the_lower_median_counts_and_is_at_least_one(answers, count):
    assert Lead(Options()).fit(["x"] * len(answers), answers).facts == {"sentences": count}


# ---- nearest ----


def test_nearest_answers_with_the_most_similar_prompts_answer():
    baseline = Nearest(Options()).fit(PROMPTS, REFERENCES)
    assert baseline.facts == {"rows": 5}
    assert baseline.write(["the dogs run", "men at chess", "Café 🙂"]) == [REFERENCES[0], REFERENCES[1], REFERENCES[4]]
    assert 0 < baseline.facts["mean_similarity"] < 1
    exact = Nearest(Options()).fit(PROMPTS, REFERENCES)
    assert exact.write(PROMPTS) == REFERENCES and exact.facts["mean_similarity"] == pytest.approx(1)


def test_of_equally_similar_prompts_the_first_counts():
    prompts = ["a cat", "the dog runs", "the dog runs", "dog the runs away"]
    baseline = Nearest(Options()).fit(prompts, ["0", "1", "2", "3"])
    assert baseline.write(["the dog runs", "the dog", ""]) == ["1", "1", "0"]


def test_the_mean_similarity_is_over_all_prompts_answered():
    baseline = Nearest(Options()).fit(PROMPTS, REFERENCES)
    baseline.write([PROMPTS[0]])
    baseline.write(["zzz", "qqq", "vvv"])
    assert baseline.facts["mean_similarity"] == pytest.approx(0.25)


def invented(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = [f"{a}{b}{c}" for a in "bdgk" for b in "aeiou" for c in "lmnrst"]
    return [" ".join(draw.choices(words, k=6)) for _ in range(count)]


@pytest.mark.parametrize("size", [1, 4_000, 100_000])
def test_blocks_change_nothing(monkeypatch, size):
    prompts, asked = invented(300, seed=0), invented(50, seed=1)
    whole = Nearest(Options()).fit(prompts, prompts)
    expected = whole.write(asked)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", size)
    blocked = Nearest(Options()).fit(prompts, prompts)
    assert blocked.write(asked) == expected and blocked.facts == whole.facts
    cosine_QN = (nearest.unit(whole.terms.features(asked)) @ whole.known_FN).toarray()
    assert expected == [prompts[i] for i in cosine_QN.argmax(1)]


def test_memory_does_not_grow_with_the_prompts(monkeypatch):
    prompts, asked = invented(3000, seed=0), invented(2000, seed=1)
    baseline = Nearest(Options()).fit(prompts, prompts)
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 2**20)
    whole = nearest.PAIR_BYTES * len(prompts) * len(asked)
    tracemalloc.start()
    try:
        baseline.write(asked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20 < whole / 10


def test_nearest_knows_only_the_training_rows():
    baseline = Nearest(Options()).fit(PROMPTS, REFERENCES)
    terms = [set(vectorizer.vocabulary_) for vectorizer in baseline.terms.vectorizers]
    baseline.write(["zebra crossing"] * 3)
    assert [set(vectorizer.vocabulary_) for vectorizer in baseline.terms.vectorizers] == terms
    assert not any("zebra" in known for known in terms) and baseline.write(["zebra crossing"])[0] in REFERENCES


# ---- constant ----


def test_constant_answers_the_most_frequent():
    baseline = Constant(Options()).fit(["x"] * 5, ["no", "yes", "yes", "no", "maybe"])
    assert baseline.write(["a", ""]) == ["no", "no"], "of equally frequent answers the first"
    assert baseline.facts == {"by": "frequency", "share": 0.4}


def test_constant_answers_the_most_central_where_none_is_frequent():
    answers = ["a man walks", "a man runs", "a man walks fast", "purple quartz", "tea"]
    baseline = Constant(Options()).fit(["x"] * 5, answers)
    assert baseline.write(["a"]) == ["a man walks"] and baseline.facts == {"by": "centrality", "share": 0.2}


def test_two_equal_answers_of_many_are_not_frequent():
    answers = [f"a man walks past house {n}" for n in range(60)] + ["quartz"] * 2
    baseline = Constant(Options()).fit(["x"] * 62, answers)
    assert baseline.facts["by"] == "centrality" and baseline.answer.startswith("a man walks")


# ---- real rows ----


def overlap(written: str, reference: str) -> float:
    """Share of words in common: F1 over the sets."""
    a, b = set(written.lower().split()), set(reference.lower().split())
    return 2 * len(a & b) / max(1, len(a) + len(b))


def mean_overlap(written: list[str], references: list[str]) -> float:
    return float(np.mean([overlap(*pair) for pair in zip(written, references, strict=True)]))


def test_translations():
    prompts, references = shared("multi30k_en_de", "train", "en", "de")
    asked, expected = shared("multi30k_en_de", "test", "en", "de")
    train, asked, expected = (prompts[:4000], references[:4000]), asked[:200], expected[:200]
    found = {name: mean_overlap(made(name, *train).write(asked), expected) for name in baselines.of("texts")}
    assert found["nearest"] > found["constant"] > found["copy"] and found["nearest"] > 0.25
    assert found["lead"] == pytest.approx(found["copy"], abs=0.01), "a caption is one sentence"
    assert made("lead", *train).facts == {"sentences": 1}
    assert made("nearest", *train).write(train[0][:20]) == train[1][:20]


def test_summaries():
    train = shared("dialogsum", "dev", "dialogue", "summary")
    asked, expected = shared("dialogsum", "test", "dialogue", "summary1")
    asked, expected = asked[:100], expected[:100]
    lead = made("lead", *train)
    written = lead.write(asked)
    assert lead.facts == {"sentences": 2}
    assert all(
        prompt.startswith(text) and len(sentence_ends(text)) <= 2 for prompt, text in zip(asked, written, strict=True)
    )
    found = made("nearest", *train).write(asked)
    for answers in (written, found):
        others = answers[1:] + answers[:1]
        assert mean_overlap(answers, expected) > mean_overlap(others, expected), "no nearer than another dialogue's"
    assert set(found) <= set(train[1])
