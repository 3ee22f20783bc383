"""On a CUDA device: what the tests elsewhere show of the CPU, and what only a GPU can. `pytest -m gpu tests/gpu` takes a few minutes."""

import contextlib
import hashlib
import json
import warnings

import pytest
import torch

import languages
import septet
import small
from septet import journey
from septet.course import Course
from septet.engine import varlen
from septet.engine.compiled import no_compiler
from septet.engine.device import measure_ceiling
from septet.engine.passes import Passes
from septet.model.predictor import Predictor
from tiny import rows

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def recipe(folder, what="classify", **train):
    return small.of(what, folder, device=DEVICE, **train)


def trained(source, folder, name="run", **options):
    return journey.train(source, run=folder / name, **options)


def losses(run):
    return [step["loss"] for step in run.records("steps.jsonl")]


def why(run, key):
    line = next(line for line in (run.path / "recipe.yaml").read_text().splitlines() if line.strip().startswith(key))
    return line.partition("# why: ")[2]


def weights(run):
    return hashlib.sha256((run.model / "model.safetensors").read_bytes()).hexdigest()


def varlen_or_skip(dtype=torch.bfloat16):
    config = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    if reason := varlen.lacking(torch.device(DEVICE), dtype, config):
        pytest.skip(f"varlen_attn is not used on this machine: {reason}")


# ---- precision ----


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("method", ["full", {"name": "lora", "rank": 4}], ids=["full", "lora"])
def test_every_precision_learns(tmp_path, precision, method):
    source = small.recipe(tmp_path, method=method, device=DEVICE, precision=precision, epochs=10, lr=5e-3)
    del source["model"]["attention"]
    found = losses(trained(source, tmp_path).run)
    assert sum(found[-8:]) < 0.7 * sum(found[:8])


def test_eager_attention_drops_probabilities_by_row(tmp_path):
    source = recipe(tmp_path, precision="bf16")
    source["model"]["attention"] = "eager"
    assert all(0 < loss < 10 for loss in losses(trained(source, tmp_path).run))


def test_half_precision_is_faster_at_the_shapes_of_a_real_layer():
    ceiling = measure_ceiling(torch.device(DEVICE), 4096, 16384)
    assert ceiling.bf16 > 1.3 * ceiling.fp32
    assert ceiling.fp16 is not None


# ---- all rows in one call ----


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize(("heads", "pairs", "depth"), [(12, 12, 64), (8, 2, 128), (4, 4, 8), (4, 2, 96), (4, 1, 256)])
def test_varlen_agrees_with_a_call_a_row(dtype, heads, pairs, depth):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("flash attention begins with the Ampere generation")
    assert varlen._differs(torch.device(DEVICE), dtype, heads, pairs, depth) == ""


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_model_is_as_near_to_fp32_without_padding_as_with_it(kind):
    varlen_or_skip()
    from septet.engine import dropout
    from septet.engine.attention import FUSED, register_attention
    from septet.engine.step import backward, group_weights
    from septet.engine.unpad import onto, unpadder
    from septet.tasks import Example
    from septet.tasks.generate import Generate, Options

    register_attention()
    task, processor = Generate(Options(prompt="a", answer="b")), languages.tokenizer()
    examples = [
        Example(i, {"input_ids": [(7 * i + 11 * j) % 300 + 3 for j in range(n)], "supervised": [1] * n}, None, n, {})
        for i, n in enumerate([2, 5, 17, 64, 65, 200])
    ]

    def computed(dtype, *, laid):
        model = languages.model(kind, attention=FUSED).to(DEVICE)
        clock = dropout.install(model, 3)
        dropout.count_calls(model, clock)
        take_out = unpadder(model, clock, 320)
        assert take_out is not None
        model.to(dtype)
        clock.varlen = True
        batch = task.collate(examples, processor)
        batch = onto(take_out(batch) if laid else batch, torch.device(DEVICE))
        clock.set(batch.rows, 0, DEVICE)
        with clock.layout(batch.layout):
            logits = model(**batch.inputs).logits.detach().float()
            loss = backward(model, task, batch, group_weights(task, [batch]))
        real = logits[0, : sum(e.size for e in examples)] if laid else logits[batch.inputs["attention_mask"].bool()]
        gradients = torch.cat([p.grad.float().flatten() for p in model.parameters() if p.grad is not None])
        return real, gradients, loss

    exact, padded = computed(torch.float32, laid=False), computed(torch.bfloat16, laid=False)
    found = computed(torch.bfloat16, laid=True)
    for name, wanted, usual, ours in zip(("logits", "gradients"), exact, padded, found, strict=False):
        distance, beside = (float((x - wanted).norm() / wanted.norm()) for x in (ours, usual))
        assert distance <= 1.3 * beside + 1e-3, (name, distance, beside)
    assert float(found[2]) == pytest.approx(float(exact[2]), rel=2e-2)


@pytest.mark.parametrize("what", ["classify", "llama"])
def test_a_run_lays_its_rows_end_to_end(tmp_path, what, monkeypatch):
    varlen_or_skip()
    calls, real = [], varlen.at_once
    monkeypatch.setattr(varlen, "at_once", lambda *args: calls.append(1) or real(*args))
    run = trained(recipe(tmp_path, what, precision="bf16", epochs=2), tmp_path).run
    assert "one call of varlen_attn" in why(run, "attention:")
    assert calls
    found = losses(run)
    padded = trained(recipe(tmp_path, what, precision="bf16", epochs=2, pad="max_length"), tmp_path, "padded").run
    assert found == pytest.approx(losses(padded), rel=5e-2)


def test_fp32_keeps_its_padding_and_says_why(tmp_path):
    run = trained(recipe(tmp_path, precision="fp32"), tmp_path).run
    assert "it is for bf16 and fp16" in why(run, "attention:")


# ---- the same bytes ----


@pytest.mark.parametrize(
    ("what", "precision"), [("classify", "fp32"), ("classify", "bf16"), ("classify", "fp16"), ("llama", "bf16")]
)
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, what, precision):
    source = recipe(tmp_path, what, precision=precision, epochs=2, save_every=2)
    whole = trained(source, tmp_path, "whole").run
    with small.stopped_after(5):
        trained(source, tmp_path, "broken")
    resumed = trained(source, tmp_path, "broken", resume=True).run
    assert losses(resumed) == losses(whole)
    assert weights(resumed) == weights(whole)
    assert torch.get_deterministic_debug_mode() == 0, "as it was before"


@pytest.mark.parametrize("what", ["classify", "llama"])
def test_micro_batches_do_not_matter_on_a_gpu(tmp_path, what):
    one = trained(recipe(tmp_path, what, precision="fp32", token_budget=100_000), tmp_path, "one").run
    many = trained(recipe(tmp_path, what, precision="fp32", token_budget=48), tmp_path, "many").run
    assert losses(many) == pytest.approx(losses(one), rel=1e-3)


def test_what_is_computed_again_is_the_same(tmp_path):
    plain = trained(recipe(tmp_path, "llama", precision="bf16"), tmp_path, "plain").run
    again = trained(recipe(tmp_path, "llama", precision="bf16", activation_checkpointing=True), tmp_path, "again").run
    assert losses(again) == losses(plain)
    dropped = trained(recipe(tmp_path, precision="bf16"), tmp_path, "dropped").run
    again = trained(recipe(tmp_path, precision="bf16", activation_checkpointing=True), tmp_path, "redropped").run
    assert losses(again) == losses(dropped)


# ---- memory, speed ----


@contextlib.contextmanager
def narrow(monkeypatch, room):
    """Within, training has so many bytes beside what it holds when it begins; yields the bytes it held."""
    go, held = Course.go, []

    def go_narrowly(course):
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_reserved())
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if room is None else min(1.0, (held[0] + room) / total))
        torch.cuda.reset_peak_memory_stats()
        go(course)

    with monkeypatch.context() as patch:
        patch.setattr(Course, "go", go_narrowly)
        try:
            yield held
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)


def test_memory_that_runs_out_halves_the_micro_batches(tmp_path, monkeypatch):
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4}
    source = recipe(tmp_path, "llama", precision="bf16", token_budget=10**6, batch=32, max_steps=4)
    languages.folder(
        tmp_path / "wide", "llama", num_attention_heads=4, num_key_value_heads=2, **sizes, max_position_embeddings=512
    )
    long = [{"question": f"Where is {i}? " * 20, "reply": f"Parcel {i} is late. " * 20} for i in range(80)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    source["model"] = {"name": str(tmp_path / "wide")}
    with narrow(monkeypatch, None) as held:
        whole = trained(source, tmp_path, "whole")
    needed = whole.costs["peak_gpu_memory_bytes"] - held[0]
    assert whole.costs["memory_splits"] == 0
    with narrow(monkeypatch, int(0.6 * needed)):
        halved = trained(source, tmp_path, "halved")
    assert halved.costs["memory_splits"] >= 1
    assert losses(halved.run) == pytest.approx(losses(whole.run), rel=2e-2)


def test_check_says_what_the_gpu_will_hold(tmp_path):
    checked = journey.check(recipe(tmp_path, precision="bf16"), run=tmp_path / "run")
    assert 0 < checked.estimate["gpu_memory_bytes"] < torch.cuda.get_device_properties(0).total_memory
    assert "of the GPU's" in checked.text()


@pytest.mark.parametrize("what", ["classify", "llama"])
def test_an_update_waits_twice_for_the_gpu(tmp_path, what, monkeypatch):
    waits, run, record = [], Passes.run, Course._record

    def counted(self, *args):
        torch.cuda.set_sync_debug_mode("warn")
        return run(self, *args)

    def recorded(self, step):
        torch.cuda.set_sync_debug_mode("default")
        told = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
        waits.append(len(told))
        caught.clear()
        record(self, step)

    monkeypatch.setattr(Passes, "run", counted)
    monkeypatch.setattr(Course, "_record", recorded)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trained(recipe(tmp_path, what, precision="bf16"), tmp_path)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert min(waits) <= 2, waits


def test_compiled_layers_learn_as_plain_ones(tmp_path):
    if reason := no_compiler(DEVICE):
        pytest.skip(f"nothing can be compiled here: {reason}")
    plain = trained(recipe(tmp_path, "llama", precision="bf16"), tmp_path, "plain").run
    compiled = trained(recipe(tmp_path, "llama", precision="bf16", compile=True), tmp_path, "compiled").run
    assert losses(compiled) == pytest.approx(losses(plain), rel=2e-2)


@pytest.mark.parametrize("name", ["adamw8bit", "muon", "adafactor"])
def test_other_optimizers_go_on_where_they_stopped(tmp_path, name):
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    source = {**recipe(tmp_path, "llama", precision="bf16", save_every=2), "optimizer": name}
    whole = trained(source, tmp_path, "whole").run
    with small.stopped_after(3):
        trained(source, tmp_path, "broken")
    assert losses(trained(source, tmp_path, "broken", resume=True).run) == pytest.approx(losses(whole), rel=1e-4)


# ---- answers ----


def test_the_cpu_answers_as_the_gpu(tmp_path):
    run = trained(recipe(tmp_path, precision="bf16"), tmp_path).run
    texts = [row["text"] for row in rows(20, seed=3)]
    there, here = (Predictor.load(run.model, device).predict(texts) for device in (DEVICE, "cpu"))
    assert max(abs(a.scores[k] - b.scores[k]) for a, b in zip(there, here, strict=True) for k in a.scores) < 1e-4


def test_a_trained_model_answers_on_the_gpu_unasked(tmp_path):
    run = trained(recipe(tmp_path, "llama", precision="bf16"), tmp_path).run
    predictor = septet.load(run.path)
    assert predictor.device.type == DEVICE
    answers = predictor.predict([{"question": "Where is parcel 3?"}] * 3)
    assert len({answer.value for answer in answers}) == 1
    assert journey.evaluate(run.path).record["splits"]
