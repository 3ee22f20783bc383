"""Batch norms: frozen, they make no row depend on another; recalibrated, they are a function of the rows alone; both are stored."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from album import COLOURS, album, model_folder
from septet.engine import dropout, statistics
from septet.engine.device import DTYPES
from septet.engine.loop import learn_modes
from septet.engine.masters import Masters
from septet.engine.step import backward, group_weights
from septet.model.load import load_model
from septet.model.predictor import Predictor
from septet.tasks.classify import Classify, Options

KINDS = ["resnet", "mobilenet"]
SPLITS = {
    "12 of 1": [[i] for i in range(12)],
    "5 and 7, shuffled": [[11, 0, 3, 8, 5], [1, 2, 4, 6, 7, 9, 10]],
    "backwards in fours": [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1, 0]],
}


class Bench:
    def __init__(self, kind, tmp_path, precision="fp32"):
        folder = album(tmp_path / "pictures", 4)
        rows = [
            {"_row": 100 + i, "image": str(path), "label": path.parent.name}
            for i, path in enumerate(sorted(folder.rglob("*.png")))
        ]
        self.rows = rows
        self.task = Classify(Options(image="image", label="label")).learn(rows)
        self.processor = self.task.input.processor(str(model_folder(tmp_path / kind, kind)))
        self.model = load_model(tmp_path / kind, self.task.heads()["label"], seed=1, dropout=0.0).model
        if kind == "mobilenet":  # fifty norms over random weights: fp32 would show rounding, not dependence
            self.model.double()
        self.examples = [each for (each,) in self.task.encode(rows, self.processor)]
        self.clock = dropout.install(self.model, 1)
        self.masters = Masters(self.model, None, None if kind == "mobilenet" else DTYPES[precision])

    def batch(self, places):
        return self.task.collate([self.examples[i] for i in places], self.processor)

    def gradients(self, split, *, live=False):
        batches = [self.batch(places) for places in split]
        totals = group_weights(self.task, batches)
        for module, learns in learn_modes(self.model):
            module.training = learns or (live and isinstance(module, torch.nn.BatchNorm2d))
        for batch in batches:
            self.clock.set(batch.rows, 0, torch.device("cpu"))
            backward(self.model, self.task, batch, totals)
        found = {name: t.grad.double().clone() for name, t in self.masters.tensors.items()}
        self.masters.drop_gradients()
        return found


def distance(a, b):
    a, b = (torch.cat([t.flatten() for t in each.values()]) for each in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", SPLITS)
def test_micro_batches_change_no_gradient(tmp_path, kind, split):
    bench = Bench(kind, tmp_path)
    whole = bench.gradients([list(range(12))])
    assert distance(bench.gradients(SPLITS[split]), whole) < 1e-6
    # what would be without freezing: this test can fail
    if min(map(len, SPLITS[split])) > 1:
        assert distance(bench.gradients(SPLITS[split], live=True), whole) > 1e-2


def test_in_bf16_the_statistics_and_their_scales_stay_exact(tmp_path):
    bench, exact = Bench("resnet", tmp_path, "bf16"), Bench("resnet", tmp_path)
    kinds = {name: p.dtype for name, p in bench.model.named_parameters()}
    assert {kinds[name] for name in statistics.parameters(bench.model)} == {torch.float32}
    assert kinds["classifier.1.weight"] == torch.bfloat16
    assert all(b.dtype != torch.bfloat16 for b in bench.model.buffers())
    whole = [list(range(12))]
    assert distance(bench.gradients(whole), exact.gradients(whole)) < 5e-2


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_no_statistics_and_an_answer_is_its_own(tmp_path, kind):
    bench = Bench(kind, tmp_path)
    before = {name: b.clone() for name, b in statistics.buffers(bench.model).items()}
    bench.gradients([[0, 1, 2, 3, 4, 5]])
    assert all(torch.equal(before[name], b) for name, b in statistics.buffers(bench.model).items()) and before
    predictor = Predictor(bench.model, bench.task, bench.processor)
    together = predictor.predict(bench.rows)
    for row, prediction in zip(bench.rows, together, strict=True):
        (alone,) = predictor.predict([row])
        for label in COLOURS:
            assert alone.scores[label] == pytest.approx(prediction.scores[label], abs=1e-6)


def test_recalibrating_is_the_mean_over_batches_and_changes_nothing_else(tmp_path):
    bench = Bench("resnet", tmp_path)
    plain = copy.deepcopy(bench.model)
    batches = [bench.batch(range(6)).inputs, bench.batch(range(6, 12)).inputs]
    statistics.recalibrate(bench.model, batches)
    first = bench.model.resnet.embedder.embedder
    with torch.no_grad():
        maps = [first.convolution(b["pixel_values"]) for b in batches]
    mean = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variance = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    assert torch.allclose(first.normalization.running_mean, mean, atol=1e-5)
    assert torch.allclose(first.normalization.running_var, variance, atol=1e-4)
    assert first.normalization.momentum == 0.1 and not first.normalization.training
    for (name, ours), theirs in zip(bench.model.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    again = copy.deepcopy(plain)
    statistics.recalibrate(again, batches)
    for name, value in statistics.buffers(again).items():
        assert torch.equal(value, statistics.buffers(bench.model)[name]), name


def test_masters_keep_the_statistics(tmp_path):
    bench = Bench("resnet", tmp_path)
    statistics.recalibrate(bench.model, [bench.batch(range(12)).inputs])
    kept = {name: t.clone() for name, t in bench.masters.snapshot({}).items()}
    names = set(statistics.buffers(bench.model))
    assert names and names <= set(kept) and names <= set(bench.masters.state())
    wanted = {name: b.clone() for name, b in statistics.buffers(bench.model).items()}
    for module in statistics.live(bench.model).values():
        module.reset_running_stats()
    bench.masters.load_state(kept)
    assert all(torch.equal(b, wanted[name]) for name, b in statistics.buffers(bench.model).items())


def test_rows_of_statistics_are_spread_and_never_alone():
    assert statistics.parts(1) == []
    for rows in (2, 64, 65, 129, 1024, 5000):
        parts = statistics.parts(rows)
        places = [place for part in parts for place in part]
        assert min(map(len, parts)) > 1 and len(places) == len(set(places)) == min(rows, statistics.ROWS)
        assert max(np.diff(places)) <= -(-rows // statistics.ROWS) + 1 and places[-1] < rows


def test_norms_without_statistics_are_refused_and_groups_are_none():
    bare = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, track_running_stats=False))
    assert statistics.refusal(bare).slug == "statistics-live"
    group = torch.nn.Sequential(torch.nn.GroupNorm(2, 4), torch.nn.InstanceNorm2d(4), torch.nn.LayerNorm(4))
    assert not statistics.live(group) and statistics.refusal(group) is None


def test_stochastic_depth_is_drawn_by_row(tmp_path):
    """Swin drops whole paths: the draw of a row is its own, whatever is beside it."""
    folder = model_folder(tmp_path / "swin", "swin")
    task = Classify(Options(image="image", label="label"), ["a", "b"], [1.0, 1.0])
    model = load_model(folder, task.heads()["label"], seed=1).model
    clock = dropout.install(model, 3)
    paths = [m for m in model.modules() if isinstance(m, dropout.RowPath)]
    assert max(m.p for m in paths) > 0
    for path in paths:
        path.p = 0.5
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def logits(rows):
        clock.set([10 + i for i in rows], 0, torch.device("cpu"))
        model.train()
        with torch.no_grad():
            return model(pixel_values=pixels[rows]).logits

    whole = logits(list(range(6)))
    assert torch.allclose(logits([4, 1]), whole[[4, 1]], atol=1e-6)
    model.eval()
    with torch.no_grad():
        assert not torch.allclose(model(pixel_values=pixels).logits, whole, atol=1e-4)
