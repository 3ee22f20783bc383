"""Decoders as classifiers: a row's answer is read at its last token, padded or not, on either side, whatever that token is."""

import numpy as np
import pytest
import torch
from test_architectures import ALONE, LENGTHS, TOGETHER, VOCABULARY, batches, distance, folder, gradients, loaded
from transformers import AutoModelForSequenceClassification

from septet.model import last_token

KINDS = ["gpt2", "llama", "qwen3", "gemma2"]
EOS = 0  # also the padding, as GPT-2 has it


def ids(lengths=LENGTHS):
    """Rows of all kinds: ordinary ones, some that end with the padding token, one that holds it, one that is nothing else."""
    draw = np.random.default_rng(1)
    found = [draw.integers(1, VOCABULARY, n).tolist() for n in lengths]
    return [*found, [5, 6, EOS], [7, EOS, EOS], [8, EOS, 9], [EOS], [EOS, EOS]]


def batch(rows, *, left=False):
    width = max(map(len, rows))
    pads = [[EOS] * (width - len(row)) for row in rows]
    real = [[1] * len(row) for row in rows]
    table = [p + r if left else r + p for r, p in zip(rows, pads, strict=True)]
    mask = [[0] * len(p) + r if left else r + [0] * len(p) for r, p in zip(real, pads, strict=True)]
    return {"input_ids": torch.tensor(table), "attention_mask": torch.tensor(mask)}


def logits(model, inputs):
    with torch.inference_mode():
        return model.eval()(**inputs).logits


def own_last(path, row):
    """What transformers' backbone and head give at the last token of the row alone, without any search for it."""
    model = AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").eval()
    with torch.inference_mode():
        return model.score(model.base_model(input_ids=torch.tensor([row])).last_hidden_state[:, -1])


@pytest.mark.parametrize("kind", [*KINDS, "opt", "gpt_neox"])
def test_padded_and_alone(tmp_path, kind):
    model, _ = loaded(folder(tmp_path, kind, padding=EOS))
    rows = ids()
    expected = torch.cat([own_last(tmp_path, row) for row in rows])
    alone = torch.cat([logits(model, {"input_ids": torch.tensor([row])}) for row in rows])
    assert (alone - expected).abs().max() <= 1e-5
    assert (logits(model, batch(rows)) - expected).abs().max() <= 1e-5
    for size in (2, 3, 5):
        parts = [logits(model, batch(rows[i : i + size])) for i in range(0, len(rows), size)]
        assert (torch.cat(parts) - expected).abs().max() <= 1e-5
    assert len({tuple(row) for row in expected.mul(1e3).round().tolist()}) >= len(rows) - 1


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
def test_padded_on_the_left(tmp_path, kind):
    """Septet pads such models on the right; relative positions make the left as good."""
    model, _ = loaded(folder(tmp_path, kind, padding=EOS))
    expected = torch.cat([own_last(tmp_path, row) for row in ids()])
    assert (logits(model, batch(ids(), left=True)) - expected).abs().max() <= 2e-5


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_transformers_itself_is_wrong_there(tmp_path, kind):
    """Delete model/last_token.py when this fails: transformers then looks at the mask."""
    theirs = AutoModelForSequenceClassification.from_pretrained(folder(tmp_path, kind, padding=EOS)).eval()
    rows = ids()[:-1]
    wrong = [not torch.allclose(logits(theirs, batch([r])), own_last(tmp_path, r), atol=1e-4) for r in rows]
    assert [row for row, bad in zip(rows, wrong, strict=True) if bad] == [[5, 6, EOS], [7, EOS, EOS]]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "mpnet"])
def test_other_models_are_left_alone(tmp_path, kind):
    model = AutoModelForSequenceClassification.from_pretrained(folder(tmp_path, kind))
    before = logits(model, {"input_ids": torch.tensor([[5, 6, 7]])})
    assert not last_token.install(model)
    assert torch.equal(logits(model, {"input_ids": torch.tensor([[5, 6, 7]])}), before)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_together_and_alone(tmp_path, kind):
    """Gradients with dropout on, rows among them that end with the padding token."""
    model, clock = loaded(folder(tmp_path, kind, padding=EOS))
    alone = gradients(model, clock, batches(ALONE, least=0))
    assert distance(gradients(model, clock, batches(TOGETHER, least=0)), alone) <= 3e-6
    assert distance(gradients(model, clock, batches([[3, 0, 6], [1, 5], [2, 4]], least=0)), alone) <= 3e-6
    clock.seed += 1
    assert distance(gradients(model, clock, batches(TOGETHER, least=0)), alone) > 1e-2, "nothing was dropped"
