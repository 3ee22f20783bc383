"""On a CUDA device: every precision trains, fp16 with loss scaling, and the artifact answers on the CPU as on the GPU."""

import pytest
import torch

import small
from septet import journey
from septet.engine.device import measure_ceiling
from septet.model.predictor import Predictor
from tiny import rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["full", {"name": "lora", "rank": 4}], ids=["full", "lora"])
def test_every_precision_learns(tmp_path, precision, method):
    source = small.recipe(tmp_path, method=method, device="cuda", precision=precision, epochs=10, lr=5e-3)
    run = journey.train(source, run=tmp_path / "run").run
    losses = [step["loss"] for step in run.records("steps.jsonl")]
    assert sum(losses[-8:]) < 0.7 * sum(losses[:8])


def test_the_cpu_answers_as_the_gpu(tmp_path):
    run = journey.train(small.recipe(tmp_path, device="cuda"), run=tmp_path / "run").run
    texts = [row["text"] for row in rows(20, seed=3)]
    there, here = (Predictor.load(run.model, device).predict(texts) for device in ("cuda", "cpu"))
    assert max(abs(a.scores[k] - b.scores[k]) for a, b in zip(there, here, strict=True) for k in a.scores) < 1e-4


def test_half_precision_is_faster_at_the_shapes_of_a_real_layer():
    ceiling = measure_ceiling(torch.device("cuda"), 4096, 16384, 8192)
    assert ceiling.bf16 > 1.3 * ceiling.fp32
    assert ceiling.fp16 is not None
