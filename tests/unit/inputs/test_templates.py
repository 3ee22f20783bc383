import re

import pytest

from septet.errors import DataError, ModelError, UsageError
from septet.inputs._templates import MAX_SOURCE, NAMED, Template, template_of

EXCHANGE = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Take care"},
]
MARKS = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<end_of_turn>")

TEXTS = {
    "alpaca": "<s>Be kind.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n### Instruction:\nBye\n\n### Response:\nTake care</s>",
    "chatml": "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nTake care<|im_end|>\n",
    "gemma": "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nTake care<end_of_turn>\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nTake care<|eot_id|>",
    "mistral": "<s>[INST] Be kind.\n\nHi [/INST] Hello</s>[INST] Bye [/INST] Take care</s>",
    "plain": "<s>Be kind.\nHi\nHello</s>\nBye\nTake care</s>",
    "verbatim": "<s>Be kind.HiHello</s>ByeTake care</s>",
    "zephyr": "<s><|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\nTake care</s>\n",
}

BARE_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture
def tokenizer(byte_tokenizer):
    return byte_tokenizer(*MARKS, bos="<s>", eos="</s>", writes_bos=True)


@pytest.fixture
def carrying(byte_tokenizer):
    """`carrying(source)` → the template of a tokenizer that has it."""

    def build(source):
        found = byte_tokenizer(*MARKS, bos="<s>", eos="</s>")
        found.chat_template = source
        return Template.of(found)

    return build


def test_there_is_a_golden_text_for_every_named_template():
    assert set(TEXTS) == set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_named_template_renders_exactly_this(name, tokenizer):
    tokenizer.chat_template, origin = template_of(name, tokenizer)
    assert origin == name
    assert Template.of(tokenizer).render(EXCHANGE) == TEXTS[name]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("answer", [True, False])
def test_rendering_is_that_of_transformers(name, answer, tokenizer):
    tokenizer.chat_template, _ = template_of(name, tokenizer)
    theirs = tokenizer.apply_chat_template(EXCHANGE, tokenize=False, add_generation_prompt=answer)
    assert Template.of(tokenizer).render(EXCHANGE, answer=answer) == theirs


@pytest.mark.parametrize("name", NAMED)
def test_the_prompt_of_every_answer_begins_the_whole_text(name, tokenizer):
    tokenizer.chat_template, _ = template_of(name, tokenizer)
    template = Template.of(tokenizer)
    conversation = [*EXCHANGE, {"role": "tool", "content": "3 found"}, *EXCHANGE[2:3], *EXCHANGE[2:3]]
    whole, blocks = template.answers(conversation)
    answers = [i for i, message in enumerate(conversation) if message["role"] == "assistant"]
    for place, (start, _) in zip(answers, blocks, strict=True):
        prompt = template.render(conversation[:place], answer=True)
        assert whole.startswith(prompt)
        assert len(prompt) == start


@pytest.mark.parametrize("name", NAMED)
def test_blocks_and_comparison_agree(name, tokenizer):
    tokenizer.chat_template, _ = template_of(name, tokenizer)
    template = Template.of(tokenizer)
    assert template.blocks_answers
    blockless = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template.source)
    compared = Template(blockless, template.tokens, template.marks)
    assert not compared.blocks_answers
    assert compared.answers(EXCHANGE[:3]) == template.answers(EXCHANGE[:3])
    assert compared.answers(EXCHANGE[:4], answer=True) == template.answers(EXCHANGE[:4], answer=True)


def test_a_tokenizer_that_writes_no_bos_gets_none(byte_tokenizer):
    plain = byte_tokenizer(bos="<s>", eos="</s>")
    plain.chat_template, _ = template_of("plain", plain)
    assert Template.of(plain).render(EXCHANGE[1:3]) == "Hi\nHello</s>"


@pytest.mark.parametrize(
    ("name", "end"), [("chatml", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("gemma", "<end_of_turn>")]
)
def test_a_mark_that_the_tokenizer_does_not_know_gives_way_to_eos(name, end, byte_tokenizer):
    unknowing = byte_tokenizer(eos="</s>")
    unknowing.chat_template, _ = template_of(name, unknowing)
    text, [(start, stop)] = Template.of(unknowing).answers(EXCHANGE[1:3])
    assert text[start:stop] == "Hello</s>"
    assert end not in text
    without_eos = byte_tokenizer(eos=None)
    without_eos.chat_template, _ = template_of(name, without_eos)
    assert end in Template.of(without_eos).render(EXCHANGE[1:3])


def test_none_means_the_tokenizers_own_and_then_plain(tokenizer):
    plain, origin = template_of(None, tokenizer)
    assert (plain, origin) == (NAMED["plain"], "plain, since the tokenizer has none")
    tokenizer.chat_template = BARE_CHATML
    assert template_of(None, tokenizer) == (BARE_CHATML, "the tokenizer's own")
    tokenizer.chat_template = {"default": BARE_CHATML, "tool_use": "x"}
    assert template_of(None, tokenizer)[0] == BARE_CHATML


def test_a_file_is_read_relative_to_the_recipe(tokenizer, tmp_path):
    (tmp_path / "ours.jinja").write_text(BARE_CHATML)
    assert template_of("ours.jinja", tokenizer, tmp_path) == (BARE_CHATML, "ours.jinja")
    assert template_of(BARE_CHATML, tokenizer) == (BARE_CHATML, "given as text")
    with pytest.raises(UsageError, match="cannot be read"):
        template_of("theirs.jinja", tokenizer, tmp_path)


def test_an_unknown_name_is_told_what_there_is(tokenizer):
    with pytest.raises(UsageError, match=r"alpaca, chatml.*\n  try: chatml"):
        template_of("chat-ml", tokenizer)


def test_what_is_no_jinja_is_refused_with_its_line(tokenizer):
    with pytest.raises(ModelError, match="line 2"):
        template_of("{{ messages }}\n{% for %}", tokenizer)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set x = messages.append(1) %}",
    ],
)
def test_the_sandbox_refuses(source, carrying):
    with pytest.raises(ModelError, match="cannot be used"):
        carrying(source).render(EXCHANGE)


def test_the_sandbox_shows_no_class(carrying):
    assert carrying("{{ ''.__class__ }}").render(EXCHANGE) == ""


@pytest.mark.parametrize(
    "source", ["{{ raise_exception('roles must alternate') }}", "{{ messages[9].role.x }}", "{{ 1 / 0 }}"]
)
def test_what_a_template_cannot_render_is_a_problem_of_the_data(source, carrying):
    with pytest.raises(DataError, match="refuses this conversation"):
        carrying(source).render(EXCHANGE)


def test_a_tokenizer_without_a_template_is_told_to_name_one(byte_tokenizer):
    with pytest.raises(ModelError, match="name a template: alpaca"):
        Template.of(byte_tokenizer())


def test_a_template_without_blocks_is_split_by_comparison(carrying):
    template = carrying(BARE_CHATML)
    assert not template.blocks_answers
    text, spans = template.answers(EXCHANGE)
    assert [text[slice(*span)] for span in spans] == ["Hello<|im_end|>", "Take care<|im_end|>"]


def test_a_newline_that_ends_a_turn_is_kept_where_there_is_no_mark(carrying):
    template = carrying(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    text, spans = template.answers(EXCHANGE)
    assert text[slice(*spans[0])] == "Hello\n"


def test_a_template_that_cannot_be_split_says_so(carrying):
    thinking = BARE_CHATML.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif")
    assert thinking != BARE_CHATML
    assert carrying(thinking).answers(EXCHANGE)[1] == [None, None]
    with pytest.raises(ModelError, match=r"does not tell answers from prompts.*\n  try: name a template: alpaca"):
        carrying(thinking).check()


# what Qwen 3 does: an earlier answer stands there bare, the last one after its empty thoughts
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m['content'] }}<|im_end|>{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{{ 'assistant\\n' }}{% endif %}"
)


def test_a_template_that_forgets_thoughts_gives_its_last_answer_alone(carrying):
    template = carrying(FORGETFUL)
    template.check()
    text, (earlier, last) = template.answers(EXCHANGE)
    assert earlier is None
    assert text[slice(*last)] == "<think>\n\n</think>\n\nTake care<|im_end|>"


def test_blocks_that_begin_elsewhere_than_the_prompt_ends_are_not_trusted(carrying):
    header_inside = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}<|im_start|>assistant:{{ m['content'] }}<|im_end|>{% endgeneration %}"
        "{% else %}<|im_start|>{{ m['role'] }}:{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
    )
    template = carrying(header_inside)
    assert not template.blocks_answers
    text, spans = template.answers(EXCHANGE)
    assert [text[slice(*span)] for span in spans] == ["Hello<|im_end|>", "Take care<|im_end|>"]


def test_a_block_that_leaves_its_end_outside_is_closed_by_it(carrying):
    outside = (
        "{% for m in messages %}<|im_start|>{{ m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}<|im_end|>{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>{{ 'assistant\\n' }}{% endif %}"
    )
    template = carrying(outside)
    assert template.blocks_answers
    assert template.closing == "<|im_end|>"
    text, spans = template.answers(EXCHANGE)
    assert [text[slice(*span)] for span in spans] == ["Hello<|im_end|>", "Take care<|im_end|>"]
    inside = outside.replace("{% endgeneration %}", "<|im_end|>{% endgeneration %}")
    assert carrying(inside).closing is None


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ raise_exception('never') }}", "{{ nothing.there }}"])
def test_a_template_that_always_fails_is_told_once(source, carrying):
    with pytest.raises(ModelError, match="fails on a question and its answer: (division|never|'nothing')"):
        carrying(source).check()


@pytest.mark.parametrize(
    "source",
    [
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ ''.__class__ }}{% set x = ''.__class__.__subclasses__() %}",
    ],
)
def test_a_template_that_breaks_out_is_stopped(source, carrying):
    with pytest.raises(ModelError, match="cannot be used"):
        carrying(source).check()


@pytest.mark.parametrize(
    "source",
    [
        "{% include '/etc/hostname' %}",
        "{{ messages }}\n{% include name ignore missing %}",
        "{% import 'x.jinja' as x %}",
        "{% from 'x.jinja' import y %}",
        "{% extends 'x.jinja' %}",
    ],
)
def test_a_template_reads_no_other_file(source, tokenizer, carrying):
    for attempt in (lambda: template_of(source, tokenizer), lambda: carrying(source)):
        with pytest.raises(ModelError, match=r"reads another file.\n.*line \d"):
            attempt()


def test_a_template_is_rendered_in_the_immutable_sandbox(carrying):
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from transformers.utils.chat_template_utils import _compile_jinja_template

    environment = _compile_jinja_template(carrying(BARE_CHATML).source).environment
    assert isinstance(environment, ImmutableSandboxedEnvironment)
    assert environment.loader is None


def test_a_template_has_a_bounded_size(tokenizer, carrying, tmp_path):
    long = BARE_CHATML + "{# " + "x" * MAX_SOURCE + " #}"
    (tmp_path / "long.jinja").write_text(long)
    for attempt in (lambda: template_of("long.jinja", tokenizer, tmp_path), lambda: carrying(long)):
        with pytest.raises(ModelError, match="more than 200,000 characters"):
            attempt()


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 50_000,
        "{% for m in messages %}" * 40 + "{% endfor %}" * 40,
        "{{ 1" + "0" * 9_000 + " }}",
        "{{ 10 ** 10 ** 10 }}",
    ],
    ids=["deep", "nested", "wide", "power"],
)
def test_a_template_that_python_cannot_take_is_refused(source, tokenizer):
    with pytest.raises(ModelError, match=r"beyond what Jinja can read|to powers"):
        template_of(source, tokenizer)


def test_a_template_file_is_a_file_of_text(tokenizer, tmp_path):
    (tmp_path / "folder.jinja").mkdir()
    (tmp_path / "zero.jinja").symlink_to("/dev/zero")
    (tmp_path / "latin.jinja").write_bytes(b"\xff\xfe{{ messages }}")
    for name, problem in (("folder", "is no file"), ("zero", "is no file"), ("latin", "cannot be read")):
        with pytest.raises(UsageError, match=problem):
            template_of(f"{name}.jinja", tokenizer, tmp_path)
    with pytest.raises(UsageError):
        template_of("null\0.jinja", tokenizer, tmp_path)


def test_the_clock_of_a_template_stands_still(tokenizer, tmp_path):
    asking = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }} {% endif %}" + BARE_CHATML
    source, _ = template_of(asking, tokenizer)
    tokenizer.chat_template = source
    assert Template.of(tokenizer).render(EXCHANGE[1:2]).startswith("26 Jul 2024 <|im_start|>user")
    assert tokenizer.apply_chat_template(EXCHANGE[1:2], tokenize=False).startswith("26 Jul 2024 <|im_start|>user")
    assert template_of(None, tokenizer)[0] == source
    assert template_of(BARE_CHATML, tokenizer)[0] == BARE_CHATML


def test_threads_do_not_share_their_blocks(carrying):
    from concurrent.futures import ThreadPoolExecutor

    template = carrying(NAMED["chatml"])
    expected = [template.answers(EXCHANGE), template.answers(EXCHANGE[:2], answer=True)]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(template.answers, EXCHANGE[: 2 if i % 2 else 5], answer=bool(i % 2)) for i in range(400)]
    assert all(future.result() == expected[i % 2] for i, future in enumerate(asked))
