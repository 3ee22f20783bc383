"""Every key of `data.clean` from the recipe to the prepared rows, the ledger and the findings."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from septet import cli
from septet.data.store import Prepared

GERMAN = "Das ist nun wirklich ein ganz langer deutscher Satz über die verspätete Lieferung."


def rows(n: int = 60) -> list[tuple[str, str]]:
    """Plain English rows of two labels, each with words of its own."""
    things = ("card", "transfer", "statement", "account", "payment", "refund")
    return [
        (
            f"Could you please tell me what happened to the {things[i % 6]} with the number {chr(97 + i % 26)}{i}?",
            "ab"[i % 2],
        )
        for i in range(n)
    ]


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """`prepare(rows, {"html": True})` → (exit code, data.json, texts of train)."""
    monkeypatch.chdir(tmp_path)
    calls = iter(range(100))

    def make(table: list[tuple[str, str]], clean: dict[str, Any], *overrides: str, **data: Any) -> tuple[Any, ...]:
        with Path("train.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *table])
        recipe = {
            "data": {"train": "train.csv", "split": {"validation": 0, "test": 0}, "clean": clean, **data},
            "task": {"name": "classify", "text": "text", "label": "label"},
            "model": "starter",
        }
        Path("recipe.json").write_text(json.dumps(recipe))
        with pytest.raises(SystemExit) as ended:
            cli.main(["prepare", "recipe.json", *overrides, "--run", f"run{next(calls)}", "--json"])
        found = json.loads(capsys.readouterr().out)
        if ended.value.code:
            return ended.value.code, found, []
        prepared = Prepared.open(Path(found["run"]) / found["prepared"])
        return 0, found, [row["text"] for row in prepared.rows("train")]

    return make


def findings(data: dict[str, Any]) -> dict[str, Any]:
    return {each["slug"]: each for each in data["findings"]}


def test_broken_encodings_are_mended_unless_switched_off(prepare):
    table = [*rows(), ("my cafÃ© card was charged twice – why?", "a")]
    _, data, texts = prepare(table, {})
    assert data["ledger"]["train"]["cleaned"] == {"repair": 1}
    assert "my café card was charged twice – why?" in texts
    _, data, texts = prepare(table, {"repair": False})
    assert data["ledger"]["train"]["cleaned"] == {}
    assert "my cafÃ© card was charged twice – why?" in texts


def test_html_is_told_and_taken_out_where_asked(prepare):
    table = [(f"<p>{text} <br> R&amp;D</p>" if i % 3 == 0 else text, label) for i, (text, label) in enumerate(rows())]
    _, data, texts = prepare(table, {})
    assert findings(data)["html-in-text"]["evidence"]["rows"] == 20
    assert sum("<p>" in text for text in texts) == 20
    _, data, texts = prepare(table, {"html": True})
    assert data["ledger"]["train"]["cleaned"]["html"] == 20
    assert "html-in-text" not in findings(data)
    assert sum(text.endswith("? R&D") for text in texts) == 20


def test_repeated_lines_are_taken_out(prepare):
    table = [(f"Home | About us\n{text}\nWe use cookies.", label) for text, label in rows()]
    _, data, texts = prepare(table, {"boilerplate": 0.5})
    assert data["ledger"]["train"]["cleaned"]["boilerplate"] == 60
    assert sorted(texts) == sorted(text for text, _ in rows())


def test_personal_data_are_told_and_masked_where_asked(prepare):
    table = [
        *rows(),
        ("please mail jane@shop.example.com about my order", "a"),
        ("my card is 4111 1111 1111 1111", "b"),
    ]
    _, data, _ = prepare(table, {})
    told = findings(data)["personal-data"]
    assert told["level"] == "warning" and told["evidence"]["kinds"] == {"email": 1, "card": 1}
    assert "jane" not in json.dumps(told) and "4111" not in json.dumps(told)
    _, data, texts = prepare(table, {"mask": ["email", "phone", "card", "iban", "ip", "key"]})
    assert data["ledger"]["train"]["cleaned"] == {"masked card": 1, "masked email": 1}
    assert "personal-data" not in findings(data)
    _, data, _ = prepare(table, {"mask": ["phone", "card"]})
    assert "data.clean.mask: [phone, card, email]" in findings(data)["personal-data"]["fix"]
    code, data, _ = prepare(table, {"mask": ["name"]})
    assert code == 2 and "a list of email, phone, card, iban, ip or key." in data["error"]["message"]
    assert {"please mail <EMAIL> about my order", "my card is <CARD>"} <= set(texts)
    code, data, _ = prepare(table, {}, expect={"personal-data": "== 0"})
    assert code == 3 and "personal-data must be == 0; it is 2" in data["error"]["message"]


def test_other_languages_leave_train_and_short_rows_stay(prepare):
    table = [*rows(), (GERMAN, "a"), ("ok", "b"), ("Wo?", "a")]
    _, data, texts = prepare(table, {"language": ["en"]})
    assert data["ledger"]["train"]["dropped"] == {"language": 1}
    told = findings(data)["language-other"]
    assert told["evidence"]["languages"] == {"de": 1} and told["evidence"]["unsure"] >= 1
    assert GERMAN not in texts and {"ok", "Wo?"} <= set(texts)
    code, data, _ = prepare(table, {"language": ["klingon"]})
    assert code == 2 and "klingon" in data["error"]["message"] and "ISO 639" in str(data["error"])
    code, data, _ = prepare(table, {"language": ["EN-gb"]})
    assert code == 2 and "language: [en]" in str(data["error"])
    assert told["level"] == "note"
    _, data, _ = prepare(table, {"language": ["de"]})  # more than half of train leaves
    assert findings(data)["language-other"]["level"] == "warning"


def test_several_languages_are_told(prepare):
    german = [(f"{GERMAN} Nummer {i}", "ab"[i % 2]) for i in range(60)]
    _, data, _ = prepare([*rows(200), *german], {})
    shares = findings(data)["languages-mixed"]["evidence"]["shares"]
    assert shares == {"en": pytest.approx(200 / 260, abs=0.01), "de": pytest.approx(60 / 260, abs=0.01)}
    _, data, _ = prepare(rows(260), {})
    assert "languages-mixed" not in findings(data)


def test_short_and_long_rows_leave_train_but_not_a_given_test(prepare):
    table = [*rows(), ("hm", "a"), ("word " * 100, "b")]
    Path("test.csv").write_text("text,label\nhm?,a\n" + "".join(f"{text} again,{label}\n" for text, label in rows(10)))
    _, data, texts = prepare(table, {"min_length": 5, "max_length": 400}, test="test.csv")
    assert data["ledger"]["train"]["dropped"] == {"too short": 1, "too long": 1}
    assert data["ledger"]["test"]["kept"] == 11
    assert len(texts) == 60
    code, data, _ = prepare(table, {"min_length": 50, "max_length": 10})
    assert code == 2 and "min_length" in data["error"]["message"]


def test_label_variants_are_told_merged_or_left(prepare):
    table = [(text, ("Refund", "Card")[label == "b"]) for text, label in rows()]
    table += [("where did the refund go, I ask you", "refund "), ("and what about that other refund", "REFUND")]
    _, data, _ = prepare(table, {})
    assert findings(data)["label-variants"]["level"] == "warning" and len(data["labels"]) == 4
    _, data, _ = prepare(table, {"labels": "merge"})
    assert data["labels"] == ["Card", "Refund"]
    assert data["ledger"]["train"]["cleaned"] == {"labels": 2}
    assert findings(data)["label-variants"]["evidence"]["rows"] == 2
    _, data, _ = prepare(table, {"labels": "off"})
    assert "label-variants" not in findings(data) and len(data["labels"]) == 4


def test_unicode_control_and_white_space(prepare):
    table = [*rows(), ("ﬁne\x07 cafe\u0301  twice, you see", "a")]
    _, data, texts = prepare(table, {"unicode": "NFKC"})
    assert data["ledger"]["train"]["cleaned"] == {"control": 1, "unicode": 1, "whitespace": 1}
    assert "fine café twice, you see" in texts
    _, data, texts = prepare(table, {"unicode": "none", "control": False, "whitespace": False})
    assert data["ledger"]["train"]["cleaned"] == {} and table[-1][0] in texts
