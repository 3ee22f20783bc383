"""Every metric of text equals the reference package's, on real sentences and on awkward ones, also where rows repeat."""

import gzip
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from septet.errors import UsageError
from septet.metrics import Texts, compute, find, names_of
from septet.metrics.interval import compare, intervals

SHARED = Path(os.environ.get("SEPTET_SHARED") or Path(__file__).parents[4] / "shared")
GENERATED = ("bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL")
AWKWARD = {
    "one row": [("a cat sat on the mat", "a cat sat on a mat")],
    "one word": [("cat", "cat")],
    "three words": [("a cat sat", "a cat sat")],
    "nothing written": [("a cat sat down", ""), ("the dog", "")],
    "nothing wanted": [("", "a cat sat down"), ("", "the dog")],
    "both empty": [("", "")],
    "empty among others": [("", "x"), ("a b c d e", "a b c d e"), ("y", ""), ("", "")],
    "white space only": [("  \n", "\t"), ("a  b\nc", " a b c ")],
    "nothing shared": [("a b c d e", "v w x y z")],
    "longer than wanted": [("a b c d", "a b c d e f g h i j")],
    "repeated words": [("the cat", "the the the the the the")],
    "unicode": [("Ein größerer Straßenhund läuft über 東京", "Ein größerer Hund läuft 東京 über 🙂"), ("😀 é", "😀 é")],
    "punctuation": [("it's 3.5%, isn't it?", "it's 3.5 %, is n't it ?"), ("&quot;a&amp;b&quot;", '"a&b"'), ("a-b", "a - b")],
    "tokenized": [("a cat .", "a dog .")] * 120,
}  # fmt: skip


def texts(pairs: list[tuple[str, str]], seed: int = 0) -> Texts:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 40, len(pairs))
    references, written = [r for r, _ in pairs], [t for _, t in pairs]
    limits = [{"words": {"min": len(reference.split()) - 1}} for reference in references]
    return Texts(np.arange(len(pairs)), references, written, rng.exponential(2, len(pairs)) * tokens, tokens, limits)


def spoilt(sentence: str, rng: np.random.Generator) -> str:
    """A sentence as a weak model might write it: words lost, doubled and swapped."""
    words = [word for word in sentence.split() if rng.random() < 0.85]
    for place in np.flatnonzero(rng.random(len(words)) < 0.15):
        words[place] = words[place - 1] if rng.random() < 0.5 else words[place][:-1]
    return " ".join(words)


@pytest.fixture(scope="module", params=["de", "en"])
def real(request) -> Texts:
    file = SHARED / "data" / "multi30k_en_de" / "test.jsonl.gz"
    if not file.exists():
        pytest.skip("the data sets of $SEPTET_SHARED are not here")
    with gzip.open(file, "rt") as lines:
        sentences = [json.loads(line)[request.param] for line in lines]
    rng = np.random.default_rng(1)
    return texts([(sentence, spoilt(sentence, rng)) for sentence in sentences])


def expected(answers: Texts) -> dict[str, float]:
    """What the reference packages say of the rows."""
    pairs = list(zip(answers.references, answers.texts, strict=True))
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    rouge = [scorer.score(reference, text) for reference, text in pairs]
    return {
        "bleu": sacrebleu.corpus_bleu(answers.texts, [answers.references]).score,
        "chrf": sacrebleu.corpus_chrf(answers.texts, [answers.references]).score,
        "exact_match": np.mean([a.strip() == b.strip() for a, b in pairs]),
        **{name: np.mean([each[name].fmeasure for each in rouge]) for name in ("rouge1", "rouge2", "rougeL")},
    }


def assert_same(answers: Texts) -> None:
    found, wanted = compute(GENERATED, answers), expected(answers)
    assert (found["bleu"], found["chrf"]) == (wanted["bleu"], wanted["chrf"])  # to the last digit
    assert found == pytest.approx(wanted, abs=1e-12)


# ---- parity ----


def test_real_sentences(real):
    assert_same(real)
    assert 20 < compute(["bleu"], real)["bleu"] < 80


def test_real_sentences_row_by_row(real):
    for i in range(40):
        assert_same(real.take(np.array([i])))


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_rows(kind):
    assert_same(texts(AWKWARD[kind]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), min_size=1, max_size=6))
def test_any_rows(pairs):
    assert_same(texts(pairs))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.lists(st.sampled_from(["a", "b", "c", "ab.", ",", "é"]), max_size=12).map(" ".join)] * 2),
        min_size=1,
        max_size=6,
    )
)
def test_rows_that_share_words(pairs):
    assert_same(texts(pairs))


# ---- the loss ----


def test_the_loss_is_of_tokens_and_the_bits_of_bytes():
    answers = Texts(np.arange(2), ["abc", "größer"], None, np.array([2.0, 4.0]), np.array([1, 5]))
    found = compute(["loss", "perplexity", "bits_per_byte"], answers)
    assert found == pytest.approx({"loss": 1.0, "perplexity": math.e, "bits_per_byte": 6 / math.log(2) / (3 + 8)})


def test_a_model_that_knows_nothing_needs_all_bits_of_its_bytes():
    answers = Texts(np.arange(1), ["abcd"], None, np.array([4 * math.log(256)]), np.array([4]))
    assert compute(["bits_per_byte", "perplexity"], answers) == pytest.approx({"bits_per_byte": 8, "perplexity": 256})


def test_the_loss_of_no_token_is_undefined_and_reported_as_0():
    answers = Texts(np.arange(1), [""], None, np.array([0.0]), np.array([0]))
    assert np.isnan(find("loss")(answers)) and np.isnan(find("bits_per_byte")(answers))
    assert compute(["loss"], answers) == {"loss": 0.0}


def test_a_hopeless_loss_warns_of_nothing():
    answers = Texts(np.arange(1), ["a"], None, np.array([1e6]), np.array([1]))
    assert find("perplexity")(answers) == math.inf


# ---- resamples ----


@pytest.mark.parametrize("name", names_of("texts"))
@pytest.mark.parametrize("kind", ["empty among others", "unicode", "punctuation", "longer than wanted"])
def test_weights_are_repeated_rows(name, kind):
    answers = texts(AWKWARD[kind])
    index = np.random.default_rng(3).integers(0, len(answers), (6, len(answers)))
    weights = np.stack([np.bincount(i, minlength=len(answers)) for i in index]).astype(float)
    wanted = [find(name)(answers.take(i)) for i in index]
    assert find(name)(answers.weighted(weights)) == pytest.approx(np.array(wanted), nan_ok=True)
    assert find(name)(answers.weighted(weights[0])) == pytest.approx(float(wanted[0]), nan_ok=True)


def test_resamples_of_real_sentences_equal_the_packages(real):
    part = real.take(np.arange(60))
    index = np.random.default_rng(5).integers(0, 60, (5, 60))
    weights = np.stack([np.bincount(i, minlength=60) for i in index]).astype(float)
    wanted = [expected(part.take(i)) for i in index]
    for name in GENERATED:
        assert find(name)(part.weighted(weights)) == pytest.approx([each[name] for each in wanted], rel=1e-12)


def test_intervals_hold_the_value_and_a_system_that_is_worse_is_found(real):
    cut = [text.rpartition(" ")[0] for text in real.texts]
    worse = texts(list(zip(real.references, cut, strict=True)))
    for score in intervals(names_of("texts"), real, resamples=300):
        assert score.low < score.value < score.high
        assert score.n == 1000
    for name in ("bleu", "chrf", "rougeL"):
        found = compare(name, real, worse, resamples=300)
        assert found.low > 0 and found.p < 0.02


def test_a_thousand_resamples_of_a_thousand_rows_take_less_than_a_second(real):
    compute(GENERATED, real.take(np.array([0])))  # imports
    for name in ("bleu", "chrf"):
        began = time.process_time()
        intervals([name], real.take(np.arange(1000)), resamples=1000)
        assert time.process_time() - began < 1.0


def test_no_row_is_refused():
    with pytest.raises(UsageError, match="no row"):
        compute(["bleu"], texts([("a", "b")]).take(np.array([], dtype=int)))


def test_long_answers_are_compared_in_little_time():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(300)]
    answers = texts([(" ".join(rng.choice(words, 800)), " ".join(rng.choice(words, 800))) for _ in range(20)])
    compute(["rougeL"], answers.take(np.array([0])))
    began = time.process_time()
    compute(["rougeL"], answers)
    assert time.process_time() - began < 1.0  # rouge-score's own table takes 4 s


def test_the_packages_are_imported_only_where_a_text_is_measured():
    code = (
        "import sys; from septet import registry; [registry.summary('metric', n) for n in registry.names('metric')]; "
    )
    code += "print([m for m in ('sacrebleu', 'rouge_score', 'nltk', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
