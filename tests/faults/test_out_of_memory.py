"""Memory that runs out: in a forward or backward pass the same update is made in smaller micro-batches; within the optimizer's step the run goes back."""

import math
import subprocess
import sys
from pathlib import Path

import planted
import pytest
import torch

import small
from septet.check import check
from septet.engine import passes
from septet.engine.optim import AdamW
from septet.engine.state import TrainState, load_latest
from septet.errors import ResourceError, explain_foreign, out_of_memory
from septet.model.predictor import TOKENS, Predictor
from septet.tasks.classify import Classify
from septet.train import train
from tiny import bench

ERRORS = [
    torch.OutOfMemoryError("planted"),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("std::bad_alloc"),
]


class Short:
    """A machine in which no more than so many rows of a micro-batch fit, in the forward or in the backward pass."""

    def __init__(self, patch, rows, *, place="forward", error=ERRORS[0]):
        self.failed, self.rows, self.error = 0, rows, error
        forward, backward = Classify.loss, passes.backward

        def short_forward(task, model, batch):
            if place == "forward" and model.training:
                self.look(batch)
            return forward(task, model, batch)

        def short_backward(model, task, batch, totals, **options):
            found = backward(model, task, batch, totals, **options)
            if place == "backward":
                if len(batch) > self.rows:  # a gradient that never reached its master
                    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
                self.look(batch)
            return found

        patch.setattr(Classify, "loss", short_forward)
        patch.setattr(passes, "backward", short_backward)

    def look(self, batch):
        if len(batch) > self.rows:
            self.failed += 1
            raise self.error


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_what_says_that_memory_ran_out(error):
    assert out_of_memory(error)
    assert isinstance(explain_foreign(error), ResourceError)
    assert not out_of_memory(RuntimeError("shapes do not fit"))
    assert not out_of_memory(ResourceError("The machine ran out of memory."))


def gradients(folder, patch, rows, *, place, precision, error):
    """Return the first update's gradients, and how often memory ran out."""
    b = bench(folder, count=16, precision=precision)
    taken = {}
    real = AdamW.step

    def keep(self, lr, factor=1.0):
        for name in self.names:
            grad = self.masters.gradient(name)
            if grad is not None:
                taken.setdefault(name, grad.detach().float().clone())
        real(self, lr, factor)

    patch.setattr(AdamW, "step", keep)
    short = Short(patch, rows, place=place, error=error)
    state = TrainState()
    steps = b.steps(b.planner(batch=16, budget=10**6), b.optimizer(), total=2, state=state)
    return torch.cat([g.flatten() for g in taken.values()]), short.failed, state, steps


@pytest.mark.parametrize("place", ["forward", "backward"])
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_the_update_stays_the_same(tiny_bert, place, rows, precision, tolerance):
    options = {"place": place, "precision": precision, "error": ERRORS[rows % len(ERRORS)]}
    with pytest.MonkeyPatch.context() as patch:
        whole, none, _, plain = gradients(tiny_bert, patch, 100, **options)
    with pytest.MonkeyPatch.context() as patch:
        halved, failed, state, steps = gradients(tiny_bert, patch, rows, **options)
    assert none == 0
    assert 1 <= failed <= math.log2(16) + 1
    assert state.watch.splits == failed, "the next updates begin with micro-batches that fit"
    assert state.watch.micro_batch <= rows
    assert float((halved - whole).norm() / whole.norm()) < tolerance
    assert [step.rows for step in steps] == [step.rows for step in plain]


def test_one_row_that_does_not_fit_is_a_clear_error(tiny_bert):
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ResourceError, match="micro-batches of one row") as caught,
    ):
        gradients(tiny_bert, patch, 0, place="forward", precision="fp32", error=ERRORS[1])
    assert "model.max_length" in str(caught.value)


def begin(folder, name, **changes):
    return small.begin(small.recipe(folder, **{"epochs": 1, "token_budget": 10_000, **changes}), folder / name)


def stop_at(number):
    def listen(event, **facts):
        if event == "step" and facts["step"] == number:
            raise KeyboardInterrupt

    return listen


def test_the_limit_outlives_the_process(tmp_path, monkeypatch):
    """Memory is short at update 3 only; the resumed run keeps to the smaller micro-batches, and ends in the same bytes."""

    def short_at_3(patch):
        updates, real = planted.Updates(patch), Classify.loss

        def loss(self, model, batch):
            if model.training and updates.now == 3 and len(batch) > 2:
                raise MemoryError
            return real(self, model, batch)

        patch.setattr(Classify, "loss", loss)

    made = {}
    for name in ("whole", "broken"):
        recipe, made[name] = begin(tmp_path, name, save_every=100)
        with monkeypatch.context() as patch:
            short_at_3(patch)
            if name == "whole":
                assert train(recipe, made[name]).costs["memory_splits"] == 2
            else:
                with pytest.raises(KeyboardInterrupt):
                    train(recipe, made[name], listen=stop_at(5))
        if name == "broken":
            assert load_latest(made[name].checkpoints).state.watch.micro_batch == 2
            train(recipe, made[name], resume=True)
    assert small.steps(made["broken"].path) == small.steps(made["whole"].path)
    models = [(run.model / "model.safetensors").read_bytes() for run in made.values()]
    assert models[0] == models[1]


def fail_in_step(patch, calls):
    """Let memory run out after half of the weights moved."""
    real, made = AdamW.step, [0]

    def step(self, lr, factor=1.0):
        made[0] += 1
        if made[0] in calls:
            for name in self.names[::2]:
                self.masters.tensors[name].data.add_(1.0)
            raise torch.OutOfMemoryError("planted")
        real(self, lr, factor)

    patch.setattr(AdamW, "step", step)


def test_within_the_optimizers_step(tmp_path, monkeypatch):
    recipe, whole = begin(tmp_path, "whole")
    train(recipe, whole)
    recipe, run = begin(tmp_path, "run")
    with monkeypatch.context() as patch:
        fail_in_step(patch, {4})
        assert train(recipe, run).costs["rollbacks"] == 1
    assert small.steps(run.path) == small.steps(whole.path)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    for calls, saved in (({1}, None), (set(range(4, 99)), 2)):
        recipe, run = begin(tmp_path, f"stop-{len(calls)}")
        with monkeypatch.context() as patch:
            fail_in_step(patch, calls)
            with pytest.raises(ResourceError, match="within the optimizer's step of update"):
                train(recipe, run)
        found = load_latest(run.checkpoints)
        assert (found and found.state.step) == saved
        train(recipe, run, resume=True)
        assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_validation_halves_its_batches(tiny_bert):
    b = bench(tiny_bert, count=16)
    encoded = [[example] for example in b.examples]
    expected = Predictor(b.model, b.task, b.processor).measure(encoded)
    real = Classify.predict

    def short(self, model, batch, *args):
        if len(batch) > 3:
            raise MemoryError
        return real(self, model, batch, *args)

    def none(*args):
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classify, "predict", short)
        predictor = Predictor(b.model, b.task, b.processor)
        answers = predictor.measure(encoded)
        assert predictor.halved > 3
        assert [a.row for a in answers] == [a.row for a in expected]
        for answer, other in zip(answers, expected, strict=True):
            assert answer.value == other.value
            assert answer.scores == pytest.approx(other.scores, abs=1e-5)
        patch.setattr(Classify, "predict", none)
        with pytest.raises(ResourceError, match="while it answered one row"):
            Predictor(b.model, b.task, b.processor).measure(encoded)


def test_validation_of_a_run_keeps_its_smaller_batches(tmp_path, monkeypatch):
    real = Classify.predict

    def short(self, model, batch, *args):
        if len(batch) > 4:
            raise MemoryError
        return real(self, model, batch, *args)

    recipe, run = begin(tmp_path, "run", eval_every=2, max_steps=4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Classify, "predict", short)
        train(recipe, run, listen=stop_at(3))
    halved = load_latest(run.checkpoints).state.watch.answers_halved
    assert halved > 0
    budgets = []
    within = Predictor._answer_within

    def told(self, encoded, ask, embed, budget, batched):
        budgets.append(budget)
        return within(self, encoded, ask, embed, budget, batched)

    monkeypatch.setattr(Predictor, "_answer_within", told)
    train(recipe, run, resume=True)
    assert budgets[0] == TOKENS >> halved


def test_a_rehearsal_halves_as_the_run_would(tmp_path, monkeypatch):
    """`check` takes real updates in an order of its own; what is short there is short in the run."""
    recipe, run = begin(tmp_path, "run")
    short = Short(monkeypatch, 3, error=ERRORS[2])
    assert check(recipe, run).estimate["steps"] == 7
    assert short.failed > 0


LIMITED = """
import resource, sys
sys.path[:0] = [{tests!r}]
import torch
from pathlib import Path
from septet.engine.state import TrainState
from tiny import bench

b = bench(Path({model!r}), count=1024)
state, optimizer = TrainState(), b.optimizer()
b.steps(b.planner(batch=8), optimizer, total=2, state=state)
state = TrainState()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20, resource.RLIM_INFINITY))
(step,) = b.steps(b.planner(batch=1024, budget=10**6, length=40), optimizer, total=1, state=state)
assert step.rows == 1024 and step.loss > 0, step
print("splits", state.watch.splits)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_that_may_have_no_more_memory(tiny_bert):
    """The real thing: the kernel refuses the memory, PyTorch's allocator says so, and the update is made all the same."""
    script = LIMITED.format(tests=str(Path(__file__).parent.parent), model=str(tiny_bert))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= 1
