"""Rows that are in a benchmark: equal, nearly equal, holding its text or a piece of it; told, dropped, and booked with file and row."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.data.benchmarks import Benchmark, contaminated
from septet.errors import DataError, RecipeError, UsageError

DRAW = random.Random(11)


def sentence(words, draw=DRAW):
    return " ".join("".join(draw.choices("abcdefghijklmnopqrst", k=6)) for _ in range(words))


BENCH = [sentence(30), sentence(13), sentence(9), sentence(4), sentence(60)]


def ways(texts, bench=BENCH):
    benchmark = Benchmark("bench", bench, [f"bench.jsonl line {i + 1}" for i in range(len(bench))])
    return [(hit.row, hit.text, hit.how) for hit in contaminated(texts, benchmark, threshold=0.8)]


def test_each_way_of_being_in_a_benchmark_is_found_and_nothing_else():
    long = sentence(100)
    texts = [
        sentence(30),
        BENCH[0].upper().replace(" ", ", "),
        BENCH[0] + " indeed",
        f"{long} {BENCH[1]} {sentence(50)}",
        f"{sentence(5)} {BENCH[2]} {sentence(80)}",
        f"{sentence(5)} {BENCH[3]} {sentence(8)}",
        " ".join(BENCH[4].split()[20:40]),
        " ".join(BENCH[4].split()[:9]),
        " ".join(BENCH[0].split()[:13]) + " " + sentence(40),
        BENCH[3] + "!",
        "",
    ]
    assert ways(texts) == [
        (1, 0, "equal"),
        (2, 0, "nearly equal"),
        (3, 1, "holding a text of it"),
        (4, 2, "holding a text of it"),
        (6, 4, "in a text of it"),
        (7, 4, "in a text of it"),
        (9, 3, "equal"),
    ]


def test_half_of_the_pieces_is_enough_and_less_is_not():
    words = BENCH[4].split()  # 48 pieces of thirteen words
    assert ways([f"{sentence(90)} {' '.join(words[:36])}"]) == [(0, 4, "holding a text of it")]
    assert ways([f"{sentence(90)} {' '.join(words[:35])}"]) == []


def by_the_book(needle, haystack):
    size = min(13, len(needle))
    if len(needle) < 8 or len(needle) > len(haystack):
        return False
    runs = [{tuple(words[i : i + size]) for i in range(len(words) - size + 1)} for words in (needle, haystack)]
    return len(runs[0] & runs[1]) >= max(1, len(runs[0]) / 2)


@given(
    st.lists(st.lists(st.sampled_from("ab"), min_size=7, max_size=24), max_size=5),
    st.lists(st.lists(st.sampled_from("ab"), min_size=7, max_size=24), max_size=5),
)
@settings(max_examples=80, deadline=None)
def test_what_holds_what_is_as_defined(needles, haystacks):
    from septet.data.benchmarks import _held, _Words

    found = _held(_Words.of([" ".join(each) for each in needles]), _Words.of([" ".join(each) for each in haystacks]))
    wanted = [
        (i, k)
        for i, needle in enumerate(needles)
        for k, haystack in enumerate(haystacks)
        if by_the_book(needle, haystack)
    ]
    assert found == wanted


@pytest.fixture
def files(tmp_path):
    """A training table of 120 rows, of which two are in a benchmark and one in another."""
    rows = [{"text": sentence(12), "label": "ab"[i % 2]} for i in range(120)]
    rows[4]["text"] = BENCH[0]
    rows[7]["text"] = f"{sentence(40)} {BENCH[1]} {sentence(9)}"
    rows[9]["text"] = BENCH[2] + "."
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = [{"question": BENCH[0], "answer": "yes"}, {"question": BENCH[1], "answer": "no"}]
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    (tmp_path / "other.csv").write_text(f"text,label\n{sentence(10)},a\n{BENCH[2]},b\n")
    (tmp_path / "notes.txt").write_text(f"{sentence(20)}\n\n{BENCH[2]}\n")
    return tmp_path


@pytest.fixture
def done(files, recipe, tmp_path):
    from septet.prepare import prepare
    from septet.run import Run

    def make(**data):
        given = {"train": str(files / "train.jsonl"), "split": {"validation": 0, "test": 0}, **data}
        return prepare(recipe(given), Run(tmp_path / "runs" / "one"))

    return make


def found(prepared):
    return {f.evidence["benchmark"]: f for f in prepared.findings if f.slug == "contaminated"}


def test_contaminated_rows_leave_train_and_are_booked_with_file_and_row(done, files):
    made = done(against=[str(files / "bench.jsonl"), str(files / "other.csv")], expect={"contaminated": "== 3"})
    assert made.ledger["train"].dropped == {"in benchmark bench.jsonl": 2, "in benchmark other.csv": 1}
    assert len(made.rows("train")) == 117
    bench, other = found(made)["bench.jsonl"], found(made)["other.csv"]
    assert bench.level == other.level == "warning"
    assert bench.evidence["ways"] == {"equal": 1, "holding a text of it": 1}
    assert [(Path(each["place"]).name, Path(each["in"]).name, each["how"]) for each in bench.evidence["examples"]] == [
        ("train.jsonl line 5", "bench.jsonl line 1", "equal"),
        ("train.jsonl line 8", "bench.jsonl line 2", "holding a text of it"),
    ]
    assert Path(other.evidence["examples"][0]["in"]).name == "other.csv line 3"
    assert [entry["split"] for entry in made.manifest["raw"]] == ["train", "against", "against"]


def test_a_name_a_folder_and_plain_text_and_a_warning(done, files):
    folder = files / "held"
    folder.mkdir()
    (files / "notes.txt").rename(folder / "notes.txt")
    made = done(against={"trivia": str(folder)}, contamination="warn")
    assert made.ledger["train"].dropped == {}
    finding = found(made)["trivia"]
    assert "kept (data.contamination: warn)" in finding.message
    assert "a score on trivia says little" in finding.fix
    assert Path(finding.evidence["examples"][0]["place"]).name == "train.jsonl line 10"


def test_validation_that_is_given_loses_them_too_and_test_does_not(done, files, tmp_path):
    for name in ("validation", "test"):
        rows = [{"text": sentence(12), "label": "ab"[i % 2]} for i in range(120)] + [{"text": BENCH[0], "label": "a"}]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {name: str(tmp_path / f"{name}.jsonl") for name in ("validation", "test")}
    made = done(against=str(files / "bench.jsonl"), overlap="keep", split={}, **given)
    assert [len(made.rows(split)) for split in ("train", "validation", "test")] == [118, 120, 121]


def test_another_benchmark_prepares_anew_and_the_same_one_does_not(done, files):
    first = done(against=str(files / "bench.jsonl"))
    assert done(against=str(files / "bench.jsonl")).path == first.path
    (files / "bench.jsonl").write_text(json.dumps({"question": BENCH[0]}) + "\n")
    again = done(against=str(files / "bench.jsonl"))
    assert again.path != first.path
    assert again.ledger["train"].dropped == {"in benchmark bench.jsonl": 1}


def test_bad_benchmarks_are_named(done, files, recipe):
    with pytest.raises(UsageError, match="nowhere"):
        done(against=str(files / "nowhere.jsonl"))
    (files / "bare.jsonl").write_text('{"question": "", "answer": null}\n')
    with pytest.raises(DataError, match="holds no text"):
        done(against=str(files / "bare.jsonl"))
    with pytest.raises(RecipeError, match="read whole"):
        done(against=str(files / "bench.jsonl") + "#5")
    with pytest.raises(RecipeError, match=r"data\.contamination would be ignored"):
        recipe({"train": "t.csv", "contamination": "warn"})


def test_how_a_benchmark_was_read_is_told(done, files):
    (files / "apart.csv").write_text(f"label;text\nb;{BENCH[2]}\n")
    (told,) = [f for f in done(against=str(files / "apart.csv")).findings if f.slug == "delimiter-guessed"]
    assert told.evidence["benchmark"] == "apart.csv"
