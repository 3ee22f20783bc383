"""Compiled blocks give the losses and gradients of blocks that are not; where nothing can be compiled, that is said."""

import shutil

import pytest
import torch
import transformers

from septet.engine import compiled


def llama(**changes):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, **changes
    )
    return transformers.LlamaForCausalLM(config)


def gradients(model, width):
    ids = torch.arange(2 * width).reshape(2, width) % 60
    model.zero_grad()
    loss = model(ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_the_same_losses_and_gradients():
    plain, quick = llama(), llama()
    finding = compiled.compile_blocks(quick)
    assert (finding.slug, finding.level) == ("blocks-compiled", "note")
    assert finding.message.startswith("2 layers, 1 blocks and the loss")
    assert list(quick.state_dict()) == list(plain.state_dict())
    for width in (5, 9):
        (expected, theirs), (loss, ours) = gradients(plain, width), gradients(quick, width)
        torch.testing.assert_close(loss, expected)
        for name, grad in theirs.items():
            torch.testing.assert_close(ours[name], grad, rtol=1e-4, atol=1e-6)


def test_a_missing_compiler_is_told(monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("no working C++ compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", broken)
    finding = compiled.compile_blocks(llama())
    assert (finding.slug, finding.level) == ("nothing-compiled", "warning")
    assert "no working C++ compiler" in finding.message and "more of it" not in finding.message


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_blocks_with_dropout_stay_as_they_are():
    config = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    finding = compiled.compile_blocks(transformers.GPT2LMHeadModel(config))
    assert finding.slug == "nothing-compiled" and "dropout" in finding.message


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_counted_dropout_is_dropout_too():
    from septet.engine import dropout

    config = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    model = transformers.GPT2LMHeadModel(config)
    dropout.install(model, 42)
    assert compiled.compile_blocks(model).slug == "nothing-compiled"
