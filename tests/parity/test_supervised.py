"""Logits at the learned places only are those of the whole projection, and so are their gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import languages
from septet.model.supervised import logits_at


def asked(kind):
    ids_BT = torch.arange(3 * 11).view(3, 11) * 7 % 300 + 3
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 6:] = 0
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    if kind in languages.SIDES:
        inputs["decoder_input_ids"] = ids_BT[:, :8] % 5 + 3
    return inputs


@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
@pytest.mark.parametrize("lora", [False, True])
def test_the_same_as_the_whole(kind, lora):
    model = languages.model(kind)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    inputs = asked(kind)
    width = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
    places_N = torch.tensor([2, 3, 5, width + 1, 2 * width, 2 * width + 4])
    goals_N = torch.tensor([5, 6, 7, 8, 9, 10])
    found = []
    for cut in (False, True):
        model.zero_grad()
        logits_NV = logits_at(model, inputs, places_N) if cut else model(**inputs).logits.flatten(0, 1)[places_N]
        cross_entropy(logits_NV, goals_N).backward()
        found.append((logits_NV.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (whole, wanted), (part, gradients) = found
    torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)
    assert len(wanted) == len(gradients) > 5
    for one, other in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)


def test_the_projection_sees_the_learned_places_only():
    model = languages.model("llama")
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _module, args, _output: seen.append(args[0].shape))
    logits_at(model, asked("llama"), torch.tensor([4, 5]))
    assert seen == [(1, 2, 32)]
    assert model(**asked("llama")).logits.shape == (3, 11, 320)


def test_a_model_without_an_output_embedding_of_its_own():
    model = languages.model("llama")
    expected = model(**asked("llama")).logits.flatten(0, 1)[[4, 20]]
    model.get_output_embeddings = lambda: None
    torch.testing.assert_close(logits_at(model, asked("llama"), torch.tensor([4, 20])), expected)
