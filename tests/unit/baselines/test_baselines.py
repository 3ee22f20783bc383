import numpy as np
import pytest

from septet import registry
from septet.baselines import Options
from septet.baselines.features import Features
from septet.baselines.majority import Majority
from septet.baselines.tfidf import Tfidf

TEXTS = [
    "good film",
    "very good",
    "good good fun",
    "bad film",
    "so bad",
    "awfully bad",
    "bad bad noise",
    "good cast",
] * 6
TARGETS = np.array([1, 1, 1, 0, 0, 0, 0, 1] * 6)


class Encoder:
    def __init__(self):
        self.calls = 0

    def encode(self, texts, listen=None):
        self.calls += 1
        return np.array([[text.count("good"), text.count("bad"), 1.0] for text in texts], np.float32)


def test_they_are_found_by_file_name():
    choose, write = ["features", "few_shot", "majority", "tfidf", "zero_shot"], ["constant", "copy", "lead", "nearest"]
    assert registry.names("baseline") == sorted(choose + write)
    assert registry.summary("baseline", "tfidf").startswith("TF-IDF")


def test_majority_answers_the_training_shares():
    baseline = Majority(Options(3)).fit(TEXTS, np.array([0] * 36 + [2] * 12))
    assert baseline.scores(["anything", ""]) == pytest.approx(np.array([[0.75, 0, 0.25]] * 2))
    assert baseline.facts == {"share": 0.75}


@pytest.mark.parametrize("make", [lambda: Tfidf(Options(2)), lambda: Features(Options(2), Encoder())])
def test_the_others_learn_from_the_text(make):
    baseline = make().fit(TEXTS, TARGETS)
    scores = baseline.scores(["a good one", "a bad one"])
    assert scores.argmax(1).tolist() == [1, 0] and scores.sum(1) == pytest.approx(np.ones(2))
    assert baseline.facts["C"] in (0.3, 1, 3, 10, 30) and set(baseline.facts["cross_validated_accuracy"].values()) <= {
        1.0
    }


def test_features_encode_each_text_once():
    encoder = Encoder()
    Features(Options(2), encoder).fit(TEXTS, TARGETS).scores(["good"])
    assert encoder.calls == 2


def test_texts_without_words_still_get_an_answer():
    baseline = Tfidf(Options(2)).fit([" ", "  "] * 10, np.array([0, 1] * 10))
    assert baseline.scores(["", "good"]).shape == (2, 2)


def test_no_test_row_is_seen_while_fitting():
    baseline = Tfidf(Options(2)).fit(TEXTS, TARGETS)
    terms = set(baseline.terms.vectorizers[0].vocabulary_)
    baseline.scores(["zebra crossing"])
    assert "zebra" not in terms and set(baseline.terms.vectorizers[0].vocabulary_) == terms
