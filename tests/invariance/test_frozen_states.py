"""Frozen parts computed once: the losses and gradients of the whole pass, whatever the model, the batch, the dropout above."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_architectures import TASK, VOCABULARY, distance, folder, loaded

import languages
from septet.engine import dropout, frozen
from septet.engine.attention import ATTENTION, register_attention
from septet.engine.loop import Examples, learn_modes
from septet.engine.plan import Planner
from septet.engine.shortcut import first_token_only
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.methods.full import Full
from septet.methods.head import Head
from septet.methods.layers import Layers
from septet.methods.layers import Options as LayerOptions
from septet.methods.lora import Lora
from septet.methods.lora import Options as LoraOptions
from septet.tasks import Example
from septet.tasks.generate import Generate, Options

LENGTHS = [1, 2, 9, 9, 17, 30, 41, 3, 5, 6, 22, 8]
UPPER = Layers(LayerOptions(count=1, names=None))
TOKENIZER = SimpleNamespace(pad_token_id=0, padding_side="right")


def labelled():
    draw = np.random.default_rng(0)
    ids = [draw.integers(5, VOCABULARY, n).tolist() for n in LENGTHS]
    return [Example(1000 + 7 * i, {"input_ids": row}, i % 3, len(row), {}) for i, row in enumerate(ids)]


def chosen(model, task, clock, examples, processor=TOKENIZER, *, take_out=None, wanted=None, epochs=3.0):
    """Return the source of whole examples, and what is chosen for a run on it."""
    planner = Planner([e.size for e in examples], 6, 1, 64, unpadded=take_out is not None)
    whole = Examples(examples, planner, task, processor, torch.device("cpu"), take_out)
    facts = {"model": model, "task": task, "clock": clock, "train": whole, "validation": examples[:3]}
    return whole, frozen.choose(wanted, **facts, epochs=epochs, dtype=torch.float32)


def classifier(path, kind, method, **given):
    model, clock = loaded(folder(path, kind))
    model = method.attach(model)
    dropout.count_calls(model, clock)
    short = first_token_only(model, clock, VOCABULARY)
    take_out = None if short is None else unpadder(model, clock, VOCABULARY)
    return model, clock, *chosen(model, TASK, clock, labelled(), take_out=take_out, **given)


def gradients(model, task, clock, source, step):
    model.zero_grad()
    for module, learns in learn_modes(model):
        module.training = learns
    epoch, batches = source.group(step)
    totals = group_weights(task, batches)
    loss = 0.0
    for batch in batches:
        clock.set(batch.rows, epoch, step=step)
        with clock.layout(batch.layout):
            loss += float(backward(model, task, batch, totals))
    return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None]), loss


def same(model, task, clock, whole, found):
    states = found.frozen.kept()
    source = states.source()
    for step in (0, 3):
        expected, loss = gradients(model, task, clock, whole, step)
        again, other = gradients(model, task, clock, source, step)
        assert float(expected.norm()) > 0
        assert distance(again, expected) <= 1e-6
        assert other == pytest.approx(loss, rel=1e-6)
    return states


@pytest.mark.parametrize("method", [Head(), UPPER], ids=["head", "layers"])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "deberta-v2", "llama", "opt"])
def test_a_classifier(tmp_path, kind, method):
    model, clock, whole, found = classifier(tmp_path, kind, method)
    assert found.frozen is not None, found.why
    head = isinstance(method, Head)
    assert found.frozen.shape == (15 if head else sum(LENGTHS) + sum(LENGTHS[:3]), 32)
    same(model, TASK, clock, whole, found)


def test_adapters_on_the_upper_layer_alone(tmp_path):
    method = Lora(LoraOptions(rank=4, alpha=8, dropout=0.1, targets=["layer.1.attention.self.query"]))
    model, clock, whole, found = classifier(tmp_path, "bert", method)
    assert found.frozen.cut.name == "bert.encoder.layer.0"
    same(model, TASK, clock, whole, found)


def test_the_states_are_read_and_nothing_below_is_run(tmp_path):
    """Other states give another loss, and the lower block is not called."""
    model, clock, _whole, found = classifier(tmp_path, "bert", UPPER)
    states = found.frozen.kept()
    _, loss = gradients(model, TASK, clock, states.source(), 0)
    called = []
    model.bert.encoder.layer[0].attention.register_forward_hook(lambda *_: called.append(1))
    states.table.mul_(1.5)
    _, other = gradients(model, TASK, clock, states.source(), 0)
    assert not called and other != pytest.approx(loss, rel=1e-3)


def test_a_part_that_drops_is_not_kept(tmp_path):
    """GPT-2 drops embeddings outside every frozen module."""
    model, clock, whole, found = classifier(tmp_path, "gpt2", UPPER)
    assert found.frozen is None and "drops something" in found.why and found.finding.level == "note"
    assert not any("forward" in vars(m) for m in model.modules()), "the model was left changed"
    gradients(model, TASK, clock, whole, 0)


@pytest.mark.parametrize(
    ("method", "given", "why", "told"),
    [
        (Full(), {"wanted": True}, "nothing is frozen", "warning"),
        (Full(), {}, "nothing is frozen", None),
        (UPPER, {"epochs": 1.0}, "one epoch", None),
        (UPPER, {"wanted": False}, "as the recipe says", None),
        (Lora(), {}, "lowest block learns", None),
        (Layers(LayerOptions(count=None, names=["*.layer.1.*", "*word_embeddings*"])), {}, "below its blocks", "note"),
    ],
)
def test_where_it_is_not_kept(tmp_path, method, given, why, told):
    *_, found = classifier(tmp_path, "bert", method, **given)
    assert found.frozen is None and why in found.why
    assert (found.finding.level if found.finding else None) == told


@pytest.mark.parametrize("kind", ["llama", *languages.SIDES])
def test_a_model_that_writes(kind):
    """A decoder's lower half; of a pair of sides the encoder, whole."""
    register_attention()
    model = languages.model(kind, dropout=0.0 if kind == "llama" else 0.2, attention=ATTENTION)
    clock = dropout.install(model, 3)
    Layers(LayerOptions(count=1 if kind == "llama" else None, names=None)).attach(model)
    dropout.count_calls(model, clock)
    encoder = kind in languages.SIDES
    task, processor = Generate(Options(prompt="a", answer="b"), encoder=encoder), languages.tokenizer()
    rows = []
    for i, length in enumerate(LENGTHS[1:]):
        ids = [(7 * i + 11 * j) % 300 + 3 for j in range(length)]
        supervised = [0] * (length // 2) + [1] * (length - length // 2)
        inputs = {"input_ids": ids, "labels": ids[:4]} if encoder else {"input_ids": ids, "supervised": supervised}
        rows.append(Example(i + 1, inputs, None, length, {}))
    whole, found = chosen(model, task, clock, rows, processor)
    if found.frozen is None:
        pytest.fail(found.why)
    same(model, task, clock, whole, found)
