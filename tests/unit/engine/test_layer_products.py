"""The products of layers are counted as they are: by hand, and beside PyTorch's own counter, forward and backward."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from septet.engine import layer_products
from septet.engine.layer_products import best_rate, measured, watch

CPU = torch.device("cpu")
# of one forward product: 2 operations for each row, number it is computed from, and number it becomes
BY_HAND = {
    "a linear layer over tokens": (nn.Linear(8, 16), (2, 5, 8), 2 * (2 * 5) * 8 * 16),
    "pictures": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 8, 8), 2 * (2 * 8 * 8) * (3 * 3 * 3) * 4),
    # 8 places by a kernel of 3 with a stride of 2 and a border of 1: 4
    "a stride": (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 8), 2 * (2 * 4 * 4) * (3 * 3 * 3) * 4),
    # 31 samples by 10 with a stride of 5: floor((31 - 10) / 5) + 1 = 5
    "sound": (nn.Conv1d(1, 6, 10, stride=5, bias=False), (3, 1, 31), 2 * (3 * 5) * 10 * 6),
    "groups": (nn.Conv1d(8, 12, 4, padding=2, groups=4), (2, 8, 7), 2 * (2 * 8) * (2 * 4) * 12),
    "each channel by itself": (nn.Conv2d(6, 6, 3, padding="same", groups=6), (2, 6, 5, 4), 2 * (2 * 5 * 4) * 9 * 6),
    # a kernel of 3 with a dilation of 2 spans 5: 9 - 5 + 1 = 5
    "dilation": (nn.Conv1d(2, 3, 3, dilation=2), (2, 2, 9), 2 * (2 * 5) * (2 * 3) * 3),
    "volumes": (nn.Conv3d(2, 3, (1, 2, 2)), (1, 2, 3, 4, 4), 2 * (3 * 3 * 3) * (2 * 4) * 3),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(layer_products, "MEASURE_S", 0.01)


def learn(model, *inputs, **named):
    """Return what one forward and backward pass is counted as, here and by PyTorch but for products of pairs of activations."""
    sizes = Counter()
    hooks = watch(model, sizes)
    with FlopCounterMode(display=False) as counter:
        found = model(*inputs, **named)
        (found if isinstance(found, torch.Tensor) else found.logits).sum().backward()
    for hook in hooks:
        hook.remove()
    theirs = counter.get_flop_counts()["Global"]
    return sizes, sum(flops for op, flops in theirs.items() if op is not torch.ops.aten.bmm)


def total(sizes):
    return sum(size.flops * calls for size, calls in sizes.items())


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize(("x_learns", "weight_learns"), [(True, True), (True, False), (False, True)])
def test_a_layer_counts_forward_and_for_each_gradient_that_is_asked_for(name, x_learns, weight_learns):
    layer, shape, by_hand = BY_HAND[name]
    layer.requires_grad_(weight_learns)
    sizes, theirs = learn(layer, torch.randn(*shape, requires_grad=x_learns))
    expected = by_hand * (1 + x_learns + weight_learns)
    table, flops, ideal_s = measured(sizes, CPU, "fp32")
    assert total(sizes) == flops == expected
    assert ideal_s > 0 and table[0]["calls"] == 1
    grouped = getattr(layer, "groups", 1) > 1
    # PyTorch 2.13 counts the gradient of grouped weights as if each channel reached all groups
    assert (theirs == expected) is not (grouped and weight_learns)
    if grouped:
        return
    # what is measured is the same work, three times over
    (size,) = sizes
    with FlopCounterMode(display=False) as counter:
        best_rate(CPU, "fp32", size, seconds=0.0)
    prepared = by_hand if size.window else 0
    assert counter.get_total_flops() == 3 * expected + prepared


def test_a_layer_that_learns_nothing_counts_forward_alone():
    layer = nn.Conv2d(3, 4, 3).requires_grad_(False)
    sizes = Counter()
    watch(layer, sizes)
    layer(torch.randn(2, 3, 8, 8))
    assert total(sizes) == 2 * (2 * 6 * 6) * 27 * 4
    with torch.no_grad():
        layer(torch.randn(2, 3, 8, 8))
    assert sum(sizes.values()) == 1  # validation is no update


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 2, 1], num_labels=3)
    return ResNetForImageClassification(config), {"pixel_values": torch.randn(2, 3, 32, 32)}


def wav2vec2():
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=1,
        attn_implementation="eager",
    )
    model = Wav2Vec2ForSequenceClassification(config)
    model.freeze_feature_encoder()
    return model.eval(), {"input_values": torch.randn(2, 800)}


@pytest.mark.parametrize("made", [resnet, wav2vec2])
def test_a_whole_model_counts_as_pytorch_counts_it(made):
    model, inputs = made()
    sizes, theirs = learn(model, **inputs)
    assert total(sizes) == theirs
    assert any(size.window is not None for size in sizes)


def test_what_is_computed_again_counts_once():
    model = nn.Sequential(nn.Linear(8, 8), nn.Conv1d(4, 4, 3))
    sizes = Counter()
    watch(model, sizes)
    checkpoint(model, torch.randn(2, 4, 8, requires_grad=True), use_reentrant=False).sum().backward()
    assert sorted(sizes.values()) == [1, 1]


def test_sizes_are_told_and_those_that_are_nearly_the_same_measured_as_one():
    model = nn.Conv2d(3, 4, 3, stride=2, padding=1)
    sizes = Counter()
    watch(model, sizes)
    for rows in (16, 16, 17):
        model(torch.randn(rows, 3, 8, 8))
    table, flops, ideal_s = measured(sizes, CPU, "fp32")
    (told,) = table
    assert told.pop("gflops") > 0 and ideal_s > 0
    rows = round(16 * (16 + 16 + 17) / 3)
    linear = {"rows": rows, "in": 27, "out": 4, "products": 2, "calls": 3}
    assert told == linear | {"kernel": [3, 3], "stride": [2, 2], "groups": 1}
    assert flops == 2 * 2 * 16 * (16 + 16 + 17) * 27 * 4


def test_a_rate_is_measured_in_the_precision_of_the_run():
    sizes = Counter()
    watch(layer := nn.Conv1d(1, 6, 10, stride=5), sizes)
    layer(torch.randn(3, 1, 31))
    (size,) = sizes
    assert best_rate(CPU, "bf16", size, seconds=0.0) > 0
