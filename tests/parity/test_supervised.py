"""Logits at the learned places only are those of the whole projection, and so are their gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

import languages
from septet.model.supervised import logits_at, token_losses
from septet.tasks import Batch


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


@pytest.mark.parametrize("learned", [0, 1, 8, 9, 27])
def test_places_that_fill_up_to_a_known_size_change_nothing(learned):
    """The loss of each row and the gradients are those of the learned places alone."""
    model = languages.model("llama")
    inputs = asked("llama")
    goals_BT = torch.full((3, 11), -100)
    goals_BT.view(-1)[:learned] = torch.arange(learned) + 5
    model.train()
    logits_BTV = model(**inputs).logits
    losses = cross_entropy(logits_BTV.flatten(0, 1), goals_BT.flatten(), reduction="none").view(3, 11).sum(1)
    losses.sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    found = token_losses(model, Batch(inputs, goals_BT, [0, 1, 2], [{}] * 3), inputs, goals_BT, 11)
    torch.testing.assert_close(found, losses)
    found.sum().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], rtol=1e-5, atol=1e-6)
