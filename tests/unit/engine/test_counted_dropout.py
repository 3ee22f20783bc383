"""Dropout from a counter: the right share, and the same for a row however it is batched; noise where nothing may be related."""

import numpy as np
import pytest
import torch
from torch import nn

from septet.engine import dropout
from tiny import bench, model_folder

ROWS, PLACES = 64, 2000


def masks(rate=0.1, *, rows=range(ROWS), epoch=0, seed=1, sites=3, places=PLACES):
    """Return (sites, rows, places) bool: what is kept."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Dropout(rate) for _ in range(sites)])
    clock = dropout.install(model, seed)
    clock.set(list(rows), epoch)
    ones = torch.ones(len(list(rows)), places)
    model.train()
    return np.stack([site(ones).numpy() != 0 for site in model])


def correlation(a, b):
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    return float((a * b).mean() / (a.std() * b.std()))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_share_kept_and_mean(rate):
    kept = masks(rate)
    noise = 5 * (rate * (1 - rate) / kept.size) ** 0.5
    assert kept.mean() == pytest.approx(1 - rate, abs=max(noise, 2e-3))
    each_row = kept.mean(2)
    assert abs(each_row - (1 - rate)).max() < 6 * (rate * (1 - rate) / PLACES) ** 0.5
    each_place = kept.mean((0, 1))
    assert abs(each_place - (1 - rate)).max() < 6 * (rate * (1 - rate) / (3 * ROWS)) ** 0.5


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    module = nn.Sequential(nn.Dropout(0.25))
    clock = dropout.install(module, 1)
    clock.set([3], 0)
    values = module.train()(torch.full((1, 4000), 3.0))
    assert set(values.unique().tolist()) == {0.0, 4.0}
    assert float(values.mean()) == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rows_sites_epochs_and_seeds_are_unrelated(rate):
    kept = masks(rate)
    noise = 5 / (ROWS * PLACES) ** 0.5
    assert abs(correlation(kept[0], kept[1])) < noise
    assert abs(correlation(kept[1], kept[2])) < noise
    assert abs(correlation(kept[0], masks(rate, epoch=1)[0])) < noise
    assert abs(correlation(kept[0], masks(rate, seed=2)[0])) < noise
    pairs = np.corrcoef(kept[0])[np.triu_indices(ROWS, 1)]
    # 2,016 pairs of neighbouring ids: their correlations must look like those of independent draws
    assert abs(pairs).max() < 5 / PLACES**0.5
    assert pairs.std() == pytest.approx(1 / PLACES**0.5, rel=0.2)
    assert abs(correlation(kept[:, :, 1:], kept[:, :, :-1])) < noise


@pytest.mark.parametrize("rows", [[0, 2**62, -(2**63), 5], [1 << i for i in range(4)]])
def test_extreme_row_ids(rows):
    kept = masks(rows=rows)
    assert len({row.tobytes() for row in kept[0]}) == 4
    assert kept.mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rate", [1e-12, 0.1, 0.5, 0.999])
def test_a_gpu_which_compares_drops_the_same(dtype, rate):
    words = torch.randint(-(2**31), 2**31, (4, 5000), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    scale = float(torch.tensor(1.0 / (1.0 - rate), dtype=dtype))
    compared = dropout._compared(words.clone(), rate, dtype).mul_(scale)
    assert torch.equal(compared, dropout._factors(words.clone(), rate, dtype))


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1, 2**60])
def test_any_seed(seed):
    assert masks(seed=seed).mean() == pytest.approx(0.9, abs=0.01)


def test_a_row_sees_its_mask_alone_or_among_others():
    whole = masks(rows=range(10))
    shuffled = masks(rows=[7, 2, 9, 0])
    for place, row in enumerate([7, 2, 9, 0]):
        assert (shuffled[:, place] == whole[:, row]).all()
    assert (masks(rows=[4])[:, 0] == whole[:, 4]).all()


def test_places_do_not_depend_on_the_padding():
    """Hidden states (B, T, H): a longer T only adds places."""
    module = nn.Sequential(nn.Dropout(0.5))
    clock = dropout.install(module.train(), 1)
    clock.set([1, 2], 0)
    short, long = module(torch.ones(2, 5, 8)), module(torch.ones(2, 11, 8))
    assert torch.equal(short, long[:, :5])


@pytest.fixture(scope="module")
def site():
    model = nn.Module()
    clock = dropout.DropoutClock(3)
    found = dropout.AttentionSite(clock)
    clock.set(list(range(8)), 0)
    return model, found


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_attention_share_and_padding(site, rate):
    _, found = site
    long = found.factors(4, 48, 48, rate, torch.float32, torch.device("cpu"))
    short = found.factors(4, 20, 20, rate, torch.float32, torch.device("cpu"))
    assert torch.equal(short, long[:, :, :20, :20])
    assert float((long != 0).float().mean()) == pytest.approx(1 - rate, abs=0.01)
    assert float(long.mean()) == pytest.approx(1.0, abs=0.02)


def test_attention_heads_queries_and_keys_are_unrelated(site):
    _, found = site
    kept = (found.factors(4, 64, 64, 0.1, torch.float32, torch.device("cpu")) != 0).numpy()
    noise = 5 / kept[:, 0].size ** 0.5
    assert abs(correlation(kept[:, 0], kept[:, 1])) < noise
    assert abs(correlation(kept[:, 0], kept[:, 0].swapaxes(1, 2))) < 2 * noise
    assert abs(correlation(kept[:, :, 1:], kept[:, :, :-1])) < noise
    assert abs(correlation(kept[..., 1:], kept[..., :-1])) < noise
    assert abs(correlation(kept[0], kept[1])) < 5 / kept[0].size ** 0.5


def test_another_number_of_rows_is_an_error():
    module = nn.Sequential(nn.Dropout(0.5))
    clock = dropout.install(module.train(), 1)
    clock.set([1, 2, 3], 0)
    with pytest.raises(RuntimeError, match="2 rows where the batch has 3"):
        module(torch.ones(2, 5))


def test_eval_drops_nothing_and_remove_puts_plain_dropout_back():
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2), nn.Dropout(0.1))
    dropout.install(module.eval(), 1)
    assert torch.equal(module[0](torch.ones(3, 4)), torch.ones(3, 4))
    dropout.remove(module)
    assert [type(m) for m in module] == [nn.Dropout, nn.Linear, nn.Dropout]
    assert [module[0].p, module[2].p] == [0.5, 0.1]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_every_random_choice_of_an_architecture_is_counted(tmp_path, kind):
    """Two passes with the same rows and epoch are equal, another epoch is not, and torch's own generator is never touched."""
    b = bench(model_folder(tmp_path, kind, dropout=0.2), count=6)
    batch = b.batch()
    b.model.train()
    b.clock.set(batch.rows, 0)
    before = torch.random.get_rng_state()
    first = b.model(**batch.inputs).logits
    assert torch.equal(b.model(**batch.inputs).logits, first)
    assert torch.equal(torch.random.get_rng_state(), before)
    b.clock.set(batch.rows, 1)
    assert not torch.allclose(b.model(**batch.inputs).logits, first, atol=1e-4)
    b.model.eval()
    assert torch.equal(b.model(**batch.inputs).logits, b.model(**batch.inputs).logits)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_our_attention_is_the_librarys(tmp_path, kind):
    """With dropout off, and with padding, our attention function gives the eager one's logits."""
    folder = model_folder(tmp_path, kind)
    ours, theirs = bench(folder, count=12), bench(folder, count=12, attention="eager")
    batch = ours.batch()
    assert "attention_mask" in batch.inputs
    with torch.no_grad():
        expected = theirs.model.eval()(**batch.inputs).logits
        torch.testing.assert_close(ours.model.eval()(**batch.inputs).logits, expected, rtol=1e-5, atol=1e-6)
