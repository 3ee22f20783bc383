"""Padding taken out changes nothing but the time: same masks of dropout, same gradients, same update, same curve."""

import numpy as np
import pytest
import torch

from septet.engine.loop import Examples
from septet.engine.shortcut import first_token_only
from septet.engine.step import backward, group_weights
from septet.engine.unpad import BUCKET_COST, STEP, Layout, Unpadder, _cuts, unpadder
from septet.methods.head import Head
from septet.methods.layers import Layers
from septet.methods.layers import Options as LayerOptions
from septet.methods.lora import Lora
from septet.model.sizes import filled
from tiny import bench, model_folder

KINDS = ["bert", "roberta"]
METHODS = {"full": None, "head": Head(), "layers": Layers(LayerOptions(count=1)), "lora": Lora()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    kinds = [*KINDS, "distilbert", "gpt2"]
    return {kind: model_folder(tmp_path_factory.mktemp(kind), kind, dropout=0.1) for kind in kinds}


def gradients(folder, *, out, precision="fp32", method=None, split=(range(12),), count=12):
    """Return the accumulated gradients and the loss, with the padding taken out or left in."""
    torch.manual_seed(0)  # adapters begin from random values
    b = bench(folder, count=count, precision=precision, method=method)
    assert first_token_only(b.model, b.clock, len(b.processor)) is not None
    take_out = unpadder(b.model, b.clock, len(b.processor))
    assert take_out is not None
    optimizer = b.optimizer()
    batches = [take_out(b.batch(rows)) if out else b.batch(rows) for rows in split]
    assert all((batch.layout is not None) == out for batch in batches)
    totals = group_weights(b.task, batches)
    b.model.train()
    loss = 0.0
    for batch in batches:
        b.clock.set(batch.rows, 0)
        with b.clock.layout(batch.layout):
            loss += float(backward(b.model, b.task, batch, totals))
    return {name: t.grad.float().clone() for name, t in optimizer.masters.tensors.items() if t.grad is not None}, loss


def distance(a, b):
    assert a.keys() == b.keys()
    a, b = (torch.cat([t.flatten().double() for t in x.values()]) for x in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_gradients_with_dropout(folders, kind, method):
    expected, loss = gradients(folders[kind], out=False, method=METHODS[method])
    found, again = gradients(folders[kind], out=True, method=METHODS[method])
    assert distance(found, expected) <= 1e-6
    assert again == pytest.approx(loss, rel=1e-6)


def test_gradients_in_bf16_are_as_near_to_fp32_as_those_of_padded_rows(folders):
    exact, _ = gradients(folders["bert"], out=False)
    padded, _ = gradients(folders["bert"], out=False, precision="bf16")
    found, _ = gradients(folders["bert"], out=True, precision="bf16")
    assert 0 < distance(found, exact) <= 1.2 * distance(padded, exact)
    assert distance(found, exact) <= 3e-2


@pytest.mark.parametrize("split", [[[i] for i in range(12)], [[7, 2, 9, 0, 11], [1, 3, 4, 5, 6, 8, 10]]])
def test_any_split_of_the_group(folders, split):
    expected, loss = gradients(folders["bert"], out=False)
    found, again = gradients(folders["bert"], out=True, split=split)
    assert distance(found, expected) <= 1e-6
    assert again == pytest.approx(loss, rel=1e-6)


def curve(folder, *, out, total=40):
    b = bench(folder, count=48)
    assert first_token_only(b.model, b.clock, len(b.processor)) is not None
    take_out = unpadder(b.model, b.clock, len(b.processor))
    b.source = lambda plan: Examples(
        b.examples, plan, b.task, b.processor, torch.device("cpu"), take_out if out else None
    )  # type: ignore[method-assign]
    return np.array([s.loss for s in b.steps(b.planner(batch=8), b.optimizer(), total=total, lr=1e-3)])


def test_the_loss_curve(folders):
    expected, found = curve(folders["bert"], out=False), curve(folders["bert"], out=True)
    assert abs(found - expected).max() <= 1e-5
    assert expected[-5:].mean() < expected[:5].mean() - 0.05, "nothing was learnt, so nothing was compared"


@pytest.mark.parametrize("kind", ["distilbert", "gpt2"])
def test_a_model_that_would_mix_its_rows_keeps_its_padding(folders, kind):
    """Neither has the short cut at the first token; the probe alone refuses them too."""
    b = bench(folders[kind], count=8)
    assert unpadder(b.model, b.clock, len(b.processor)) is None
    assert b.clock.unpadded is None
    assert b.model.training == bench(folders[kind], count=8).model.training


def test_a_probe_sees_wrong_positions(folders):
    """A model whose head reads the first token, and whose positions begin elsewhere than the two known places."""
    b = bench(folders["bert"], count=8)
    first_token_only(b.model, b.clock, len(b.processor))
    embeddings = b.model.bert.embeddings
    embeddings.register_forward_pre_hook(
        lambda _m, _a, kw: (
            _a,
            {**kw, "position_ids": None if kw.get("position_ids") is None else kw["position_ids"] + 5},
        ),
        with_kwargs=True,
    )
    assert unpadder(b.model, b.clock, len(b.processor)) is None


def test_rows_padded_on_the_left_keep_their_padding(folders):
    b = bench(folders["bert"], count=4)
    batch = b.batch()
    batch.inputs["attention_mask"] = batch.inputs["attention_mask"].flip(1)
    assert Unpadder()(batch) is batch


@pytest.mark.parametrize("tokens", [*range(1, 70), 230, 511, 512, 513, 930, 2048, 4097])
def test_sizes_in_use(tokens):
    octave = 1 << (tokens.bit_length() - 1)
    assert tokens <= filled(tokens, 32, least=8) < tokens + max(8, tokens / 32)
    assert len({filled(n, 32, least=8) for n in range(octave, 2 * octave)}) <= 33
    assert tokens <= filled(tokens, 4) < tokens + max(1, tokens / 4)
    assert len({filled(n, 4) for n in range(octave, 2 * octave)}) <= 5


def price(lengths, cuts):
    widest = [filled(max(lengths[a:b]), 8, least=STEP) for a, b in cuts]
    return sum((b - a) * width**2 + BUCKET_COST for (a, b), width in zip(cuts, widest, strict=True))


def test_buckets_hold_every_row_once_and_cost_least():
    draw = np.random.default_rng(0)
    for _ in range(20):
        lengths = sorted(draw.integers(1, 200, 30).tolist())
        cuts = _cuts(lengths)
        assert [a for a, _ in cuts] == [0, *(b for _, b in cuts[:-1])]
        assert cuts[-1][1] == 30
        others = [[(0, 30)], *([(0, i), (i, 30)] for i in range(1, 30))]
        assert price(lengths, cuts) <= min(price(lengths, other) for other in others)


def test_one_long_row_among_short_ones():
    layout = Layout([3, 4, 5, 400], torch.zeros(412, dtype=torch.int64), torch.zeros(412, dtype=torch.int64))
    assert [bucket.tokens for bucket in layout.buckets(2)] == [8, 416]
    assert [bucket.span for bucket in layout.buckets(2)] == [slice(0, 12), slice(12, 412)]
