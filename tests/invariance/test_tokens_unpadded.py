"""Rows of tokens laid end to end: a decoder's loss and gradients are those of the padded rows, and of each row alone."""

import pytest
import torch

import languages
from septet.engine import dropout
from septet.engine.attention import ATTENTION, FUSED, register_attention, sees_whole
from septet.engine.loop import learn_modes
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.tasks import Example
from septet.tasks.generate import Generate, Options

LENGTHS = [2, 5, 9, 9, 17, 30, 41]
UNPADDED = ["gpt2", "llama", "qwen3", "gemma"]


def made(kind, rate=0.0):
    register_attention()
    model = languages.model(kind, dropout=rate, attention=ATTENTION)
    clock = dropout.install(model, 3)
    dropout.count_calls(model, clock)
    return model, clock


def examples():
    found = []
    for i, length in enumerate(LENGTHS):
        ids = [(7 * i + 11 * j) % 300 + 3 for j in range(length)]
        learned = [0] * (length // 2) + [1] * (length - length // 2)
        found.append(Example(i + 1, {"input_ids": ids, "supervised": learned}, None, length, {"truncated": 0}))
    return found


def gradients(model, clock, task, processor, groups, take_out=None):
    model.zero_grad()
    for module, learns in learn_modes(model):
        module.training = learns
    batches = [task.collate(group, processor) for group in groups]
    batches = batches if take_out is None else [take_out(batch) for batch in batches]
    totals = group_weights(task, batches)
    loss = 0.0
    for batch in batches:
        clock.set(batch.rows, 0)
        with clock.layout(batch.layout):
            loss += float(backward(model, task, batch, totals))
    return loss, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(one, other, bound=2e-5):
    (loss, wanted), (again, found) = one, other
    assert again == pytest.approx(loss, rel=1e-5)
    assert wanted.keys() == found.keys() and len(wanted) > 5
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).norm()) <= bound * float(gradient.norm()) + 1e-7, name


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("kind", UNPADDED)
def test_the_gradients_of_the_padded_rows(kind, rate):
    model, clock = made(kind, rate)
    processor, task = languages.tokenizer(), Generate(Options(prompt="a", answer="b"))
    take_out = unpadder(model, clock, 320)
    assert take_out is not None
    rows = examples()
    padded = gradients(model, clock, task, processor, [rows])
    close(padded, gradients(model, clock, task, processor, [rows], take_out))
    close(padded, gradients(model, clock, task, processor, [[row] for row in rows], take_out))
    close(padded, gradients(model, clock, task, processor, [rows[4:], rows[:4]], take_out))


@pytest.mark.parametrize("kind", UNPADDED)
def test_fused_attention_has_the_same_gradients(kind):
    model, clock = made(kind)
    processor, task, rows = languages.tokenizer(), Generate(Options(prompt="a", answer="b")), examples()
    eager = gradients(model, clock, task, processor, [rows])
    model.set_attn_implementation(FUSED)
    take_out = unpadder(model, clock, 320)
    assert take_out is not None
    close(eager, gradients(model, clock, task, processor, [rows]))
    close(eager, gradients(model, clock, task, processor, [rows], take_out))
    close(eager, gradients(model, clock, task, processor, [rows[4:], rows[:4]], take_out))


@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
def test_micro_batches_do_not_matter(kind):
    model, clock = made(kind, 0.2)
    processor = languages.tokenizer()
    task = Generate(Options(prompt="a", answer="b"), encoder=kind in languages.SIDES)
    rows = examples()
    if task.encoder:
        for row in rows:
            ids = row.inputs["input_ids"]
            row.inputs = {"input_ids": ids, "labels": ids[: len(ids) // 2 + 1]}
    whole = gradients(model, clock, task, processor, [rows])
    close(whole, gradients(model, clock, task, processor, [[row] for row in rows]))
    close(whole, gradients(model, clock, task, processor, [rows[3:], rows[:3]]))


def test_a_row_does_not_see_its_neighbours():
    model, clock = made("llama")
    take_out = unpadder(model, clock, 320)
    processor, task = languages.tokenizer(), Generate(Options(prompt="a", answer="b"))
    rows = examples()[4:6]
    with torch.no_grad():
        losses = []
        for last in (5, 300):
            rows[0].inputs["input_ids"][-1] = last
            batch = take_out(task.collate(rows, processor))
            clock.set(batch.rows, 0)
            with clock.layout(batch.layout):
                losses.append(task.loss(model.eval(), batch)["token"])
    assert losses[0][0] != losses[1][0]
    assert losses[0][1] == losses[1][1]


def test_a_model_with_a_window_keeps_its_padding():
    model = languages.model("gemma2")
    window = model.config.sliding_window
    assert sees_whole(model, window) and not sees_whole(model, window + 1)
    assert not sees_whole(languages.model("bart"), 10)
