"""`septet prepare --dry-run`: it says what preparing then does, shows it, and writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from septet import cli
from septet.preview import pieces

RECIPE = """
data: {train: train.csv, split: {validation: 0, test: 0}, clean: {html: true, mask: [email], language: [en], labels: merge, min_length: 4}}
task: {name: classify, text: text, label: label}
model: starter
"""
STRAYS = """my cafÃ© card was charged  twice so mail me at a@b.example.com,Refund
<p>where is the parcel?</p>,refund
where is the parcel?,Refund
Das ist nun wirklich ein ganz langer deutscher Satz über die verspätete Lieferung.,Other
hm,Other
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call("prepare", …)` → (exit code, standard output, standard error), in a folder with a table and a recipe."""
    monkeypatch.chdir(tmp_path)
    plain = [
        f"what happened to the transfer {chr(97 + i % 26)}{i} that I have made to you?,{'Refund' if i % 2 else 'Other'}"
        for i in range(80)
    ]
    Path("train.csv").write_text("text,label\n" + STRAYS + "\n".join(plain) + "\n")
    Path("recipe.yaml").write_text(RECIPE)

    def make(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        out = capsys.readouterr()
        return ended.value.code or 0, out.out, out.err

    return make


def test_it_says_what_preparing_then_does_and_writes_nothing(call):
    code, out, err = call("prepare", "recipe.yaml", "--dry-run", "--json")
    told = json.loads(out)
    assert code == 0 and sorted(map(str, Path().iterdir())) == ["recipe.yaml", "train.csv"]
    assert "language-other" in err
    steps = {(step["step"], step["what"]): step for step in told["steps"] if step["split"] == "train"}
    assert {name: step["rows"] for name, step in steps.items()} == {
        ("labels", "changed"): 1,
        ("repair", "changed"): 1,
        ("html", "changed"): 1,
        ("masked email", "changed"): 1,
        ("whitespace", "changed"): 1,
        ("too short", "dropped"): 1,
        ("language", "dropped"): 1,
        ("duplicate", "dropped"): 1,
    }
    (example,) = steps["masked email", "changed"]["examples"]
    assert example["place"] == "train.csv line 2" and example["after"].endswith("mail me at <EMAIL>")
    assert ["-", "a@b.example.com"] in example["pieces"] and ["+", "<EMAIL>"] in example["pieces"]
    code, out, _ = call("prepare", "recipe.yaml", "--run", "run", "--json")
    done = json.loads(out)
    assert code == 0 and done["ledger"] == told["ledger"] and done["findings"] == told["findings"]


def test_the_differences_are_marked(call):
    code, out, _ = call("prepare", "recipe.yaml", "--dry-run")
    assert code == 0
    assert "  repair          1 row would change\n    train.csv line 2: my [-cafÃ©-]{+café+} card was charged" in out
    assert "  html            1 row would change\n    train.csv line 3: [-<p>-]where is the parcel?[-</p>-]" in out
    assert "  language        1 row would be dropped\n    train.csv line 5: Das ist nun wirklich" in out
    assert out.endswith("nothing was written\n")


def test_blockers_and_options_that_need_a_run(call):
    Path("train.csv").write_text("text,label\none thing,a\nanother thing,a\n")
    code, _, err = call("prepare", "recipe.yaml", "--dry-run")
    assert code == 3 and "single-label" in err
    for option in (["--run", "x"], ["--show", "2"], ["--review", "x.csv"]):
        code, _, err = call("prepare", "recipe.yaml", "--dry-run", *option)
        assert code == 2 and f"{option[0]} would be ignored: a dry run writes nothing" in err
    assert sorted(map(str, Path().iterdir())) == ["recipe.yaml", "train.csv"]


TEXTS = st.text(st.sampled_from("ab c\n<.é"), max_size=30)


@given(TEXTS, TEXTS)
def test_pieces_make_up_both_texts(before, after):
    found = list(pieces(before, after))
    assert "".join(text for kind, text in found if kind != "+") == before
    assert "".join(text for kind, text in found if kind != "-") == after
    assert all(text for _, text in found)


def test_long_texts_are_compared_as_a_whole():
    before, after = "x " * 3000 + "end", "y " * 3000 + "end"
    assert [kind for kind, _ in pieces(before, after)] == ["-", "+", "="]
