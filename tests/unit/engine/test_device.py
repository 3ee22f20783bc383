"""The precision follows a measurement, either way, and says why; a missing device is an error."""

import pytest
import torch
from torch import nn

from septet.engine import device
from septet.engine.device import Ceiling, choose_device, choose_precision, flops_per_token, measure_ceiling
from septet.engine.machine import cores
from septet.engine.masters import Masters
from septet.errors import UsageError
from septet.model import placing
from tiny import bench


def ceiling(fp32, bf16, kind="cpu"):
    return Ceiling(kind, 2, 1024, 384, 1536, fp32, bf16)


def test_a_machine_that_multiplies_bf16_faster_gets_bf16():
    precision, why = choose_precision(ceiling(350, 2000))
    assert precision == "bf16"
    assert "5.7 times" in why
    assert "measured: bf16 2000, fp32 350 GFLOP/s" in why


@pytest.mark.parametrize("bf16", [20, 300, 320, 350 * 1.29])
def test_a_machine_that_does_not_gets_fp32(bf16):
    precision, why = choose_precision(ceiling(350, bf16))
    assert precision == "fp32"
    assert f"bf16 {bf16:.0f}, fp32 350" in why


@pytest.mark.parametrize(
    ("wanted", "there", "mode"),
    [(None, True, 1), ("cuda", True, 1), ("cpu", True, 0), ("mps", True, 0), (None, False, 0)],
)
def test_sums_come_in_one_order_while_a_gpu_trains(monkeypatch, wanted, there, mode):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    settings = torch.utils.deterministic
    with pytest.raises(KeyError), device.repeatable(wanted):
        assert torch.get_deterministic_debug_mode() == mode
        assert settings.fill_uninitialized_memory == (not mode)
        raise KeyError
    assert torch.get_deterministic_debug_mode() == 0
    assert settings.fill_uninitialized_memory


@pytest.mark.parametrize(("there", "free", "place"), [(False, 0, "cpu"), (True, 1599, "cpu"), (True, 1601, "cuda")])
def test_a_model_answers_on_a_gpu_that_has_room_for_it(monkeypatch, there, free, place):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 10_000))
    model = nn.Linear(16, 16)  # 272 numbers of 4 bytes: 1,088 bytes
    monkeypatch.setattr(placing, "ROOM", 1600 / 1088)
    assert placing.device_for(model) == place


def test_a_tensor_that_is_there_already_stays_as_it_is():
    x = torch.arange(3)
    assert placing.put(x, torch.device("cpu")) is x
    assert placing.put(x, torch.device("meta")).device.type == "meta"


def test_the_threshold_itself_is_worthwhile():
    assert choose_precision(ceiling(100, 130))[0] == "bf16"


def test_rates_by_precision():
    measured = Ceiling("cuda", 1, 8, 8, 8, fp32=1.0, bf16=2.0, fp16=3.0)
    assert [measured.rate(p) for p in ("fp32", "bf16", "fp16")] == [1.0, 2.0, 3.0]
    assert ceiling(1.0, 2.0).rate("fp16") == 2.0


def test_measures_what_it_says():
    found = measure_ceiling(torch.device("cpu"), 64, 128, tokens=64)
    assert found.fp32 > 0.01
    assert found.bf16 > 0.0001
    assert found.fp16 is None
    assert found.to_json()["threads"] == torch.get_num_threads()


def test_a_slow_moment_does_not_choose_the_precision(monkeypatch):
    """While other processes have the cores, both precisions look alike; each has its turn again, and the best counts."""
    told = {
        torch.float32: iter([45.0, 240.0, 250.0, 45.0, 45.0]),
        torch.bfloat16: iter([50.0, 60.0, 55.0, 1900.0, 60.0]),
    }
    monkeypatch.setattr(device, "_rate", lambda _device, dtype, *_sizes: next(told[dtype]))
    found = measure_ceiling(torch.device("cpu"), 64, 128)
    assert (found.fp32, found.bf16) == (250.0, 1900.0)


def test_a_slow_machine_is_not_timed_again(monkeypatch):
    turns = []
    monkeypatch.setattr(device, "_rate", lambda _device, dtype, *_sizes: turns.append(dtype) or 1.0)
    monkeypatch.setattr(device, "ENOUGH_S", -1.0)
    measure_ceiling(torch.device("cpu"), 64, 128)
    assert turns == [torch.float32, torch.bfloat16]


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device(None) == torch.device("cpu")
    with pytest.raises(UsageError, match=r"train\.device is cuda"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(None) == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


def test_masters_keep_what_the_rounded_weights_lose():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[2].weight.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masters = Masters(model, {"0.weight": torch.tensor([1, 4])}, torch.bfloat16)
    # a batch norm computes in fp32, as its statistics are
    exact = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert exact == {"1.weight", "1.bias"}
    assert model[1].num_batches_tracked.dtype == torch.int64
    assert not model[0].weight.float().equal(before["0.weight"])
    state = masters.state()
    assert set(state) - set(before) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    for name in set(state) & set(before):
        assert state[name].equal(before[name]), name
    masters.decay_unused("0.weight", 0.5)
    assert masters.state()["0.weight"][0].equal(before["0.weight"][0] * 0.5)
    assert masters.state()["0.weight"][1].equal(before["0.weight"][1])


def test_flops_follow_what_learns(tiny_bert):
    from septet.methods.head import Head

    full = bench(tiny_bert).model
    matrices = sum(m.weight.numel() for m in full.modules() if isinstance(m, nn.Linear))
    assert flops_per_token(full) == (2.0 * matrices, 6.0 * matrices)
    frozen = bench(tiny_bert, method=Head()).model
    forward, both = flops_per_token(frozen)
    assert forward == 2.0 * matrices
    assert both - forward < 0.2 * forward


def test_more_threads_than_cores_are_told():
    found = device.crowded(cores() + 1)
    assert found is not None and found.slug == "threads-waiting" and found.level == "warning"
    assert f"may use {cores()} cores" in found.message
    assert device.crowded(cores()) is None and device.crowded(None) is None
