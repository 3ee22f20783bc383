"""Where the time of an update goes: the window, the sizes of products, the groups of operators; and nothing of it changes what is learned."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import album
import small
from septet import journey
from septet.engine.breakdown import OUTSIDE, REST, TRACED_STEPS, WARM_STEPS, Breakdown, by_group, group_of
from septet.engine.loop import Step
from septet.engine.timing import STEP_PARTS, Timer
from septet.timetable import timing_table


def event(name, above=None, us=10.0):
    kind = SimpleNamespace(name="CPU")
    return SimpleNamespace(name=name, cpu_parent=above, self_cpu_time_total=us, device_type=kind)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::mm", "matrix products"),
        ("aten::addmm", "matrix products"),
        ("aten::bmm", "attention"),
        ("aten::baddbmm", "attention"),
        ("aten::_softmax", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("torch_attn::_varlen_attn", "attention"),
        ("torch_attn::_varlen_attn_backward", "attention"),
        ("aten::_flash_attention_forward", "attention"),
        ("aten::_flash_attention_backward", "attention"),
        ("aten::_log_softmax", "loss"),
        ("aten::nll_loss_forward", "loss"),
        ("aten::native_layer_norm_backward", "norms and activations"),
        ("aten::gelu", "norms and activations"),
        ("aten::silu_backward", "norms and activations"),
        ("aten::copy_", "copies and look-ups"),
        ("aten::_to_copy", "copies and look-ups"),
        ("aten::embedding_dense_backward", "copies and look-ups"),
        ("aten::add_", REST),
        ("aten::mul", REST),
    ],
)
def test_an_operator_counts_by_its_name(name, group):
    assert group_of(event(name)) == group


def test_where_an_operator_is_called_goes_before_its_name():
    assert group_of(event("aten::mm", event("aten::linear", event("optimizer")))) == "optimizer"
    assert group_of(event("aten::mul", event("septet::dropout"))) == "dropout"
    assert group_of(event("aten::copy_", event("_UnpaddedBackward"))) == "attention"
    assert group_of(event("aten::empty", event("_Norm"))) == "norms and activations"


@pytest.mark.parametrize("name", ["Attention", "AttentionBackward", "_Unpadded", "_NormBackward"])
def test_what_a_kernel_takes_itself_counts_too(name):
    assert group_of(event(name)) == ("norms and activations" if "Norm" in name else "attention")


def test_the_groups_and_what_is_outside_of_them_add_up_to_the_window():
    events = [
        event("aten::mm", us=4000.0),
        event("aten::mm", us=2000.0),
        event("aten::gelu", us=1000.0),
        event("forward"),
    ]
    found = by_group(events, 0.01, 2)
    assert [(each["name"], each["ms"], each["calls"]) for each in found] == [
        ("matrix products", 3.0, 1.0),
        (OUTSIDE, 1.5, 0.0),
        ("norms and activations", 0.5, 0.5),
    ]
    assert sum(each["share"] for each in found) == pytest.approx(1)


def test_a_kernel_of_a_gpu_counts_once_where_it_was_launched():
    launched, kernel = event("aten::mm"), event("ampere_bf16_gemm")
    launched.self_device_time_total = kernel.self_device_time_total = 4000.0
    kernel.device_type = SimpleNamespace(name="CUDA")
    found = by_group([launched, kernel], 0.01, 1, cuda=True)
    assert [(each["name"], each["ms"]) for each in found] == [(OUTSIDE, 6.0), ("matrix products", 4.0)]


class Pair(nn.Module):
    """Two layers, of which the first is frozen and reads what needs no gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)
        self.first.requires_grad_(False)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def steps(breakdown, model, count):
    for i in range(1, count + 1):
        with breakdown.timer("backward"):
            with breakdown.timer("forward"):
                loss = model(torch.randn(10, 8)).sum()
            loss.backward()
        breakdown.after(Step(i, 0, 1.0, 1e-3, 1.0, 10, 10, 0.01))


def test_products_are_counted_at_the_sizes_that_they_have():
    model = Pair()
    breakdown = Breakdown(model, Timer(), updates=20, precision="fp32")
    steps(breakdown, model, 20)
    facts = breakdown.facts(tokens_per_s=1.0, step_s=0.01)
    assert breakdown.window == [WARM_STEPS + 2 + i for i in range(TRACED_STEPS)]
    assert facts["counted_steps"] == 20 - WARM_STEPS - 1 - TRACED_STEPS
    sizes = {(each["rows"], each["in"], each["out"], each["products"], each["calls"]) for each in facts["products"]}
    # forward alone below; forward and its own gradient above, whose input needs none
    assert sizes == {(10, 8, 16, 1, 1), (10, 16, 4, 2, 1)}
    assert facts["flops_per_step"] == 2 * 10 * 8 * 16 + 2 * 2 * 10 * 16 * 4
    assert {each["name"] for each in facts["operators"]} >= {"matrix products", OUTSIDE}
    assert not model.first._forward_hooks and not model.second._forward_hooks
    assert breakdown.timer.scope is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_run_that_is_shorter_than_the_window_is_looked_at_too(count):
    model = Pair()
    breakdown = Breakdown(model, Timer(), updates=count, precision="fp32")
    steps(breakdown, model, count)
    facts = breakdown.facts(tokens_per_s=1.0, step_s=0.01)
    assert facts["flops_per_step"] > 0 and facts["ceiling_share"] > 0
    assert len(facts["window"]) == min(TRACED_STEPS, count - 1)


def test_a_run_that_ends_within_the_window_leaves_nothing_open():
    model = Pair()
    breakdown = Breakdown(model, Timer(), updates=100, precision="fp32")
    steps(breakdown, model, WARM_STEPS + 2)
    assert breakdown.timer.scope is not None
    breakdown.close()
    assert breakdown.timer.scope is None and len(breakdown.operators) > 1


@pytest.mark.parametrize("method", ["full", {"name": "lora", "rank": 4}])
def test_a_profiled_run_learns_the_same_bytes(tmp_path, method):
    source = small.recipe(tmp_path, method=method)
    plain = journey.train(source, run=tmp_path / "plain")
    profiled = journey.train(source, run=tmp_path / "profiled", profile=True)
    files = ("model/model.safetensors", "checkpoints/step-000021/masters.safetensors")
    for name in (*files, "checkpoints/step-000021/optimizer.safetensors"):
        assert (plain.run.path / name).read_bytes() == (profiled.run.path / name).read_bytes(), name
    assert small.steps(plain.run.path) == small.steps(profiled.run.path)
    timing = profiled.run.read_json("timing.json")
    assert timing == profiled.to_json()["timing"] == profiled.timing
    assert set(timing["parts"]) == set(STEP_PARTS)
    assert timing["window"] == [7, 8, 9]
    assert 0 < sum(each["share"] for each in timing["parts"].values()) <= 1.001
    assert sum(each["share"] for each in timing["operators"]) == pytest.approx(1, abs=0.02)
    groups = {each["name"] for each in timing["operators"]}
    assert {"matrix products", "attention", "optimizer", "norms and activations", "dropout"} <= groups
    assert "where the time went" in profiled.text() and "matrix products" in profiled.text()
    assert not (plain.run.path / "timing.json").exists()
    assert "timing" not in plain.to_json() and "where the time went" not in plain.text()


def test_compiled_layers_are_said_not_to_be_counted():
    model = Pair()
    breakdown = Breakdown(model, Timer(), updates=20, precision="fp32", compiled=True)
    steps(breakdown, model, 20)
    facts = breakdown.facts(tokens_per_s=1.0, step_s=0.01)
    assert facts["products"] == []
    assert {facts[name] for name in ("flops_per_step", "reached_gflops", "ceiling_gflops", "ceiling_share")} == {None}
    costs = {"stage_s": 1.0, "parts_s": {"forward": 0.5}, "padding_share": 0.0}
    assert "not counted, as sizes cannot be seen in compiled layers" in timing_table(costs, facts)


def test_a_network_of_convolutions_reaches_a_share_of_what_its_convolutions_allow(tmp_path):
    album.album(tmp_path / "pictures", 20)
    album.model_folder(tmp_path / "resnet", "resnet")
    train = {"epochs": 4, "batch": 16, "precision": "fp32", "threads": 1, "device": "cpu"}
    source = album.recipe(tmp_path, {"train": "pictures"}, "resnet", train=train)
    done = journey.train(source, run=tmp_path / "run", profile=True)
    assert done.timing["flops_per_step"] > 0 and done.timing["ceiling_share"] > 0
    assert any(each.get("kernel") == [3, 3] for each in done.timing["products"])
    assert "convolutions" in {each["name"] for each in done.timing["operators"]}
    assert "GFLOP an update" in done.text()
