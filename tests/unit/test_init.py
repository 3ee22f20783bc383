"""`septet init`: a recipe for the data that are there."""

import json
from pathlib import Path

import pytest

from septet.cli import main
from septet.errors import UsageError
from septet.init import init
from septet.recipe import Recipe

ROWS = [
    (f"Where is parcel number {i}, it should have come on day {i}?", "shipping" if i % 3 else "refund", f"c{i // 4}")
    for i in range(60)
]


@pytest.fixture
def tickets(tmp_path):
    path = tmp_path / "tickets.csv"
    path.write_text(
        "id,body,team,customer_id\n"
        + "".join(f'{i},"{body}",{team},{customer}\n' for i, (body, team, customer) in enumerate(ROWS))
    )
    return path


def test_columns_are_guessed_with_reasons(tickets, tmp_path):
    out = tmp_path / "recipe.yaml"
    text = init(tickets, out=out)
    assert out.read_text() == text
    recipe = Recipe.load(out)
    assert (recipe.task.text, recipe.task.label, recipe.data.train) == ("body", "team", "tickets.csv")
    assert recipe.path(recipe.data.train) == tickets
    assert "2 different values in 60 rows" in recipe.whys["task.label"]
    assert "longest column" in recipe.whys["task.text"]
    assert "60 rows" in recipe.whys["data.train"]
    assert recipe.data.split.validation == 0.2
    assert "customer_id has 15 values" in recipe.whys["data.split.group"]
    assert recipe.train.lr is None


def test_every_value_has_a_reason(tickets):
    values = [line for line in init(tickets).splitlines() if ": " in line and not line.startswith("#")]
    assert len(values) > 8
    assert [line for line in values if "# why: " not in line] == []


def test_given_columns_are_taken(tickets):
    text = init(tickets, text=["body", "id"], label="customer_id", model="some/model")
    assert "text: [body, id]" in text
    assert "label: customer_id" in text
    assert "model: some/model" in text


def test_a_folder_with_splits_uses_them(tickets, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("train.csv", "dev.csv", "test.csv"):
        (folder / name).write_text(tickets.read_text())
    out = tmp_path / "recipe.yaml"
    init(folder, out=out)
    recipe = Recipe.load(out)
    assert (recipe.data.train, recipe.data.validation, recipe.data.test) == (
        "set/train.csv",
        "set/dev.csv",
        "set/test.csv",
    )
    assert "split:" not in out.read_text()


def test_imbalance_is_told(tmp_path):
    path = tmp_path / "rare.csv"
    path.write_text(
        "text,label\n" + "".join(f"some message number {i},{'rare' if i == 0 else 'common'}\n" for i in range(40))
    )
    assert "'rare' has 1 row and 'common' 39; balanced" in init(path)


def test_labels_in_two_spellings_are_told(tmp_path):
    path = tmp_path / "spelled.csv"
    names = ["Refund", "card", "refund "]
    path.write_text("text,label\n" + "".join(f"some message number {i},{names[i % 8 % 3]}\n" for i in range(40)))
    assert "'Refund' and 'refund ' seem to be one label; data.clean.labels: merge" in init(path)


def test_odd_names_survive(tmp_path):
    path = tmp_path / "odd # name: x.csv"
    path.write_text('"a: b # c",NO\n' + "".join(f"quite a long message {i},{i % 2}\n" for i in range(20)))
    out = tmp_path / "recipe.yaml"
    init(path, out=out)
    recipe = Recipe.load(out)
    assert (recipe.task.text, recipe.task.label, recipe.data.train) == ("a: b # c", "NO", path.name)


def test_json_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(
            json.dumps({"message": f"a message that is long enough {i}", "intent": "ab"[i % 2], "score": i * 0.37})
            + "\n"
            for i in range(30)
        )
    )
    text = init(path)
    assert "text: message" in text
    assert "label: intent" in text


def test_nothing_is_overwritten_unless_asked(tickets, tmp_path):
    out = tmp_path / "recipe.yaml"
    out.write_text("mine")
    with pytest.raises(UsageError, match="overwrite"):
        init(tickets, out=out)
    assert out.read_text() == "mine"
    init(tickets, out=out, force=True)
    assert out.read_text() != "mine"


def test_wrong_columns_and_hopeless_data(tickets, tmp_path):
    with pytest.raises(UsageError, match="did you mean team"):
        init(tickets, label="teem")
    hopeless = tmp_path / "hopeless.csv"
    hopeless.write_text("text\n" + "".join(f"message {i}\n" for i in range(20)))
    with pytest.raises(UsageError, match="--label COL"):
        init(hopeless)
    with pytest.raises(UsageError):
        init(tmp_path / "absent.csv")


def test_through_the_command_line(tickets, tmp_path, capsys):
    out = tmp_path / "new.yaml"
    with pytest.raises(SystemExit) as caught:
        main(["init", str(tickets), "--text", "body", "--label", "team", "-o", str(out)])
    assert caught.value.code == 0
    assert f"next: septet run {out}" in capsys.readouterr().out
    assert Recipe.load(out).whys["task.text"].startswith("given with --text")
    with pytest.raises(SystemExit) as caught:
        main(["init", str(tickets), "-o", str(out), "--json"])
    assert caught.value.code == 2
    assert "overwrite" in json.loads(capsys.readouterr().out)["error"]["message"]
    with pytest.raises(SystemExit) as caught:
        main(["init", str(tickets), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["out"] is None
    assert told["recipe"].startswith("# A starter recipe")


def test_a_path_far_away_is_absolute(tickets, tmp_path):
    out = tmp_path / "a" / "b" / "recipe.yaml"
    init(tickets, out=out)
    assert Path(Recipe.load(out).data.train) == tickets


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("sentence1", "sentence2"), "text: [sentence1, sentence2]"),
        (("text_b", "text_a"), "text: [text_a, text_b]"),
        (("hypothesis", "premise"), "text: [premise, hypothesis]"),
        (("title", "body"), "text: body"),
        (("line1", "line3"), "text: line3"),
    ],
    ids=["counted", "by letters", "by name", "no pair", "not in a row"],
)
def test_both_texts_of_a_pair_are_taken(tmp_path, names, found):
    path = tmp_path / "pairs.csv"
    rows = (
        f'the sea was cold on day {i},"so it was cold, on that day {i}",{"yes" if i % 3 else "no"}\n' for i in range(30)
    )
    path.write_text(",".join(names) + ",label\n" + "".join(rows))
    text = init(path, label="label")
    assert found in text
    assert ("names are those of a pair" in text) == ("[" in found)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("when", ["2026-01-0{}", "2026-02-0{}"], True),
        ("created_at", ["176430000{}", "176440000{}"], True),
        ("amount", ["176430000{}", "176440000{}"], False),
        ("sent", ["on day {}", "at night {}"], False),
    ],
    ids=["dates", "numbers of a time", "numbers", "words"],
)
def test_a_column_of_times_is_offered(tmp_path, name, values, told):
    path = tmp_path / "tickets.csv"
    rows = (f"{values[i % 2].format(i % 9 + 1)},where is the parcel number {i},{'ab'[i % 2]}\n" for i in range(30))
    path.write_text(f"{name},body,team\n" + "".join(rows))
    out = tmp_path / "recipe.yaml"
    init(path, text="body", label="team", out=out)
    assert Recipe.load(out).data.split.time is None
    assert (f"time: null  # why: {name} says when" in out.read_text()) == told
