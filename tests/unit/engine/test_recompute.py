"""Layers that are computed again in the backward pass: the same gradient to the last bit, from less that is kept."""

import pytest
import torch

import kinds
import languages
import small
from septet.engine import dropout
from septet.engine.attention import ATTENTION, register_attention
from septet.engine.compiled import no_compiler
from septet.engine.loop import learn_modes
from septet.engine.recompute import recompute_layers
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.run import Run
from septet.tasks import Example
from septet.tasks.generate import Generate, Options
from septet.train import train
from tiny import bench, model_folder

LENGTHS = [2, 9, 9, 30, 41]


def examples(encoder):
    found = []
    for i, length in enumerate(LENGTHS):
        ids = [(7 * i + 11 * j) % 300 + 3 for j in range(length)]
        inputs = {"input_ids": ids, "labels": ids[:3]} if encoder else {"input_ids": ids, "supervised": [1] * length}
        found.append(Example(i + 1, inputs, None, length, {"truncated": 0}))
    return found


def passes(model, clock, task, batch):
    """Return the gradients of a batch, and the bytes of activations kept for them."""
    kept = {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    for module, learns in learn_modes(model):
        module.training = learns
    clock.set(batch.rows, 0)
    with clock.layout(batch.layout), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backward(model, task, batch, group_weights(task, [batch]))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, sum(kept.values())


def the_same(before, after):
    (expected, whole), (found, less) = before, after
    assert expected.keys() == found.keys() and len(expected) > 5
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert less < 0.6 * whole


@pytest.mark.parametrize("kind", [*languages.CAUSAL, *languages.SIDES])
def test_models_that_write(kind):
    register_attention()
    model = languages.model(kind, dropout=0.2, attention=ATTENTION)
    clock = dropout.install(model, 3)
    dropout.count_calls(model, clock)
    task = Generate(Options(prompt="a", answer="b"), encoder=kind in languages.SIDES)
    batch = task.collate(examples(task.encoder), languages.tokenizer())
    take_out = None if task.encoder else unpadder(model, clock, 320)
    batch = batch if take_out is None else take_out(batch)
    before = passes(model, clock, task, batch)
    assert "layers" in recompute_layers(model, clock).message
    the_same(before, passes(model, clock, task, batch))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_classifiers(tmp_path, kind):
    """Decoders among them keep a cache of keys by default, which would be filled twice."""
    b = bench(model_folder(tmp_path, kind, dropout=0.1), count=8)
    before = passes(b.model, b.clock, b.task, b.batch())
    recompute_layers(b.model, b.clock)
    the_same(before, passes(b.model, b.clock, b.task, b.batch()))


def test_a_model_without_such_layers_is_told():
    finding = recompute_layers(torch.nn.Sequential(torch.nn.Linear(2, 2)), dropout.DropoutClock(0))
    assert (finding.slug, finding.level) == ("nothing-recomputed", "warning")


RUNS = {
    "classify, full": kinds.augmented,
    "classify, layers": lambda folder: small.recipe(folder, method={"name": "layers", "count": 1}),
    **kinds.TEXTS,
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_ends_in_the_same_bytes(tmp_path, kind):
    source = RUNS[kind](tmp_path)
    for again in (False, True):
        source["train"] |= {"epochs": 1, "activation_checkpointing": again}
        train(*small.begin(source, tmp_path / str(again)))
    plain, other = Run(tmp_path / "False"), Run(tmp_path / "True")
    assert small.steps(plain.path) == small.steps(other.path)
    weights = [run.model.joinpath("model.safetensors").read_bytes() for run in (plain, other)]
    assert weights[0] == weights[1]
    assert ["layers-recomputed" in (run.path / "setup.json").read_text() for run in (plain, other)] == [False, True]


@pytest.mark.slow
@pytest.mark.skipif(bool(no_compiler()), reason="no compiler works here")
def test_compiled_layers_are_computed_again_too(tmp_path):
    source = kinds.TEXTS["causal, lora"](tmp_path)
    source["model"]["dropout"] = 0.0
    for again in (False, True):
        source["train"] |= {"epochs": 1, "compile": True, "activation_checkpointing": again}
        train(*small.begin(source, tmp_path / str(again)))
    one, other = (small.steps(tmp_path / str(again)) for again in (False, True))
    assert [step["loss"] for step in one] == pytest.approx([step["loss"] for step in other], abs=1e-5)
