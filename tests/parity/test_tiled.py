"""Losses over a vocabulary in tiles are those of the whole logits, and so are their gradients; what a probe does not understand stays whole."""

import json

import pytest
import torch

import languages
from septet.journey import train
from septet.model import tiled
from septet.model.supervised import COMPILED, cross_entropies, token_losses
from septet.tasks import Batch
from small import quiet_recipe


def batch(kind):
    ids_BT = torch.arange(3 * 11).view(3, 11) * 7 % 300 + 3
    inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    goals_BT = torch.full((3, 10), -100)
    # words of both tiles; the last row has nothing to learn
    goals_BT[0, 4:], goals_BT[1, 2:9] = torch.arange(6) * 60 + 5, torch.arange(7) * 45 + 10
    if kind in languages.SIDES:
        inputs["decoder_input_ids"] = ids_BT[:, :10] % 5 + 3
    width = 10 if kind in languages.SIDES else 11
    return Batch(inputs, goals_BT, [0, 1, 2], [{}] * 3), width


def found(model, kind):
    """Return the losses of the rows, and gradients where each place weighs otherwise."""
    model.zero_grad()
    made, width = batch(kind)
    losses_B = token_losses(model, made, made.inputs, made.targets, width)
    (losses_B * torch.tensor([0.3, 1.7, 1.0])).sum().backward()
    return losses_B.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def made(kind, method="full", dtype=torch.float32):
    model = languages.model(kind)
    if method == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    if method == "head":
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        model.get_output_embeddings().weight.requires_grad_(True)
    tiled.settle(model)
    return model.to(dtype)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("method", ["full", "lora", "head"])
@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
def test_the_same_as_the_whole(monkeypatch, kind, method, dtype, bound):
    model = made(kind, method, dtype)
    whole, wanted = found(model, kind)
    monkeypatch.setattr(tiled, "WHOLE", 0)
    asked = []
    model.get_output_embeddings().register_forward_hook(lambda _module, args, _output: asked.append(args[0].shape))
    losses, gradients = found(model, kind)
    assert asked == [(1, 1, 32)]
    torch.testing.assert_close(losses, whole, rtol=bound, atol=bound)
    assert wanted.keys() == gradients.keys() and wanted
    # the gradient of a key's bias is 0 but for rounding: it adds the same to all scores of a token
    names = [name for name in wanted if not name.endswith("k_proj.bias")]
    whole, parts = ([of[name].float().flatten() for name in names] for of in (wanted, gradients))
    assert (torch.cat(parts) - torch.cat(whole)).norm() <= bound * torch.cat(whole).norm()
    for name, one, other in zip(names, whole, parts, strict=True):
        assert (other - one).norm() <= 5 * bound * one.norm() + 1e-9, (
            name
        )  # of a few numbers, rounding is a larger share


def test_a_bias_of_the_words(monkeypatch):
    model = languages.model("llama")
    head = torch.nn.Linear(32, 320)
    model.set_output_embeddings(head)
    tiled.settle(model)
    whole, wanted = found(model, "llama")
    monkeypatch.setattr(tiled, "WHOLE", 0)
    losses, gradients = found(model, "llama")
    torch.testing.assert_close(losses, whole, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradients["lm_head.bias"], wanted["lm_head.bias"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changed", ["scaled", "another head", "zeros"])
def test_what_the_probe_does_not_understand_stays_whole(monkeypatch, changed):
    model = languages.model("llama")
    monkeypatch.setattr(tiled, "WHOLE", 0)
    head = model.get_output_embeddings()
    if changed == "scaled":
        head.register_forward_hook(lambda _module, _args, output: output * 0.5)
    if changed == "another head":
        model.set_output_embeddings(torch.nn.Sequential(head))
    if changed == "zeros":
        torch.nn.init.zeros_(head.weight)
    tiled.settle(model)
    assert not tiled.large(model, 1000, False)


def test_the_bounds(monkeypatch):
    model = made("llama")
    assert [tiled.large(model, places, False) for places in (104_857, 104_858)] == [False, True]
    assert [tiled.large(model, places, True) for places in (419_430, 419_431)] == [False, True]
    monkeypatch.setattr(tiled, "WHOLE", 0)
    # a compiled loss is for the whole
    setattr(model, COMPILED, lambda *given: cross_entropies(*given))
    asked = []
    model.get_output_embeddings().register_forward_hook(lambda _module, args, _output: asked.append(args[0].shape[1]))
    found(model.train(), "llama")
    found(model.eval(), "llama")
    assert asked == [16, 1]


def test_a_model_that_only_answers_is_probed_when_it_is_asked(monkeypatch):
    model = languages.model("gemma2")
    monkeypatch.setattr(tiled, "WHOLE", 0)
    assert not tiled.large(model.train(), 10, False)
    assert tiled.large(model.eval(), 10, False)
    assert getattr(model.get_output_embeddings(), tiled.CAP) == 3.0


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run(tmp_path, monkeypatch, method):
    rows = [
        {"question": f"Where is parcel {i}?", "reply": f"Parcel {i} is {'late' if i % 3 else 'here'}."}
        for i in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "data": {"train": str(tmp_path / "rows.jsonl")},
        "task": {"name": "generate", "prompt": "question", "answer": "reply"},
        "model": {"name": str(languages.folder(tmp_path / "base", "gemma2"))},
        "method": method,
        "train": {**quiet_recipe(), "epochs": 3, "batch": 8, "lr": 3e-3},
    }
    curves = []
    for name, bound in (("whole", tiled.WHOLE), ("tiled", 0)):
        monkeypatch.setattr(tiled, "WHOLE", bound)
        run = train(source, run=tmp_path / name).run
        curves.append([r["loss"] for file in ("steps.jsonl", "evaluations.jsonl") for r in run.records(file)])
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[1] != curves[0]
