"""All rows in one call of `varlen_attn`: outputs and gradients are those of a call a row and of the padded model; a stand-in computes it here."""

import pytest
import torch
from test_tokens_unpadded import close, examples, gradients

import languages
import one_call
from septet.engine import dropout, varlen
from septet.engine.attention import FUSED, register_attention
from septet.engine.shortcut import first_token_only
from septet.engine.unpad import Layout, unpadder
from septet.setup import _attention_of
from septet.tasks.generate import Generate, Options
from tiny import bench, model_folder

CONFIG = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
SPOKEN = {
    "today": (one_call.varlen_attn, one_call.WORDS),
    "without shared keys": (one_call.varlen_attn, one_call.WORDS - {"enable_gqa"}),
    "2.10": (one_call.of_torch_2_10, frozenset({"is_causal"})),
}


def laid(lengths, filling):
    rows = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    places = torch.cat([torch.arange(length) for length in lengths])
    ends = torch.nn.functional.pad
    return Layout(lengths, ends(rows, (0, filling)), ends(places, (0, filling)))


@pytest.mark.parametrize("spoken", SPOKEN)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("pairs", [4, 2, 1])
@pytest.mark.parametrize(("lengths", "filling"), [([5], 0), ([3, 1, 17, 17], 6), ([40, 2], 1)])
def test_outputs_and_gradients_of_a_call_a_row(spoken, causal, pairs, lengths, filling):
    torch.manual_seed(0)
    layout, tokens = laid(lengths, filling), sum(lengths) + filling
    given = [torch.randn(1, tokens, n, 16).transpose(1, 2) for n in (4, pairs, pairs)]
    weights, found = torch.randn(1, tokens, 4, 16), []
    with one_call.standing_in(*SPOKEN[spoken]) as calls:
        for attend in (varlen.by_row, varlen.at_once):
            inputs = [x.clone().requires_grad_() for x in given]
            out = attend(*inputs, layout, 0.3, causal)
            found.append([out, *torch.autograd.grad(out, inputs, weights)])
    assert calls == [len(lengths)]
    for wanted, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, atol=2e-6, rtol=1e-5)
    assert not found[1][0][:, sum(lengths) :].any()
    assert all(not gradient[:, :, sum(lengths) :].any() for gradient in found[1][1:])


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_a_decoder_has_the_gradients_of_its_padded_rows(kind):
    register_attention()
    model = languages.model(kind, attention=FUSED)
    clock = dropout.install(model, 3)
    dropout.count_calls(model, clock)
    processor, task, rows = languages.tokenizer(), Generate(Options(prompt="a", answer="b")), examples()
    padded = gradients(model, clock, task, processor, [rows])
    take_out = unpadder(model, clock, 320)
    clock.varlen = True
    with one_call.standing_in() as calls:
        close(padded, gradients(model, clock, task, processor, [rows], take_out))
        assert calls == [len(rows)] * 2, "one call a layer"
        close(padded, gradients(model, clock, task, processor, [rows[4:], rows[:4]], take_out))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_classifier_has_the_gradients_of_its_padded_rows(tmp_path, kind):
    b = bench(model_folder(tmp_path / kind, kind, dropout=0.1), count=12, attention=FUSED)
    for module in b.model.modules():
        if hasattr(module, "_septet_site"):
            module.dropout.p = 0.0  # as a model is loaded for fused attention
    assert first_token_only(b.model, b.clock, len(b.processor)) is not None
    take_out = unpadder(b.model, b.clock, len(b.processor))
    padded = gradients(b.model, b.clock, b.task, b.processor, [b.examples])
    b.clock.varlen = True
    with one_call.standing_in() as calls:
        close(padded, gradients(b.model, b.clock, b.task, b.processor, [b.examples], take_out))
    assert calls == [12, 12]


def test_what_it_does_not_take_is_attended_to_row_by_row():
    assert varlen.takes(torch.empty(1, 4, 3, 64, dtype=torch.bfloat16))
    assert varlen.takes(torch.empty(1, 4, 3, 256, dtype=torch.float16))
    assert not varlen.takes(torch.empty(1, 4, 3, 64))
    assert not varlen.takes(torch.empty(1, 4, 3, 20, dtype=torch.bfloat16))
    assert not varlen.takes(torch.empty(1, 4, 3, 264, dtype=torch.bfloat16))


def test_where_it_agrees_nothing_is_lacking():
    with one_call.standing_in() as calls:
        assert varlen._differs.__wrapped__(torch.device("cpu"), torch.bfloat16, 4, 2, 16) == ""
        assert varlen._differs.__wrapped__(torch.device("cpu"), torch.float16, 4, 4, 64) == ""
    assert calls == [len(varlen.LENGTHS)] * 4


@pytest.mark.parametrize("place", ["output", "gradient"])
def test_where_it_computes_something_else_it_is_not_used(place):
    def wrong(query, *args, **options):
        found = one_call.varlen_attn(query, *args, **options)
        return found * 1.1 if place == "output" else found + 0.1 * (query - query.detach())

    with one_call.standing_in(wrong):
        told = varlen._differs.__wrapped__(torch.device("cpu"), torch.bfloat16, 4, 2, 16)
    assert told.startswith("compared here with a call a row, it is ") and told.endswith("% off")


def test_numbers_that_are_none_are_something_else():
    def wrong(query, *args, **options):
        return one_call.varlen_attn(query, *args, **options) * float("nan")

    with one_call.standing_in(wrong):
        assert "nan" in varlen._differs.__wrapped__(torch.device("cpu"), torch.bfloat16, 4, 2, 16)


def test_where_it_fails_the_reason_is_told_and_nothing_breaks():
    # PyTorch's own has no kernel for a CPU
    told = varlen._differs.__wrapped__(torch.device("cpu"), torch.bfloat16, 4, 4, 16)
    assert told.startswith("it fails here (") and "\n" not in told


@pytest.mark.parametrize(
    ("device", "dtype", "config", "says"),
    [
        ("cpu", torch.bfloat16, CONFIG, "NVIDIA"),
        ("cuda", torch.float32, CONFIG, "bf16 and fp16"),
        ("cuda", torch.bfloat16, {"hidden_size": 64}, "does not say"),
        ("cuda", torch.bfloat16, CONFIG | {"head_dim": 20}, "heads of 20 numbers"),
        ("cuda", torch.bfloat16, {"n_embd": 1024, "n_head": 2}, "heads of 512 numbers"),
        ("cuda", torch.bfloat16, CONFIG, "it fails here"),
    ],
)
def test_why_it_is_not_used(device, dtype, config, says):
    if device == "cuda" and says == "it fails here" and torch.cuda.is_available():
        pytest.skip("it may work here")
    assert says in varlen.lacking(torch.device(device), dtype, config)


def test_the_recipe_says_which():
    gpu = torch.device("cuda")
    value, why = _attention_of(gpu, CONFIG, "")["model.attention"]
    assert value == "sdpa" and "one call of varlen_attn" in why
    value, why = _attention_of(gpu, CONFIG, "it is for bf16 and fp16")["model.attention"]
    assert value == "sdpa" and why.endswith("keep their padding, as varlen_attn is not used: it is for bf16 and fp16")
    assert _attention_of(gpu, {"attn_logit_softcapping": 50.0}, "") == {}
    assert _attention_of(torch.device("cpu"), CONFIG, "") == {}
