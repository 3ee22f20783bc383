"""Compiled blocks give the losses and gradients of blocks that are not; where nothing can be compiled, that is said."""

import os
import shutil

import pytest
import torch
import transformers
from torch._dynamo.exc import BackendCompilerFailed

import languages
from septet.engine import compiled
from septet.engine.attention import register_attention
from septet.engine.device import Ceiling
from septet.engine.dropout import install
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.tasks import Batch


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
    assert "decoder layers 2, blocks 1," in finding.message
    assert list(quick.state_dict()) == list(plain.state_dict())
    for width in (5, 9):
        (expected, theirs), (loss, ours) = gradients(plain, width), gradients(quick, width)
        torch.testing.assert_close(loss, expected)
        for name, grad in theirs.items():
            torch.testing.assert_close(ours[name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_a_classifier_has_no_loss_over_a_vocabulary():
    config = llama().config
    finding = compiled.compile_blocks(transformers.LlamaForSequenceClassification(config))
    assert finding.message == "Compiled at their first call: decoder layers 2, blocks 1."


@pytest.mark.parametrize("given", [None, "/theirs"])
def test_compiled_code_is_kept_for_the_user(monkeypatch, tmp_path, given):
    """Set before the compiler is first used, and only where the user has not said otherwise."""
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    monkeypatch.setenv(compiled.KEEPS, given or "")
    if given is None:
        monkeypatch.delenv(compiled.KEEPS)
    seen = []
    monkeypatch.setattr(torch, "compile", lambda probe: seen.append(os.environ[compiled.KEEPS]) or probe)
    assert compiled.no_compiler() == ""
    assert seen == [given or str(tmp_path / "compiled")]
    monkeypatch.delenv(compiled.KEEPS)


def test_a_home_that_cannot_be_written_compiles_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv(compiled.KEEPS, raising=False)
    monkeypatch.setattr(torch, "compile", lambda probe: probe)
    assert compiled.no_compiler() == ""
    assert compiled.KEEPS not in os.environ


def test_a_missing_compiler_is_told(monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("no working C++ compiler\nmore of it")

    monkeypatch.setattr(torch, "compile", broken)
    finding = compiled.unused(compiled.no_compiler())
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


QUICK = Ceiling("cpu", 2, 1024, 16, 24, fp32=100.0, bf16=1000.0)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_compiled_where_the_run_repays_it():
    model = llama()
    numbers = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    minute = 60 * compiled.EAGER_SHARE * 1e12 / (6 * numbers)  # tokens that bf16 takes a minute for
    assert compiled.worth(model, 3 * minute, QUICK, "bf16") == (
        False,
        "about 180 s of training; compiling takes half a minute",
    )
    yes, why = compiled.worth(model, 10 * minute, QUICK, "bf16")
    assert yes and why.startswith("about 10 min of training")
    assert compiled.worth(model, 3 * minute, QUICK, "fp32")[0], "ten times slower"


def test_not_compiled_where_it_gains_nothing_or_cannot_be(monkeypatch):
    config = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    yes, why = compiled.worth(transformers.GPT2LMHeadModel(config), 1e15, QUICK, "bf16")
    assert not yes and "no decoder layer without dropout" in why

    def broken(*_args, **_options):
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr(torch, "compile", broken)
    assert compiled.worth(llama(), 1e15, QUICK, "bf16") == (
        False,
        "no compiler works here: no working C++ compiler",
    )


def test_a_layer_the_compiler_cannot_do_computes_as_it_is(monkeypatch):
    def breaks_later(function, **_options):
        def compiled_function(*_args, **_more):
            raise BackendCompilerFailed("inductor", RuntimeError("out of registers"), None)

        return compiled_function if getattr(function, "__self__", None) is not None else function

    plain, model = llama(), llama()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "compile", breaks_later)
        patched.setattr(torch.nn.Module, "compile", lambda *_args, **_options: None)
        assert compiled.compile_blocks(model).slug == "blocks-compiled"
    expected, theirs = gradients(plain, 5)
    with pytest.warns(UserWarning, match="cannot be compiled and computes as it is") as told:
        loss, ours = gradients(model, 5)
        gradients(model, 7)
    assert len(told) == 2, "once a layer"
    torch.testing.assert_close(loss, expected)
    for name, grad in theirs.items():
        torch.testing.assert_close(ours[name], grad)


class Words:
    """A task of next tokens, as `generate` learns them."""

    coefficients = {"token": 1.0}

    def weights(self, batch):
        return {"token": (batch.targets != -100).sum(1)}

    def loss(self, model, batch):
        from septet.model.supervised import decoder_reads, token_losses

        inputs, goals = batch.inputs, batch.targets
        if model.config.is_encoder_decoder:
            inputs = {**inputs, "decoder_input_ids": decoder_reads(model, goals)}
            return {"token": token_losses(model, batch, inputs, goals, goals.shape[1])}
        return {"token": token_losses(model, batch, inputs, goals[:, 1:], goals.shape[1])}


def rows(width):
    ids_BT = torch.arange(3 * width).view(3, width) * 7 % 300 + 3
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, width // 2 :] = 0
    goals_BT = ids_BT.masked_fill(mask_BT == 0, -100)
    return Batch({"input_ids": ids_BT, "attention_mask": mask_BT}, goals_BT, [1, 2, 3], [{}] * 3)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
def test_every_architecture_learns_the_same_compiled(kind):
    """With our attention, padded or laid end to end as the model allows, for sizes seen before and not; answers are written as before."""
    register_attention()
    found = []
    for compile_it in (False, True):
        torch._dynamo.reset()
        model = languages.model(kind, attention="septet")
        clock = install(model, 7)
        lay = unpadder(model, clock, 320)
        if compile_it:
            compiled.compile_blocks(model)
        task, seen = Words(), []
        for width in (9, 12, 17, 30):
            batch = rows(width) if lay is None else lay(rows(width))
            model.train()
            model.zero_grad()
            clock.set(batch.rows, 0, torch.device("cpu"), step=0)
            with clock.layout(batch.layout):
                loss = backward(model, task, batch, group_weights(task, [batch]))
            seen.append((loss, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
        model.eval()
        written = model.generate(input_ids=rows(9).inputs["input_ids"], max_new_tokens=6, do_sample=False)
        found.append((lay is None, seen, written))
    (padded, plain, answers), (still, quick, others) = found
    assert padded == still
    torch.testing.assert_close(others, answers)
    for (expected, wanted), (loss, gradients) in zip(plain, quick, strict=True):
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
        assert wanted.keys() == gradients.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
