"""What masked and span objectives hide: the stated shares, and nothing is lost that cannot be put back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import languages
from septet.errors import ModelError
from septet.tasks._hidden import UNLEARNED, mask, sentinels_of, take_spans


class Words:
    mask_token_id = 4
    all_special_ids = (0, 1, 2, 3, 4)

    def __len__(self):
        return 1000


def test_the_shares_of_bert():
    ids = np.random.default_rng(0).integers(5, 1000, 200_000).astype(np.int32)
    shown, labels = mask(ids, Words(), 0.15, np.random.default_rng(1))
    hidden = labels != UNLEARNED
    assert hidden.mean() == pytest.approx(0.15, abs=0.005)
    assert (labels[hidden] == ids[hidden]).all()
    assert (shown[~hidden] == ids[~hidden]).all()
    assert (shown[hidden] == 4).mean() == pytest.approx(0.8, abs=0.01)
    assert (shown[hidden] == ids[hidden]).mean() == pytest.approx(0.1, abs=0.01)


def test_special_tokens_are_never_hidden_and_one_token_always_is():
    ids = np.array([2, 7, 3], np.int32)
    for seed in range(50):
        shown, labels = mask(ids, Words(), 0.01, np.random.default_rng(seed))
        assert labels.tolist() == [UNLEARNED, 7, UNLEARNED]
        assert shown[[0, 2]].tolist() == [2, 3]


@given(st.lists(st.integers(100, 999), min_size=2, max_size=300), st.integers(0, 1000))
def test_spans_can_be_put_back(tokens, seed):
    sentinels = list(range(10, 40))
    ids = np.array(tokens, np.int32)
    read, target = take_spans(ids, sentinels, 1, 0.15, 3.0, np.random.default_rng(seed))
    assert read[-1] == target[-1] == 1
    spans, now = {}, None
    for token in target[:-1].tolist():
        if token in sentinels:
            now = spans.setdefault(token, [])
        else:
            now.append(token)
    again = [t for token in read[:-1].tolist() for t in spans.get(token, [token])]
    assert again == tokens
    assert all(spans.values())
    assert list(spans) == sentinels[: len(spans)]


def test_spans_have_the_stated_shares():
    ids = np.arange(100, 612).astype(np.int32)
    sentinels = list(range(10, 99))
    found = [take_spans(ids, sentinels, None, 0.15, 3.0, np.random.default_rng(seed)) for seed in range(200)]
    counts = [int(np.isin(target, sentinels).sum()) for _, target in found]
    gone = [len(target) - count for (_, target), count in zip(found, counts, strict=True)]
    assert set(gone) == {77} and set(counts) == {26}


def test_a_tokenizer_without_sentinels_says_so():
    with pytest.raises(ModelError, match="sentinels"):
        sentinels_of(languages.tokenizer())


def test_a_vocabulary_is_read_once(t5_vocabulary):
    """It is copied whenever it is read, and the sentinels are asked for with each row of each update."""
    reads = []

    class Counting:
        def get_vocab(self):
            reads.append(1)
            return t5_vocabulary

    first, second = Counting(), Counting()
    assert sentinels_of(first) == sentinels_of(first) == [7, 3]
    assert sentinels_of(second) == [7, 3]
    assert len(reads) == 2


@pytest.fixture
def t5_vocabulary():
    return {"a": 0, "<extra_id_1>": 3, "<extra_id_0>": 7, "<extra_id_3>": 4}
