"""Whatever the architecture: a row's gradient is its own, with dropout on, alone or among others, with its padding or without."""

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from septet.engine import dropout
from septet.engine.attention import ATTENTION, attends_alike, register_attention
from septet.engine.loop import learn_modes
from septet.engine.shortcut import first_token_only
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.model.load import load_model, silent
from septet.tasks import Batch
from septet.tasks.classify import Classify, Options

VOCABULARY = 101
LENGTHS = [1, 2, 9, 9, 17, 30, 41]
TASK = Classify(Options(text="text", label="label"), ["a", "b", "c"], [1.0] * 3, 60)
UNPADDED = ["bert", "roberta", "camembert", "xlm-roberta", "electra", "ernie", "layoutlm"]
PADDED = ["mpnet", "rembert", "roformer", "megatron-bert", "deberta-v2", "albert", "distilbert", "ibert"]
MORE = {
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "position_biased_input": False,
    },
    "albert": {"num_hidden_groups": 1, "embedding_size": 16},
    "llama": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "attn_logit_softcapping": 1.0},
    "gpt_oss": {"num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
}


def folder(path, kind, *, rate=0.1, padding=0, positions=64):
    """Write a checkpoint whose weights are large enough for differences to show."""
    config = CONFIG_MAPPING[kind](
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=positions,
        pad_token_id=padding,
        num_labels=3,
        **MORE.get(kind, {}),
    )
    for name, value in config.to_dict().items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, (int, float, type(None))):
            setattr(config, name, rate)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    with silent():
        model.save_pretrained(path)
    return path


def loaded(path):
    register_attention()
    model = load_model(path, TASK.heads()["label"], seed=3, attention=ATTENTION).model
    return model, dropout.install(model, 7)


def batches(split, *, padding=0, lengths=LENGTHS, least=5):
    draw = np.random.default_rng(0)
    ids = [torch.tensor(draw.integers(least, VOCABULARY, n)) for n in lengths]
    found = []
    for rows in split:
        table = torch.nn.utils.rnn.pad_sequence([ids[i] for i in rows], batch_first=True, padding_value=padding)
        real = torch.arange(table.shape[1]) < torch.tensor([lengths[i] for i in rows])[:, None]
        inputs = {"input_ids": table} | ({} if real.all() else {"attention_mask": real.long()})
        found.append(
            Batch(inputs, torch.tensor([i % 3 for i in rows]), [1000 + 7 * i for i in rows], [{} for _ in rows])
        )
    return found


def gradients(model, clock, given, take_out=None):
    model.zero_grad(set_to_none=True)
    for module, learns in learn_modes(model):
        module.training = learns
    given = given if take_out is None else [take_out(batch) for batch in given]
    totals = group_weights(TASK, given)
    for batch in given:
        clock.set(batch.rows, 0, step=4)
        with clock.layout(batch.layout):
            backward(model, TASK, batch, totals)
    return torch.cat([p.grad.to_dense().double().flatten() for p in model.parameters() if p.grad is not None])


def distance(a, b):
    return float((a - b).norm() / b.norm())


ALONE = [[i] for i in range(len(LENGTHS))]
TOGETHER = [list(range(len(LENGTHS)))]


@pytest.mark.parametrize("kind", [*UNPADDED, *PADDED])
def test_rows_together_and_alone(tmp_path, kind):
    padding = 1 if kind in ("roberta", "camembert", "xlm-roberta", "mpnet") else 0
    model, clock = loaded(folder(tmp_path, kind, padding=padding))
    alone = gradients(model, clock, batches(ALONE, padding=padding))
    first_token_only(model, clock, VOCABULARY)
    assert distance(gradients(model, clock, batches(TOGETHER, padding=padding)), alone) <= 3e-6
    take_out = unpadder(model, clock, VOCABULARY)
    assert (take_out is not None) == (kind in UNPADDED)
    if take_out is not None:
        assert distance(gradients(model, clock, batches(TOGETHER, padding=padding), take_out), alone) <= 3e-6


@pytest.mark.parametrize("kind", ["opt", "biogpt"])
def test_dropout_that_is_called_as_a_function(tmp_path, kind):
    model, clock = loaded(folder(tmp_path, kind))
    before = torch.random.get_rng_state()
    dropout.count_calls(model, clock)
    assert clock.called[1] >= 4
    alone = gradients(model, clock, batches(ALONE))
    assert distance(gradients(model, clock, batches(TOGETHER)), alone) <= 3e-6
    assert torch.equal(before, torch.random.get_rng_state()), "something was drawn from the global stream"
    clock.set([1], 1)
    none, _ = loaded(folder(tmp_path / "none", kind, rate=0.0))
    assert distance(gradients(none, clock, batches(TOGETHER)), alone) > 0.05, "nothing was dropped"


def test_a_model_of_modules_alone_calls_none(tmp_path):
    model, clock = loaded(folder(tmp_path, "bert"))
    model.eval()
    dropout.count_calls(model, clock)
    assert clock.called[1] == 0 and not any(module.training for module in model.modules())


@pytest.mark.parametrize("padding", [0, 1])
def test_a_padding_token_within_a_text(tmp_path, padding):
    """RoBERTa gives it no position; the text may hold it where it spells the token out."""
    model, clock = loaded(folder(tmp_path, "roberta", padding=padding))
    alone = gradients(model, clock, batches(ALONE, padding=padding, least=0))
    assert any((batch.inputs["input_ids"] == padding).any() for batch in batches(ALONE, padding=padding, least=0))
    first_token_only(model, clock, VOCABULARY)
    take_out = unpadder(model, clock, VOCABULARY)
    assert distance(gradients(model, clock, batches(TOGETHER, padding=padding, least=0), take_out), alone) <= 3e-6


def test_the_filling_holds_no_token_that_the_rows_do_not(tmp_path):
    """An embedding trained on its used rows only has no other."""
    model, clock = loaded(folder(tmp_path, "camembert", padding=1))
    first_token_only(model, clock, VOCABULARY)
    (batch,) = batches(TOGETHER, padding=1)
    out = unpadder(model, clock, VOCABULARY)(batch)
    assert out.inputs["input_ids"].shape[1] > sum(LENGTHS), "nothing was filled"
    assert set(out.inputs["input_ids"].unique().tolist()) <= set(batch.inputs["input_ids"].unique().tolist())


def test_a_row_without_tokens_keeps_the_padding(tmp_path):
    model, clock = loaded(folder(tmp_path, "bert"))
    first_token_only(model, clock, VOCABULARY)
    take_out = unpadder(model, clock, VOCABULARY)
    (batch,) = batches([[0, 1]], lengths=[0, 5])
    assert take_out(batch) is batch


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("positions", [3, 8, 20])
def test_few_positions(tmp_path, kind, positions):
    model, clock = loaded(folder(tmp_path, kind, padding=1, positions=positions))
    first_token_only(model, clock, VOCABULARY + 20)  # a tokenizer with more tokens than the model
    assert (unpadder(model, clock, VOCABULARY + 20) is not None) == (positions == 20)


def test_what_all_rows_share_is_dropped_alike_in_an_update(tmp_path):
    """DeBERTa drops embeddings of relative positions, which belong to no row: as many rows as positions changes nothing."""
    model, clock = loaded(folder(tmp_path, "deberta-v2"))
    same_length = [9] * 32
    alone = gradients(model, clock, batches([[i] for i in range(32)], lengths=same_length))
    assert distance(gradients(model, clock, batches([list(range(32))], lengths=same_length)), alone) <= 3e-6
    clock.set([1, 2], 0, step=1)
    first = clock.keep_shared(0, torch.Size((8, 4)), 0.5, torch.float32)
    clock.set([3], 0, step=1)
    assert torch.equal(first, clock.keep_shared(0, torch.Size((8, 4)), 0.5, torch.float32))
    clock.set([3], 0, step=2)
    assert not torch.equal(first, clock.keep_shared(0, torch.Size((8, 4)), 0.5, torch.float32))


@pytest.mark.parametrize(("kind", "alike"), [("bert", True), ("gemma2", True), ("gpt_oss", False), ("layoutlm", True)])
def test_attention_answers_as_the_models_own(tmp_path, kind, alike):
    model, _ = loaded(folder(tmp_path, kind))
    assert attends_alike(model) == alike
    if alike:
        assert model.config._attn_implementation == ATTENTION


def test_gradients_of_a_failed_step_are_dropped(tmp_path):
    from tiny import TrainState, bench, model_folder

    def losses(fail):
        b = bench(model_folder(tmp_path / str(fail), "bert", dropout=0.1), count=40)
        optimizer, state = b.optimizer(), TrainState()
        b.steps(b.planner(), optimizer, total=12, state=state, until=5)
        if fail:
            passes = []

            def second(*_):
                passes.append(1)
                if len(passes) == 2:
                    raise RuntimeError("planted")

            hook = b.model.classifier.register_forward_pre_hook(second)
            with pytest.raises(RuntimeError, match="planted"):
                b.steps(b.planner(micro_batch=2), optimizer, total=12, state=state)
            hook.remove()
        return [step.loss for step in b.steps(b.planner(), optimizer, total=12, state=state)]

    assert losses(True) == losses(False)
