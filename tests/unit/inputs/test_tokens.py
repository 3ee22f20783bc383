"""Which tokens are learned, on tokenizers that merge, that begin texts with a space, or that know words alone; the sides of a model with an encoder."""

import copy

import pytest
from test_chat import ENDS, FORMATS, learned, turns_of

from septet.errors import DataError
from septet.inputs._named import NAMED
from septet.inputs._templates import template_of
from septet.inputs.chat import Chat, Columns, Turn, conversation

EXCHANGE = [Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Bye"), Turn("assistant", "Take care")]
SPACES = ["yes", " yes", "\nyes", "\n\nyes", "  yes", "\n upon", "on"]


@pytest.fixture
def carrying():
    """`carrying(tokenizer, "chatml")` → a copy with the named template."""

    def build(tokenizer, name):
        found = copy.deepcopy(tokenizer)
        found.chat_template, _ = template_of(name, found)
        return found

    return build


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", FORMATS)
def test_gpt2_learns_exactly_the_answers_and_eos(kind, name, merging_tokenizer, carrying):
    row, answers = FORMATS[kind]
    tokenizer, space = carrying(merging_tokenizer, name), " " if name == "mistral" else ""
    (encoded,) = Chat().encode([turns_of(row)], tokenizer)
    assert learned(encoded, tokenizer) == [space + answer + "<|endoftext|>" for answer in answers]
    labels = Chat().pad([encoded], tokenizer, length=len(encoded["input_ids"]) + 3)["labels"][0]
    assert int((labels == tokenizer.eos_token_id).sum()) == len(answers)
    assert tokenizer.bos_token_id != encoded["input_ids"][0]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("answer", SPACES)
@pytest.mark.parametrize("question", ["A:", "A: ", "A:\n\n", "up"])
def test_the_prompt_served_has_the_tokens_trained(question, answer, name, merging_tokenizer, carrying):
    tokenizer = carrying(merging_tokenizer, name)
    turns = [Turn("user", question), Turn("assistant", answer)] * 2
    (encoded,) = Chat().encode([turns], tokenizer)
    for place in (1, 3):
        (prompt,) = Chat().prompts([turns[:place]], tokenizer)
        assert encoded["input_ids"][: len(prompt["input_ids"])] == prompt["input_ids"]
    assert [said.strip() for said in learned(encoded, tokenizer)] == [answer.strip() + "<|endoftext|>"] * 2


def test_without_the_cut_a_token_would_hold_prompt_and_answer(merging_tokenizer, carrying):
    tokenizer = carrying(merging_tokenizer, "verbatim")
    turns = conversation({"prompt": "A: ", "completion": "yes"}, Columns(prompt="prompt", answer="completion"))
    (encoded,) = Chat().encode([turns], tokenizer)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["A", ":", "Ġ", "yes", "<|endoftext|>"]
    assert encoded["supervised"] == [0, 0, 0, 1, 1]
    whole = tokenizer(Chat().render(turns, tokenizer, answer=False))["input_ids"]
    assert tokenizer.convert_ids_to_tokens(whole) == ["A", ":", "Ġyes", "<|endoftext|>"]


def test_an_answer_in_the_middle_of_a_text_gets_no_space_in_front(spaced_tokenizer, carrying):
    tokenizer = carrying(spaced_tokenizer, "plain")
    (encoded,) = Chat().encode([EXCHANGE[:2]], tokenizer)
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == ["<s>", "▁Hi", "\n", "Hello", "</s>"]
    assert encoded["supervised"] == [0, 0, 0, 1, 1]
    mistral = carrying(spaced_tokenizer, "mistral")
    (encoded,) = Chat().encode([EXCHANGE[:2]], mistral)
    assert mistral.convert_ids_to_tokens(encoded["input_ids"])[-3:] == ["]", "▁Hello", "</s>"]
    assert encoded["supervised"][-3:] == [0, 1, 1]


@pytest.mark.parametrize("name", NAMED)
def test_a_tokenizer_of_words_learns_the_answers_alone(name, t5_tokenizer, carrying):
    tokenizer = carrying(t5_tokenizer, name)
    (encoded,) = Chat().encode([EXCHANGE], tokenizer)
    assert learned(encoded, tokenizer) == ["Hello </s>", "Take care </s>"]
    assert name not in ENDS or "set end = eos_token" in tokenizer.chat_template


def test_the_sides_of_a_row_are_its_bare_prompt_and_its_answer_with_eos(t5_tokenizer, carrying):
    plain = carrying(t5_tokenizer, None)
    assert Chat().sides(EXCHANGE[:2], plain) == [("Hi", "Hello</s>")]
    assert Chat().sides(EXCHANGE, plain) == [("Hi", "Hello</s>"), ("Hi\nHello\nBye", "Take care</s>")]
    assert Chat(train_on="last").sides(EXCHANGE, plain) == [("Hi\nHello\nBye", "Take care</s>")]
    ((source, target),) = Chat().sides(EXCHANGE[:2], carrying(t5_tokenizer, "alpaca"))
    assert source.endswith("### Instruction:\nHi\n\n")
    assert target == "Hello</s>"


def test_each_side_has_its_own_special_tokens_once(t5_tokenizer, spaced_tokenizer, carrying):
    tokenizer = carrying(t5_tokenizer, None)
    ((first, second),) = Chat().encode_sides([EXCHANGE], tokenizer)
    assert tokenizer.decode(first["input_ids"]) == "Hi </s>"
    assert tokenizer.decode(first["labels"]) == "Hello </s>"
    assert tokenizer.decode(second["input_ids"]) == "Hi Hello Bye </s>"
    batch = Chat().pad([first, second], tokenizer)
    assert batch["labels"].tolist() == [[*first["labels"], -100], second["labels"]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    llama = carrying(spaced_tokenizer, None)
    ((only,),) = Chat().encode_sides([EXCHANGE[:2]], llama)
    assert llama.convert_ids_to_tokens(only["input_ids"]) == ["<s>", "▁Hi"]
    assert llama.convert_ids_to_tokens(only["labels"]) == ["<s>", "▁Hello", "</s>"]


def test_what_is_cut_of_a_side_is_counted_and_a_spelled_eos_ends_nothing(t5_tokenizer, carrying):
    tokenizer = carrying(t5_tokenizer, None)
    turns = [Turn("user", "Hi Hello Bye"), Turn("assistant", "Take care . </s> .")]
    ((side,),) = Chat(max_length=3).encode_sides([turns], tokenizer)
    assert tokenizer.decode(side["input_ids"]) == "Hi Hello </s>"
    assert tokenizer.decode(side["labels"]) == "Take care </s>"
    ((whole,),) = Chat().encode_sides([turns], tokenizer)
    assert whole["labels"].count(tokenizer.eos_token_id) == 1
    assert (side["truncated"], side["lost"]) == (1 + len(whole["labels"]) - 3, len(whole["labels"]) - 3)


def test_sides_with_nothing_to_learn_say_so(t5_tokenizer, carrying):
    tokenizer = carrying(t5_tokenizer, None)
    unlearned = [Turn("user", "Hi"), Turn("assistant", "Hello", train=False)]
    ((none,), (cut,)) = Chat(max_length=1).encode_sides([unlearned, EXCHANGE[:2]], tokenizer)
    assert none["refused"] == "There is no answer to learn."
    assert (cut["refused"], cut["lost"]) == ("No token of an answer is within the first 1 tokens.", 1)


def test_a_plain_text_has_no_sides(t5_tokenizer, carrying):
    tokenizer = carrying(t5_tokenizer, None)
    with pytest.raises(DataError, match="has no prompt"):
        Chat().sides([Turn("text", "Hi")], tokenizer)
    ((row,),) = Chat().encode_sides([[Turn("text", "Hi")]], tokenizer)
    assert "has no prompt" in row["refused"]
