"""What is planted into texts is found, and what only looks so is not; `python -m bench.planted cleaning` says it of real sets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import planted_cleaning as cleaning  # noqa: E402
from bench.planted_personal import DECOYS, PERSONAL, plant  # noqa: E402

TEXTS = [
    "The parcel that was due on Tuesday has not come yet, and nobody answers.",
    "Why was I charged twice for the same transfer?",
    "Two men are playing chess in the park while it rains.",
    "Please tell me how to change the name on my account, thank you.",
]
GERMAN = ["Zwei Männer spielen im Park Schach, während es regnet.", "Für die Überweisung fällt eine Gebühr an – warum?"]
FRENCH = ["Deux hommes jouent aux échecs près de l’église.", "Où est passé mon colis ? Il était prévu à Noël."]


def test_personal_data_are_found_and_decoys_are_not():
    found = cleaning.measure_personal(TEXTS, each=20, decoys=40)
    assert found["texts"] == 20 * sum(map(len, PERSONAL.values())) + 40 * len(DECOYS)
    for kind, facts in found["kinds"].items():
        assert facts["precision"] >= 0.97, kind
        assert facts["recall_usual"] >= 0.97, kind
    # what no pattern can know is counted as missed
    assert found["formats"]["phone: (bare)"] == found["formats"]["email: (written out)"] == 0
    assert max(found["decoys"].values()) <= 0.1


def test_what_is_planted_stands_where_it_is_said_to():
    for text, what in plant(TEXTS, 1, each=3, decoys=1):
        value = text[what.start : what.end]
        assert value == value.strip() and value
        if what.kind == "email" and "@" in value:
            assert value[0] != "<" and value.count("@") == 1


def test_label_variants_are_joined_and_slips_are_not():
    labels = [f"{a}_{b}" for a in ("card", "transfer", "refund") for b in ("arrival", "fee", "not_working")] * 60
    found = cleaning.measure_labels(labels, "made")
    assert found["precision"] == 1 and found["wrongly_changed"] == 0
    assert all(found["recall"][way] == 1 for way in ("case", "spaces", "separators", "full stop"))
    assert found["recall"]["slip"] < 0.3


@pytest.mark.parametrize("texts", [GERMAN, FRENCH])
def test_broken_encodings_come_back(texts):
    found = cleaning.measure_encodings(texts, "made")
    assert found["whole_changed"] == 0 and found["not_ascii"] == 2
    for encoding in ("windows-1252", "latin-1", "twice"):
        assert found["mended"][encoding]["share"] == 1


def test_texts_come_back_out_of_pages():
    found = cleaning.measure_html(TEXTS * 5 + ["a < b & c > d", 'say "x" & <y>'], "made")
    assert found["exact"] == 1 and found["plain_changed"] == 0


def test_other_languages_leave_and_agreement_is_counted():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    from septet.data.cleaning.language import Languages

    reference = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found = cleaning.measure_language(TEXTS + GERMAN + FRENCH, "made", Languages(), reference)
    assert found["leave"] == 0.5 and found["agreement"] == 1 and found["asked"] == 8
