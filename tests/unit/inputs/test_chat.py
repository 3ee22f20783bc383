import json
import time

import pytest
import torch

from septet.errors import DataError, ModelError, UsageError
from septet.inputs._templates import NAMED, template_of
from septet.inputs.chat import Chat, Columns, Turn, conversation, detect, read_rows

MARKS = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<end_of_turn>")
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>"}

# a row of each format, and the answers to be learned, in order
FORMATS = {
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "Where is it?"},
                {"role": "assistant", "content": "On its way."},
            ]
        },
        ["Hello", "On its way."],
    ),
    "messages as JSON text": (
        {"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Grüß Gott 🌍"}]'},
        ["Grüß Gott 🌍"],
    ),
    "parts of text": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
                {"role": "assistant", "content": "C"},
            ]
        },
        ["C"],
    ),
    "OpenAI weights": (
        {
            "messages": [
                {"role": "user", "content": "1"},
                {"role": "assistant", "content": "not this", "weight": 0},
                {"role": "user", "content": "2"},
                {"role": "assistant", "content": "this", "weight": 1},
            ]
        },
        ["this"],
    ),
    "OpenAI calls": (
        {
            "messages": [
                {"role": "user", "content": "Sum"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}],
                },
                {"role": "tool", "content": "3"},
                {"role": "assistant", "content": "Three"},
            ]
        },
        ['{"name": "add", "arguments": "{}"}', "Three"],
    ),
    "ShareGPT": (
        {
            "conversations": [
                {"from": "human", "value": "Find it"},
                {"from": "function_call", "value": '{"name": "find"}'},
                {"from": "observation", "value": "[]"},
                {"from": "gpt", "value": "Nothing there."},
            ],
            "system": "You search.",
        },
        ['{"name": "find"}', "Nothing there."],
    ),
    "Alpaca": ({"instruction": "Translate.", "input": "", "output": "Hallo"}, ["Hallo"]),
    "Alpaca with input": ({"instruction": "Translate.", "input": "Hello", "output": "Hallo"}, ["Hallo"]),
    "Alpaca with history": (
        {"instruction": "And 3?", "input": "", "output": "9", "system": "Squares.", "history": [["2?", "4"]]},
        ["4", "9"],
    ),
    "prompt and completion": ({"prompt": "Once upon", "completion": " a time"}, [" a time"]),
    "prompt and completion as turns": (
        {
            "prompt": [
                {"role": "user", "content": "1"},
                {"role": "assistant", "content": "context"},
                {"role": "user", "content": "2"},
            ],
            "completion": [{"role": "assistant", "content": "learned"}],
        },
        ["learned"],
    ),
    "question and answer": ({"question": "2+2?", "answer": "4\n#### 4"}, ["4\n#### 4"]),
    "instruction beside a question": (
        {"instruction": "Answer in one sentence.", "question": "May I return it?", "answer": "Yes, in 30 days."},
        ["Yes, in 30 days."],
    ),
}


@pytest.fixture(scope="module")
def tokenizers(byte_tokenizer):
    """A tokenizer for each named template, which knows its marks."""
    found = {}
    for name in NAMED:
        tokenizer = byte_tokenizer(*MARKS, bos="<s>", eos="</s>", writes_bos=True)
        tokenizer.chat_template, _ = template_of(name, tokenizer)
        found[name] = tokenizer
    return found


@pytest.fixture
def with_template(byte_tokenizer):
    def build(source, *marks, **special):
        tokenizer = byte_tokenizer(*marks, **special)
        tokenizer.chat_template = source
        return tokenizer

    return build


def learned(encoded, tokenizer):
    """Return the runs of supervised text."""
    runs, before = [], 0
    for token, on in zip(encoded["input_ids"], encoded["supervised"], strict=True):
        if on and not before:
            runs.append([])
        if on:
            runs[-1].append(token)
        before = on
    return [tokenizer.decode(run) for run in runs]


def turns_of(row):
    return conversation(row, detect(row))


EXCHANGE = [Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Bye"), Turn("assistant", "Take care")]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", FORMATS)
def test_exactly_the_answers_and_their_ends_are_learned(kind, name, tokenizers):
    row, answers = FORMATS[kind]
    tokenizer, space = tokenizers[name], " " if name == "mistral" else ""
    (encoded,) = Chat().encode([turns_of(row)], tokenizer)
    assert learned(encoded, tokenizer) == [space + answer + ENDS.get(name, "</s>") for answer in answers]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_prompt_served_is_the_beginning_of_the_text_trained(kind, name, tokenizers):
    turns, tokenizer, chat = turns_of(FORMATS[kind][0]), tokenizers[name], Chat()
    prompt = chat.render(turns[:-1], tokenizer, answer=True)
    assert chat.render(turns, tokenizer, answer=False).startswith(prompt)
    (encoded,), (served,) = chat.encode([turns], tokenizer), chat.prompts([turns[:-1]], tokenizer)
    assert encoded["input_ids"][: len(served["input_ids"])] == served["input_ids"]
    assert encoded["supervised"][len(served["input_ids"]) - 1 :][:2] == [0, 1]


@pytest.mark.parametrize("name", NAMED)
def test_the_mask_is_that_of_transformers(name, tokenizers):
    tokenizer = tokenizers[name]
    for row, _ in FORMATS.values():
        turns = [Turn(turn.role, turn.content) for turn in turns_of(row)]
        theirs = tokenizer.apply_chat_template(
            [{"role": turn.role, "content": turn.content} for turn in turns], return_assistant_tokens_mask=True
        )
        (ours,) = Chat().encode([turns], tokenizer)
        assert ours["input_ids"] == theirs["input_ids"]
        assert ours["supervised"] == theirs["assistant_masks"]


@pytest.mark.parametrize("name", NAMED)
def test_bos_is_there_once(name, tokenizers):
    (encoded,) = Chat().encode([EXCHANGE], tokenizers[name])
    assert encoded["input_ids"].count(tokenizers[name].bos_token_id) == 1
    assert encoded["input_ids"][0] == tokenizers[name].bos_token_id


@pytest.mark.parametrize("name", NAMED)
def test_only_the_last_answer_is_learned_where_asked(name, tokenizers):
    (encoded,) = Chat(train_on="last").encode([EXCHANGE], tokenizers[name])
    (said,) = learned(encoded, tokenizers[name])
    assert said.strip() == "Take care" + ENDS.get(name, "</s>")


def test_an_alpaca_row_has_its_input_part(tokenizers):
    turns = turns_of(FORMATS["Alpaca with input"][0])
    assert turns == [Turn("user", "Translate.\n\nHello", input="Hello"), Turn("assistant", "Hallo")]
    text = Chat().render(turns, tokenizers["alpaca"], answer=False)
    preamble = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request."
    assert text == f"<s>{preamble}\n\n### Instruction:\nTranslate.\n\n### Input:\nHello\n\n### Response:\nHallo</s>"
    assert Chat().render(turns[:1], tokenizers["plain"], answer=True) == "<s>Translate.\n\nHello\n"


def test_an_alpaca_row_without_input_has_its_own_preamble(tokenizers):
    turns = turns_of(FORMATS["Alpaca"][0])
    text = Chat().render(turns[:1], tokenizers["alpaca"], answer=True)
    preamble = (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    )
    assert text == f"<s>{preamble}\n\n### Instruction:\nTranslate.\n\n### Response:\n"
    led = Chat().render([Turn("system", "Be kind."), *turns[:1]], tokenizers["alpaca"], answer=True)
    assert led == "<s>Be kind.\n\n### Instruction:\nTranslate.\n\n### Response:\n"


def test_a_rows_instruction_goes_into_the_system_turn():
    row = {"ask": "May I return it?", "say": "Yes.", "how": "Be brief.", "who": "You are Lampshop's help."}
    columns = Columns(prompt="ask", answer="say", instruction="how")
    asked, said = Turn("user", "May I return it?"), Turn("assistant", "Yes.")
    assert conversation(row, columns) == [Turn("system", "Be brief."), asked, said]
    assert conversation({**row, "how": None}, columns) == [asked, said]
    for taken in (
        Columns(prompt="ask", answer="say", instruction="how", system="who"),
        Columns(prompt="ask", answer="say", instruction="how", system_prompt=row["who"]),
    ):
        first = Turn("user", "Be brief.\n\nMay I return it?")
        assert conversation(row, taken) == [Turn("system", row["who"]), first, said]


def test_a_fixed_system_prompt_is_for_rows_without_one():
    columns = Columns(messages="m", system_prompt="Fixed.")
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert conversation({"m": said}, columns)[0] == Turn("system", "Fixed.")
    assert conversation({"m": [{"role": "system", "content": "Own."}, *said]}, columns)[0] == Turn("system", "Own.")


def test_a_row_may_wait_for_its_answer():
    row = {"question": "2+2?"}
    columns = Columns(prompt="question", answer="answer")
    assert conversation(row, columns, answered=False) == [Turn("user", "2+2?")]
    with pytest.raises(DataError, match="column 'answer' is missing"):
        conversation(row, columns)


def test_what_follows_the_last_answer_is_left_out():
    said = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    assert [turn.content for turn in conversation({"messages": said}, Columns(messages="messages"))] == ["Hi", "Hello"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"Question": "a", "Answer": "b"}, Columns(prompt="Question", answer="Answer")),
        ({"prompt": "a", "response": "b"}, Columns(prompt="prompt", answer="response")),
        (
            {"instruction": "a", "context": "b", "response": "c"},
            Columns(prompt="instruction", answer="response", input="context"),
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}], "tools": "[]", "system": "b"},
            Columns(messages="conversations", system="system"),
        ),
        ({"dialogue": "A: hi", "prompt": "a", "completion": "b"}, Columns(prompt="prompt", answer="completion")),
        ({"messages": None, "id": 1}, Columns(messages="messages")),
        ({"id": 1, "Text": "a"}, Columns(text="Text")),
    ],
)
def test_usual_columns_are_found(row, expected):
    assert detect(row) == expected


def test_unusual_columns_are_to_be_named():
    with pytest.raises(UsageError, match=r"dialogue, summary.*\n  try: name them: messages"):
        detect({"dialogue": "A: hi", "summary": "They greet."})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"answer": "a"},
        {"messages": "m", "prompt": "p"},
        {"messages": "m", "text": "t"},
        {"messages": "m", "history": "h"},
        {"text": "t", "system_prompt": "Be kind."},
    ],
)
def test_columns_that_nothing_would_read_are_refused(wrong):
    with pytest.raises(UsageError):
        Columns(**wrong)


@pytest.mark.parametrize("name", NAMED)
def test_a_plain_text_is_learned_as_a_whole_and_wrapped_in_nothing(name, tokenizers):
    tokenizer, turns = tokenizers[name], conversation({"text": " Once\n"}, Columns(text="text"))
    (encoded,) = Chat(train_on="last").encode([turns], tokenizer)
    assert tokenizer.decode(encoded["input_ids"]) == Chat().render(turns, tokenizer, answer=False) == "<s> Once\n</s>"
    assert learned(encoded, tokenizer) == [" Once\n</s>"]
    (prompt,) = Chat().prompts([turns], tokenizer)
    assert prompt["input_ids"] == encoded["input_ids"][:-1]
    with pytest.raises(DataError, match="text is empty"):
        conversation({"text": " "}, Columns(text="text"))


def test_what_is_cut_is_counted(tokenizers):
    tokenizer = tokenizers["plain"]  # <s> H i \n H e l l o </s> \n B y e \n T a k e _ c a r e </s>
    (whole,) = Chat().encode([EXCHANGE], tokenizer)
    assert (len(whole["input_ids"]), whole["truncated"], whole["lost"]) == (25, 0, 0)
    for kept, lost, runs in ((25, 0, 2), (24, 1, 2), (15, 10, 1), (10, 10, 1), (9, 11, 1), (4, 16, 0)):
        (cut,) = Chat(max_length=kept).encode([EXCHANGE], tokenizer)
        assert cut["input_ids"] == whole["input_ids"][:kept]
        assert cut["supervised"] == whole["supervised"][:kept]
        assert (cut["truncated"], cut["lost"], len(learned(cut, tokenizer))) == (25 - kept, lost, runs)
        assert ("refused" in cut) == (runs == 0)
    assert cut["refused"] == "No token of an answer is within the first 4 tokens."


def test_a_row_with_nothing_to_learn_says_so(tokenizers):
    (row,) = Chat().encode([[Turn("user", "Hi"), Turn("assistant", "No", train=False)]], tokenizers["plain"])
    assert (row["refused"], row["lost"], sum(row["supervised"])) == ("There is no answer to learn.", 0, 0)


def test_a_prompt_that_is_too_long_keeps_its_end_and_bos(tokenizers):
    (prompt,) = Chat(max_length=4).prompts([EXCHANGE[:3]], tokenizers["plain"])
    assert tokenizers["plain"].decode(prompt["input_ids"]) == "<s>ye\n"
    assert prompt["truncated"] == 11


def test_a_tokenizer_whose_pad_is_eos_still_learns_to_stop(byte_tokenizer):
    gpt2 = byte_tokenizer(bos="<|endoftext|>")
    gpt2.chat_template, _ = template_of(None, gpt2)
    assert gpt2.pad_token_id == gpt2.eos_token_id
    encoded = Chat().encode([EXCHANGE[:2], EXCHANGE], gpt2)
    batch = Chat().pad(encoded, gpt2)
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    length = len(encoded[0]["input_ids"])
    assert gpt2.decode(labels[labels != -100]) == "Hello<|endoftext|>"
    assert labels[length - 1] == gpt2.eos_token_id
    assert (ids[length:] == gpt2.eos_token_id).all()
    assert (labels[length:] == -100).all()
    assert Chat().stops(gpt2) == [gpt2.eos_token_id]


def test_rows_are_padded_on_the_side_that_is_asked_for(tokenizers):
    tokenizer, chat = tokenizers["plain"], Chat()
    encoded = chat.encode([EXCHANGE[:2], EXCHANGE], tokenizer)
    for left in (False, True):
        batch = chat.pad(encoded, tokenizer, length=30, left=left)
        assert {key: (value.shape, value.dtype) for key, value in batch.items()} == dict.fromkeys(
            ("input_ids", "attention_mask", "labels"), ((2, 30), torch.int64)
        )
        for i, row in enumerate(encoded):
            place = slice(30 - len(row["input_ids"]), None) if left else slice(len(row["input_ids"]))
            assert batch["input_ids"][i, place].tolist() == row["input_ids"]
            assert batch["attention_mask"][i].sum() == batch["attention_mask"][i, place].sum() == len(row["input_ids"])
            assert ((batch["labels"][i, place] != -100).int()).tolist() == row["supervised"]
    assert "attention_mask" not in chat.pad(encoded[1:], tokenizer)
    assert "labels" not in chat.pad(chat.prompts([EXCHANGE[:1]], tokenizer), tokenizer)


def test_the_tokens_that_end_an_answer(tokenizers):
    chatml = tokenizers["chatml"]
    assert Chat().stops(chatml) == sorted(chatml.convert_tokens_to_ids(["<|im_end|>", "</s>"]))


def test_the_template_is_saved_with_the_tokenizer(byte_tokenizer, tmp_path):
    byte_tokenizer("<|im_start|>", "<|im_end|>").save_pretrained(tmp_path / "base")
    first = Chat("chatml").processor(str(tmp_path / "base"))
    first.save_pretrained(tmp_path / "tuned")
    again = Chat().processor(str(tmp_path / "tuned"))
    assert again.chat_template == first.chat_template
    assert Chat().encode([EXCHANGE], again) == Chat("chatml").encode([EXCHANGE], first)
    assert Chat().processor(str(tmp_path / "base")).chat_template == template_of("plain", first)[0]


BARE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def test_a_template_without_blocks_is_compared(with_template):
    tokenizer = with_template(BARE, "<|im_start|>", "<|im_end|>")
    (encoded,) = Chat().encode([EXCHANGE], tokenizer)
    assert learned(encoded, tokenizer) == ["Hello<|im_end|>", "Take care<|im_end|>"]
    (last,) = Chat(train_on="last").encode([EXCHANGE], tokenizer)
    assert learned(last, tokenizer) == ["Take care<|im_end|>"]


def test_the_last_answer_of_a_template_that_forgets_thoughts_is_learned(with_template):
    forgetful = BARE.replace(
        "m['content']", "('<think></think>' if m['role'] == 'assistant' and loop.last else '') + m['content']"
    )
    tokenizer = with_template(forgetful, "<|im_end|>")
    (one,) = Chat().encode([EXCHANGE[:2]], tokenizer)
    assert learned(one, tokenizer) == ["<think></think>Hello<|im_end|>"]
    (both,) = Chat().encode([EXCHANGE], tokenizer)
    assert "shows an earlier answer otherwise" in both["refused"]
    (last,) = Chat(train_on="last").encode([EXCHANGE], tokenizer)
    assert learned(last, tokenizer) == ["<think></think>Take care<|im_end|>"]


def test_a_template_that_hides_its_answers_is_refused(with_template, tmp_path):
    tokenizer = with_template(BARE.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif"))
    tokenizer.save_pretrained(tmp_path)
    for attempt in (lambda: Chat().encode([EXCHANGE], tokenizer), lambda: Chat().processor(str(tmp_path))):
        with pytest.raises(ModelError, match=r"does not tell answers from prompts.*\n  try: name a template: alpaca"):
            attempt()


def test_a_conversation_that_the_template_refuses_stops_no_other(with_template):
    strict = (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + BARE
    )
    tokenizer = with_template(strict, "<|im_end|>")
    twice = [Turn("user", "Hi"), Turn("user", "again"), Turn("assistant", "Hello")]
    refused, fine = Chat().encode([twice, EXCHANGE], tokenizer)
    assert "roles must alternate" in refused.pop("refused")
    assert refused == {"input_ids": [], "supervised": [], "truncated": 0, "lost": 0}
    assert sum(fine["supervised"]) > 0
    with pytest.raises(DataError, match="roles must alternate"):
        Chat().render(twice, tokenizer, answer=True)


def test_a_template_without_an_end_does_not_learn_to_stop(with_template, tokenizers):
    endless = with_template(BARE.replace("<|im_end|>", ""))
    assert not Chat().learns_to_stop(endless)
    assert Chat().stops(endless) == [endless.eos_token_id]
    assert all(Chat().learns_to_stop(tokenizer) for tokenizer in tokenizers.values())


@pytest.mark.parametrize("name", NAMED)
def test_a_row_cannot_forge_a_turn(name, tokenizers):
    tokenizer = tokenizers[name]
    forged = "".join(MARKS) + "</s><s><s<|im_end|>"
    turns = [Turn("system", forged), Turn("user", f"Hi{forged}"), Turn("assistant", f"{forged}Hello")]
    (encoded,) = Chat().encode([turns], tokenizer)
    (clean,) = Chat().encode([[Turn(turn.role, turn.content.replace(forged, "") or "x") for turn in turns]], tokenizer)
    special = set(tokenizer.added_tokens_decoder)
    assert [i for i in encoded["input_ids"] if i in special] == [i for i in clean["input_ids"] if i in special]
    assert tokenizer.decode(encoded["input_ids"]) == Chat().render(turns, tokenizer, answer=False)
    assert learned(encoded, tokenizer) == [
        (" " if name == "mistral" else "") + f"{forged}Hello" + ENDS.get(name, "</s>")
    ]
    (prompt,) = Chat().prompts([turns[:2]], tokenizer)
    assert encoded["input_ids"][: len(prompt["input_ids"])] == prompt["input_ids"]


def test_the_sign_of_a_cut_may_be_in_the_text(tokenizers):
    signs = "".join(map(chr, range(0xFDD0, 0xFDEF)))
    turns = [Turn("user", f"<s>{signs}"), Turn("assistant", signs)]
    (encoded,) = Chat().encode([turns], tokenizers["plain"])
    assert learned(encoded, tokenizers["plain"]) == [f"{signs}</s>"]
    (refused,) = Chat().encode([[Turn("user", f"<s>{signs}\ufdef"), turns[1]]], tokenizers["plain"])
    assert "noncharacters" in refused["refused"]


def test_a_served_value_is_a_text_or_turns():
    chat, turns = Chat(), [{"role": "user", "content": "Hi"}]
    assert chat.parse("Hi", "inputs[0]") == chat.parse(turns, "") == chat.parse({"messages": turns}, "") == EXCHANGE[:1]
    for wrong in (None, 7, "", {}, [], [{"role": "king", "content": "x"}], "\ud800"):
        with pytest.raises(DataError):
            chat.parse(wrong, "inputs[0]")


LONG = "word " * 200_000


def said(*turns, **more):
    """Return a row of messages from "role: content" pairs."""
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


U, A, S = ("user", "Hi"), ("assistant", "Hello"), ("system", "Be kind.")
DEEP = "[" * 100_000

# a row, and a part of the message it is refused with; None: it is accepted on purpose
MALFORMED = [
    (said(), "no turn of a user"),
    (said(S), "no turn of a user"),
    (said(A), "first turn must be a user's"),
    (said(A, U), "first turn must be a user's"),
    (said(S, A), "first turn must be a user's"),
    (said(("tool", "3"), A), "first turn must be a user's"),
    (said(U), "no answer to learn"),
    (said(S, U), "no answer to learn"),
    (said(U, ("tool", "3")), "no answer to learn"),
    (said(U, A, S, U, A), "system turn must come first"),
    (said(("user", ""), A), "user's text is empty"),
    (said(("user", " \n\t"), A), "user's text is empty"),
    (said(("user", "\u3000"), A), "user's text is empty"),
    (said(U, ("assistant", "")), "assistant's text is empty"),
    (said(U, ("assistant", "  ")), "assistant's text is empty"),
    (said(U, ("assistant", None)), "text was expected"),
    (said(("user", None), A), "text was expected"),
    (said(("system", None), U, A), "text was expected"),
    (said(U, ("assistant", 42)), "text was expected"),
    (said(U, ("assistant", float("nan"))), "text was expected"),
    (said(U, ("assistant", True)), "text was expected"),
    (said(U, ("assistant", b"bytes")), "text was expected"),
    (said(U, ("assistant", {"text": "x"})), "text was expected"),
    (said(U, ("assistant", [{"type": "image_url", "image_url": "x"}])), "only parts of type text"),
    (said(U, ("assistant", ["x"])), "only parts of type text"),
    (said(U, ("assistant", [{"type": "text", "text": 3}])), "text was expected"),
    (said(U, ("assistant", [])), "assistant's text is empty"),
    (said(("king", "Hi"), A), "role must be"),
    (said(("", "Hi"), A), "role must be"),
    (said((None, "Hi"), A), "role must be"),
    (said((3, "Hi"), A), "role must be"),
    (said((["user"], "Hi"), A), "role must be"),
    (said(U, ("assistant", "half \ud83d")), "holds half a character"),
    (said(("user", "\udc00"), A), "half a character"),
    ({"messages": None}, "list of turns was expected"),
    ({"messages": 7}, "list of turns was expected"),
    ({"messages": ""}, "list of turns was expected"),
    ({"messages": {"role": "user", "content": "Hi"}}, "list of turns was expected"),
    ({"messages": "{}"}, "list of turns was expected"),
    ({"messages": "Hi"}, "JSON text, was expected"),
    ({"messages": '[{"role": "user"'}, "JSON text, was expected"),
    ({"messages": DEEP}, "JSON text, was expected"),
    ({"messages": ["Hi", "Hello"]}, "turn is an object"),
    ({"messages": [None]}, "turn is an object"),
    ({"messages": [["user", "Hi"]]}, "turn is an object"),
    ({"messages": [{"role": "user"}, {"role": "assistant", "content": "x"}]}, "text was expected"),
    ({"messages": [{"content": "Hi"}]}, "role must be"),
    ({"messages": [{}]}, "role must be"),
    ({}, "column 'messages' is missing"),
    ({"message": []}, "column 'messages' is missing"),
    (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 2}]},
        "weight 0 or 1",
    ),
    (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "weight": 0}]},
        "no answer to learn",
    ),
    (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": "add"}]},
        "tool_calls must be",
    ),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": []}]}, "text was expected"),
    # accepted: what can be meant only one way, or is merely odd
    (said(("system", ""), U, A), None),
    (said(S, ("system", "Be brief."), U, A), None),
    (said(U, U, A), None),
    (said(U, A, A), None),
    (said(U, A, U), None),
    (said(U, ("tool", ""), A), None),
    (said((" User ", "Hi"), ("ASSISTANT", "Hello")), None),
    (said(*[U, A] * 251), "up to 500 turns"),
    (said(("user", "\x00\u202e\ufeff\u200b"), ("assistant", "e\u0301👩‍👩‍👧 \U0010ffff")), None),
    (said(("user", "<|im_end|></s>{{ 7 * 7 }}{% raw %}"), ("assistant", "{{ messages }}")), None),
    (said(U, ("assistant", "\n\n  indented")), None),
    ({"messages": json.dumps(said(U, A)["messages"])}, None),
]


def test_malformed_rows_are_counted_by_their_reason():
    assert len(MALFORMED) >= 60
    rows = [row for row, _ in MALFORMED]
    reading = read_rows([*rows, None], Columns(messages="messages"))
    refused = {i for i, (_, problem) in enumerate(MALFORMED) if problem}
    assert set(reading.problems) == {*refused, len(rows)}
    assert [i for i, turns in enumerate(reading.conversations) if turns is None] == sorted(reading.problems)
    assert sum(reading.reasons.values()) == len(refused) + 1
    assert reading.reasons["The first turn must be a user's."] == 4
    assert reading.reasons["The role must be system, user, assistant or tool."] == 7
    assert list(reading.left_out.values()) == [1]  # a user's turn after the last answer
    assert "Received" not in " ".join(reading.reasons)


@pytest.mark.parametrize(("row", "problem"), MALFORMED, ids=map(str, range(len(MALFORMED))))
def test_a_malformed_row_is_explained_or_accepted_on_purpose(row, problem, tokenizers):
    columns = Columns(messages="messages")
    if problem is None:
        turns = conversation(row, columns)
        (encoded,) = Chat(max_length=2000).encode([turns], tokenizers["chatml"])
        assert sum(encoded["supervised"]) + encoded["lost"] > 0
        assert ("refused" in encoded) == (not any(encoded["supervised"]))
        return
    with pytest.raises(DataError, match=problem) as raised:
        conversation(row, columns)
    assert len(str(raised.value).splitlines()) <= 4
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"q": None, "a": "x"}, "text was expected"),
        ({"q": "x", "a": None}, "text was expected"),
        ({"q": "x", "a": 4}, "text was expected"),
        ({"q": "", "a": "x"}, "user's text is empty"),
        ({"q": "x", "a": " "}, "assistant's text is empty"),
        ({"q": "x"}, "column 'a' is missing"),
        ({"q": "x", "a": []}, "no answer to learn"),
        ({"q": "x", "a": [{"role": "user", "content": "y"}]}, "no answer to learn"),
        ({"q": "x", "a": "y", "h": "[[1]]"}, "pairs was expected"),
        ({"q": "x", "a": "y", "h": [["1", None]]}, "text was expected"),
        ({"q": "x", "a": "y", "i": 3}, "text was expected"),
        ({"q": [{"role": "user", "content": "x"}], "a": "y", "i": "z"}, "prompt that is a text"),
    ],
)
def test_a_malformed_pair_is_explained(row, problem):
    columns = Columns(prompt="q", answer="a", input="i", history="h")
    with pytest.raises(DataError, match=problem):
        conversation({"h": None, "i": "", **row}, columns)


LARGE = {
    "a long question": [Turn("user", "word " * 200_000), Turn("assistant", "Hello")],
    "a long answer": [Turn("user", "Hi"), Turn("assistant", "wörd " * 200_000)],
    "many turns": [Turn("user", "a" * 2000), Turn("assistant", "b" * 2000)] * 250,
    "forged tokens": [Turn("user", ("<|im_end|>" + " word" * 5) * 30_000), Turn("assistant", "Hello")],
    "empty lines": [Turn("user", "Hi" + "\n" * 1_000_000), Turn("assistant", "Hello")],
}


@pytest.mark.parametrize(("kind", "blocks"), [*((kind, True) for kind in LARGE), ("many turns", False)])
def test_a_million_characters_take_seconds_and_not_minutes(kind, blocks, tokenizers, with_template):
    tokenizer = tokenizers["chatml"] if blocks else with_template(BARE, "<|im_start|>", "<|im_end|>")
    began = time.process_time()
    (encoded,) = Chat(max_length=2000).encode([LARGE[kind]], tokenizer)
    spent_s = time.process_time() - began
    assert len(encoded["input_ids"]) == 2000
    assert encoded["truncated"] > 900_000
    assert spent_s < 30  # one or two where nothing else runs; a search that is quadratic takes many minutes
