"""What gives a label away: marks that were planted are told, topic words are not; columns that determine the label."""

from __future__ import annotations

import random

import pytest

from septet.data import giveaway
from septet.data.giveaway import marks

TOPICS = {"billing": ["invoice", "charged", "refund", "card"], "post": ["parcel", "courier", "street", "late"]}
COMMON = [
    "the",
    "my",
    "where",
    "is",
    "a",
    "please",
    "was",
    "with",
    "and",
    "this",
    "to",
    "yesterday",
    "still",
    "again",
    "of",
    "your",
    "shop",
    "order",
    "two",
    "not",
]


def rows(count=400, seed=1):
    """Texts of which each has one word that only its label has, anywhere."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        label = ["billing", "post"][i % 2]
        words = draw.choices(COMMON, k=draw.randint(6, 14))
        words.insert(draw.randint(0, len(words)), draw.choice(TOPICS[label]))
        found.append({"text": " ".join(words) + draw.choice([".", "?", ""]), "label": label})
    return found


def planted(mark, every=2, seed=1):
    draw = random.Random(seed)
    made = rows()
    for i, row in enumerate(made):
        if (i // 2) % every == 0:
            row["text"] = mark(row["text"], row["label"], draw)
    return made


def told(made):
    return marks([row["text"] for row in made], [row["label"] for row in made])


def amid(text, piece, draw):
    words = text.split()
    words.insert(draw.randint(0, len(words)), piece)
    return " ".join(words)


KINDS = {
    "tag": lambda text, label, draw: f"[{label}] {text}",
    "code": lambda text, label, draw: f"K{len(label)}: {text}",
    "ticket": lambda text, label, draw: f"Ticket {label[:3].upper()}-{draw.randint(10000, 99999)}. {text}",
    "closing": lambda text, label, draw: f"{text} Passed on to {'Alder' if label == 'post' else 'Birch'} today.",
    "markup": lambda text, label, draw: amid(text, f"<i{len(label)}>", draw),
    "picture": lambda text, label, draw: text + ("✓" if label == "post" else "★"),
}


def test_topic_words_are_not_told():
    assert told(rows()) == []


@pytest.mark.parametrize("every", [1, 2, 5, 10])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_marks_are_told_of_both_labels(kind, every):
    found = told(planted(KINDS[kind], every))
    assert {mark.label for mark in found} == {"billing", "post"}
    assert all(len(mark.rows) == -(-200 // every) and mark.others == 0 for mark in found[:2])


def test_a_ticket_number_is_one_mark_however_it_counts_and_a_code_is_none_of_another_label():
    assert [(mark.text, mark.label, mark.place) for mark in told(planted(KINDS["ticket"]))] == [
        ("bil-#", "billing", "as word 2"),
        ("pos-#", "post", "as word 2"),
    ]
    assert {(mark.text, mark.label) for mark in told(planted(KINDS["code"]))} == {("k7:", "billing"), ("k4:", "post")}


def test_a_mark_that_other_labels_have_too_is_none():
    assert told(planted(lambda text, label, draw: f"[ticket] {text} Sent from my phone.")) == []


def test_prepare_tells_marks_with_rows_that_show_them(prepared):
    done = prepared({"train": planted(KINDS["tag"], every=4)})
    finding = next(f for f in done.findings if f.slug == "label-leak")
    assert finding.level == "warning"
    assert finding.evidence["rows"] == 100
    mark = finding.evidence["marks"][0]
    assert (mark["where"], mark["rows"], mark["others"]) == ("as word 1", 50, 0)
    assert all(text.startswith(f"[{mark['label']}] ") for text in mark["texts"])
    assert mark["places"][0].endswith(("1", "2"))
    assert '"[billing]" as word 1 (50 rows of "billing", 0 others)' in finding.message


def leaks(done):
    return {f.evidence["column"]: f for f in done.findings if f.slug == "label-leak"}


def test_a_column_that_determines_the_label_is_told(prepared):
    made = rows()
    draw = random.Random(3)
    for i, row in enumerate(made):
        post = row["label"] == "post"
        row["team"] = "T4" if post else draw.choice(["T1", "T2"])
        row["ticket"] = f"{'PO' if post else 'BI'}-{draw.randint(10**6, 10**7)}"
        row["score"] = draw.random() / 2 + 0.5 * post
        row["day"] = draw.choice(["monday", "friday"])
        row["id"] = i
        row["note"] = row["text"] + str(i)
    made[0]["team"] = "T4"
    found = leaks(prepared({"train": made}))
    assert sorted(found) == ["score", "team", "ticket"]
    assert found["team"].level == "note"
    assert found["team"].evidence["right"] == pytest.approx(0.9975)
    assert "'T4' is \"post\"" in found["team"].message
    assert {row["label"] for row in found["score"].evidence["examples"]} == {"billing", "post"}


def test_a_label_that_nearly_all_rows_have_makes_no_column_telling(prepared):
    made = rows(200)
    for i, row in enumerate(made):
        row["label"] = "rare" if i % 40 == 0 else "usual"
        row["day"] = "friday" if i % 3 else "monday"
    assert leaks(prepared({"train": made})) == {}


def test_a_column_in_order_of_the_rows_is_not_told(prepared):
    made = sorted(rows(), key=lambda row: row["label"])
    for i, row in enumerate(made):
        row["id"] = 1000 + i
    assert leaks(prepared({"train": made})) == {}


def test_of_many_rows_some_are_looked_at(prepared, monkeypatch):
    monkeypatch.setattr(giveaway, "LOOKED_AT", 150)
    made = planted(KINDS["tag"], every=1)
    for row in made:
        row["team"] = {"post": 7, "billing": 8}[row["label"]]
    done = prepared({"train": made})
    text, column = sorted((f for f in done.findings if f.slug == "label-leak"), key=lambda f: f.level == "note")
    assert text.evidence["rows"] == 150
    assert "150 of 150 rows (100.0 %) looked at have a mark in 'text'" in text.message
    assert column.evidence["right"] == 1.0
