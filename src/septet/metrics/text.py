"""Metrics of generated text: the loss of the reference, and how near the generated text comes to it.

Each value is that of the package the field reports, on the rows it is given: BLEU and chrF of sacreBLEU, ROUGE of rouge-score.
All rest on a few numbers by row (counts of n-grams, an F-measure), kept once, so that a resample is a weighted sum of them.
BLEU and chrF run from 0 to 100 and are of the corpus: their counts are summed before they are divided. ROUGE, exact match: 0 to 1,
means over the rows. Texts are taken as they are: what stops generation or strips a prompt lies before.

Left out: several references a row, other tokenizers (`13a` is for languages that write spaces), and lengths, which have no better direction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from septet.metrics import Texts, metric

BLEU_ORDER = 4  # longest n-gram, in words; Papineni et al. 2002
CHRF_ORDER = 6  # longest n-gram, in characters without white space; Popović 2015
CHRF_BETA = 2  # recall counts as much as two times precision; Popović 2016, "chrF deconstructed"


@metric(low=0, high=float("inf"), better="lower", weighted=True, of="texts", needs="loss")
def loss(answers: Texts) -> Any:
    """Mean of -ln(probability of the right token) over the supervised tokens, in nats: long rows count for more."""
    return _ratio(_nats(answers), answers.total(answers.tokens))


@metric(low=1, high=float("inf"), better="lower", weighted=True, of="texts", needs="loss")
def perplexity(answers: Texts) -> Any:
    """Exponential of the loss: among how many equal tokens the model seems to choose. Depends on the tokenizer."""
    with np.errstate(over="ignore"):
        return np.exp(loss(answers))


@metric(low=0, high=float("inf"), better="lower", weighted=True, of="texts", needs="loss")
def bits_per_byte(answers: Texts) -> Any:
    """Loss in bits for each UTF-8 byte of the reference: comparable between tokenizers.

    Source:  Gao et al. 2020, "The Pile", section 3.1.
    """
    return _ratio(_nats(answers) / np.log(2), answers.total(answers.bytes))


@metric(low=0, high=1, better="higher", weighted=True, of="texts")
def exact_match(answers: Texts) -> Any:
    """Share of the rows whose text is the reference, white space around them aside."""
    return _mean(answers, answers.keep("same", lambda: _by_row(r.strip() == t.strip() for r, t in _pairs(answers))))


@metric(low=0, high=100, better="higher", weighted=True, of="texts")
def bleu(answers: Texts) -> Any:
    """Corpus BLEU from 0 to 100: shared n-grams of 1 to 4 words, less where the texts are too short.

    sacreBLEU's, tokenizer `13a`, smoothing `exp`, mixed case. Needs some rows of four words or more: below, it is 0.

    Source:  Papineni et al. 2002; Post 2018, "A call for clarity in reporting BLEU scores".
    """
    from sacrebleu.metrics.bleu import BLEU

    counts = np.atleast_2d(answers.total(answers.keep("bleu", lambda: _bleu_counts(answers)))).astype(np.int64)
    found = [
        BLEU.compute_bleu(correct, total, written, wanted, smooth_method="exp").score
        for written, wanted, correct, total in (
            (row[0], row[1], row[2 : 2 + BLEU_ORDER], row[2 + BLEU_ORDER :]) for row in counts.tolist()
        )
    ]
    return _one_or_all(answers, np.array(found))


@metric(low=0, high=100, better="higher", weighted=True, of="texts")
def chrf(answers: Texts) -> Any:
    """Corpus chrF2 from 0 to 100: shared n-grams of 1 to 6 characters, recall weighing more than precision.

    sacreBLEU's: white space left out, mixed case, orders that neither side has left out of the mean.

    Source:  Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    counts = answers.total(answers.keep("chrf", lambda: _chrf_counts(answers)))
    written, wanted, shared = (counts[..., side::3].astype(np.float64) for side in range(3))
    used = (written > 0) & (wanted > 0)
    orders = np.maximum(used.sum(-1), 1)
    # added order by order, as sacreBLEU does: the same last digit
    precision = sum(np.moveaxis(np.where(used, shared / np.maximum(written, 1), 0.0), -1, 0)) / orders
    recall = sum(np.moveaxis(np.where(used, shared / np.maximum(wanted, 1), 0.0), -1, 0)) / orders
    below = CHRF_BETA**2 * precision + recall
    return 100 * np.where(below > 0, (1 + CHRF_BETA**2) * precision * recall / np.where(below > 0, below, 1), 0.0)


@metric(low=0, high=1, better="higher", weighted=True, of="texts")
def rouge1(answers: Texts) -> Any:
    """ROUGE-1 from 0 to 1: F-measure of the shared words, mean over the rows. English letters and digits only.

    rouge-score's: its own tokenizer, no stemmer; so are ROUGE-2 and ROUGE-L.

    Source:  Lin 2004, "ROUGE: a package for automatic evaluation of summaries".
    """
    return _mean(answers, answers.keep("rouge1", lambda: _rouge_rows(answers, "rouge1")))


@metric(low=0, high=1, better="higher", weighted=True, of="texts")
def rouge2(answers: Texts) -> Any:
    """ROUGE-2 from 0 to 1: F-measure of the shared pairs of words, mean over the rows. English letters and digits only."""
    return _mean(answers, answers.keep("rouge2", lambda: _rouge_rows(answers, "rouge2")))


@metric(low=0, high=1, better="higher", weighted=True, of="texts")
def rougeL(answers: Texts) -> Any:  # noqa: N802 - the name the field uses
    """ROUGE-L from 0 to 1: F-measure of the longest common word sequence, mean over the rows. English letters and digits only."""
    return _mean(answers, answers.keep("rougeL", lambda: _longest_rows(answers)))


def _rouge_rows(answers: Texts, kind: str) -> np.ndarray:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    # the tokenizer it would take anyway, but then it writes to the log
    scorer = RougeScorer([kind], tokenizer=DefaultTokenizer())
    return _by_row(scorer.score(reference, text)[kind].fmeasure for reference, text in _pairs(answers))


def _longest_rows(answers: Texts) -> np.ndarray:
    """Return (N,) F-measures, equal to rouge-score's, whose table of lengths takes 46 ms for two texts of 400 words; this, 0.5."""
    from rouge_score.scoring import fmeasure
    from rouge_score.tokenizers import DefaultTokenizer

    tokenize = DefaultTokenizer().tokenize

    def score(wanted: list[str], written: list[str]) -> float:
        common = _num_common(wanted, written)
        return fmeasure(precision=common / max(len(written), 1), recall=common / max(len(wanted), 1))

    return _by_row(score(tokenize(reference), tokenize(text)) for reference, text in _pairs(answers))


def _num_common(first: list[str], second: list[str]) -> int:
    """Return the length of the longest common subsequence, a row of the table held in the bits of one number.

    Source:  Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        found = row & places.get(word, 0)
        row = ((row + found) | (row - found)) & whole
    return len(first) - row.bit_count()


def _bleu_counts(answers: Texts) -> np.ndarray:
    """Return (N, 10) by row: words written, words wanted, n-grams shared of each order, n-grams written of each order."""
    from sacrebleu.metrics.bleu import BLEU

    # both options touch the sentence's score and warnings only, which are not used
    scorer = BLEU(max_ngram_order=BLEU_ORDER, effective_order=True, force=True)
    found = [scorer.sentence_score(text, [reference]) for reference, text in _pairs(answers)]
    counts = [[each.sys_len, each.ref_len, *each.counts, *each.totals] for each in found]
    return np.array(counts, dtype=np.int64).reshape(-1, 2 + 2 * BLEU_ORDER)


def _chrf_counts(answers: Texts) -> np.ndarray:
    """Return (N, 18) by row and order: n-grams written, wanted, shared. sacreBLEU has them behind private methods only."""
    found = []
    for reference, text in _pairs(answers):
        wanted, written = "".join(reference.split()), "".join(text.split())
        found.append(
            [count for n in range(1, CHRF_ORDER + 1) for count in _shared(_ngrams(written, n), _ngrams(wanted, n))]
        )
    return np.array(found, dtype=np.int64).reshape(-1, 3 * CHRF_ORDER)


def _shared(written: Counter[str], wanted: Counter[str]) -> tuple[int, int, int]:
    # what is written counts only where the reference is long enough to have such an n-gram, as in sacreBLEU
    return written.total() if wanted else 0, wanted.total(), (written & wanted).total()


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def _pairs(answers: Texts) -> Iterator[tuple[str, str]]:
    """Yield each row's reference and generated text."""
    return zip(answers.references, answers.texts or [], strict=True)


def _by_row(values: Iterator[Any]) -> np.ndarray:
    return np.fromiter(values, dtype=np.float64)


def _nats(answers: Texts) -> Any:
    return answers.total(np.asarray(answers.losses, dtype=np.float64))


def _mean(answers: Texts, values: np.ndarray) -> Any:
    return _ratio(answers.total(values), answers.total(np.ones(len(answers))))


def _one_or_all(answers: Texts, values: np.ndarray) -> Any:
    """Return the one value of unweighted rows, or all of (R, N) weights."""
    return values if answers.weights is not None and answers.weights.ndim == 2 else values[0]


def _ratio(above: Any, below: Any) -> Any:
    """Divide; NaN where the divisor is 0."""
    below = np.asarray(below, dtype=np.float64)
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
