"""Texts become the tokens that transformers' own call gives them, however many there are, and what is cut is counted."""

import random

import pytest

from septet.inputs.text import CHUNK, Text

WORDS = ["Hi", "Hello", "Bye", "Take", "care", "Be", "kind"]


def texts(num, most=12):
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, most))) for _ in range(num)]


def called(values, tokenizer, **options):
    """What transformers' own call gives."""
    columns = zip(*(value if isinstance(value, tuple) else (value,) for value in values), strict=True)
    found = tokenizer(*map(list, columns), return_attention_mask=False, **options)
    tokenizer.backend_tokenizer.no_truncation()
    return [{key: found[key][i] for key in found} for i in range(len(values))]


def without_count(encoded):
    return [{key: value for key, value in item.items() if key != "truncated"} for item in encoded]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize("pairs", [False, True])
def test_tokens_are_those_of_the_tokenizers_own_call(pairs, most, side, t5_tokenizer):
    t5_tokenizer.truncation_side = side
    values = list(zip(texts(40), texts(50)[10:], strict=True)) if pairs else texts(40)
    encoded = Text(most).encode(values, t5_tokenizer)
    cut = {} if most is None else {"truncation": "longest_first", "max_length": most}
    assert without_count(encoded) == called(values, t5_tokenizer, **cut)
    whole = [len(item["input_ids"]) for item in called(values, t5_tokenizer)]
    assert [item["truncated"] for item in encoded] == [max(0, size - (most or size)) for size in whole]
    assert any(item["truncated"] for item in encoded) == (most is not None)


def test_many_texts_come_back_in_their_order(t5_tokenizer):
    values = texts(4 * CHUNK + 7)
    encoded = Text(6).encode(values, t5_tokenizer)
    few = [
        item
        for start in range(0, len(values), 500)
        for item in Text(6).encode(values[start : start + 500], t5_tokenizer)
    ]
    assert encoded == few
    assert t5_tokenizer.backend_tokenizer.truncation is None


def test_an_error_among_many_texts_is_raised(t5_tokenizer):
    values = [*texts(3 * CHUNK), 7, *texts(CHUNK)]
    with pytest.raises(TypeError):
        Text().encode(values, t5_tokenizer)


def test_segments_only_where_the_model_wants_them(t5_tokenizer):
    names = t5_tokenizer.model_input_names
    t5_tokenizer.model_input_names = ["input_ids", "token_type_ids"]
    (encoded,) = Text().encode([("Hi", "Bye")], t5_tokenizer)
    t5_tokenizer.model_input_names = ["input_ids"]
    (bare,) = Text().encode([("Hi", "Bye")], t5_tokenizer)
    t5_tokenizer.model_input_names = names
    assert set(encoded) - set(bare) == {"token_type_ids"}


def test_an_empty_text_is_one_token(merging_tokenizer):
    (encoded,) = Text().encode([""], merging_tokenizer)
    assert encoded == {"input_ids": [merging_tokenizer.bos_token_id], "truncated": 0}
