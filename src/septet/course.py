"""Between two updates: progress, validation, the best checkpoint, early stopping, checkpoints to resume from, time limits.

A `Course` is one training run under way, a plain loop around the engine's generator (`engine/loop.py`). `train.py` begins it and writes
what came of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from septet.engine import rollback
from septet.engine import state as states
from septet.engine.breakdown import Breakdown
from septet.engine.forecast import Forecast
from septet.engine.guard import GoBack, Guard, row_name
from septet.engine.loop import Step, train_steps
from septet.engine.machine import give_back
from septet.engine.optim import Optimizer
from septet.engine.ranks import here
from septet.engine.state import TrainState
from septet.engine.timing import Timer
from septet.engine.writer import Checkpoints
from septet.errors import SeptetError
from septet.interrupt import Interrupted, check, given_up, held
from septet.metrics import compute, higher_is_better, needs_texts
from septet.model.predictor import Predictor
from septet.progress import Listen, quiet
from septet.run import Run
from septet.setup import Setup
from septet.tasks import Prediction


class Course:
    """One training run under way: what the loop's caller owns.

    Args:
        run: where everything is written.
        setup: the run, ready to train.
        state: fresh, or from a checkpoint.
        listen: told of each step and validation.
        timer: of the whole run.
    """

    def __init__(
        self,
        run: Run,
        setup: Setup,
        state: TrainState,
        optimizer: Optimizer,
        listen: Listen = quiet,
        *,
        timer: Timer | None = None,
    ):
        self.run = run
        self.setup = setup
        self.state = state
        self.optimizer = optimizer
        self.listen = listen
        self.timer = timer or Timer()
        self.train: Any = setup.recipe.train
        self.breakdown: Breakdown | None = None
        self.every = evaluate_every(self.train.eval_every, setup.planner.groups_per_epoch)
        self.predictor = Predictor(setup.model, setup.task, setup.processor, length=setup.planner.length)
        self.predictor.halved = state.watch.answers_halved
        self.predictor.halves = optimizer.masters.cut is None
        self.guard = Guard(self.train.guard, state)
        self.checkpoints = Checkpoints(run, self.train.keep, keep_bests=self.guard.goes_back)
        self.stopped = "all planned updates done"
        self.committed = state.step
        self.began = self.saved = time.perf_counter()
        self.forecast = Forecast(
            setup.planner, setup.total, self.every, self.train.save_steps, estimate=estimated(run) or {}
        )
        self.flops = setup.flops_per_token

    def profile(self) -> None:
        """Look closely at where the updates to come spend their time."""
        train = self.train
        self.breakdown = Breakdown(
            self.setup.model,
            self.timer,
            updates=self.setup.total - self.state.step,
            precision=train.precision or "fp32",
            compiled=bool(train.compile),
        )

    def go(self) -> None:
        """Train to the end, or until something stops the run; what was saved is durable when it returns or raises.

        Raises:
            Interrupted: a signal came; the update that was under way is done and committed.
        """
        with held():
            try:
                self._go()
            except Interrupted as stop:
                if not stop.at_once and self.committed < self.state.step and self._trusted():
                    self.save()
                self.checkpoints.finish()
                stop.step = self.committed
                raise
            except BaseException as cause:
                here().warn(cause)  # a commit that all take part in must not wait for this one
                try:
                    self.checkpoints.finish()
                except Exception as error:  # the error under way is the one to raise
                    self.listen("note", text=f"the last checkpoint could not be saved: {error}")
                raise
            with self.timer("saving"):
                self.checkpoints.finish()

    def release(self) -> None:
        """Give back the memory that training alone needs, before the artifact is made: of the model its shapes remain. Nothing can be trained afterwards."""
        masters = self.optimizer.masters
        if masters.cut is None:
            self.setup.model.to("meta")
        masters.release()
        del self.optimizer
        self.setup.states = None
        self.checkpoints.release()
        give_back()

    def _go(self) -> None:
        if self.state.owes:  # stopped by a signal before or within the validation of this update
            self.validate(self.state.step)
            self.save()
        if reason := self._stop(True):  # resumed after it had stopped early, and before it was finished
            self.stopped = reason
            return None
        if self.guard.goes_back and self.state.step == 0:
            self.save()
        while True:
            try:
                return self._follow()
            except GoBack as cause:
                self._go_back(cause)

    def _follow(self) -> None:
        """Take update after update, and what is due between two of them."""
        setup, state = self.setup, self.state
        splits, look, keep = state.watch.splits, False, False
        steps = train_steps(
            setup.model,
            setup.task,
            self.optimizer,
            setup.source(),
            state,
            rates=setup.rates(),
            clock=setup.clock,
            guard=self.guard,
            scaled=self.train.precision == "fp16",
            timer=self.timer,
        )
        for step in steps:
            self.checkpoints.check()
            if self.breakdown is not None:
                self.breakdown.after(step)
            self._record(step)
            look |= step.step % self.every == 0 or step.step == setup.total
            # once memory ran out, the smaller micro-batches are to outlive the process
            keep |= self._save_due(step.step) or state.watch.splits > splits
            if self.guard.doubts and step.step < setup.total:
                check()
                continue  # what is due waits until the weights are trusted again
            if look or keep:
                self._see_weights()
            if look:
                state.owes = True
                self.validate(step.step)
            if look or keep:
                self.save()
            looked, splits, look, keep = look, state.watch.splits, False, False
            if reason := self._stop(looked):
                self.stopped = reason
                if not looked:
                    self._see_weights()
                    self.validate(step.step)
                    self.save()
                break
            check()

    def validate(self, step: int) -> None:
        """Score the validation rows, and keep the weights if they are the best so far."""
        with self._priced("validation"):
            self._validate(step)
        self.state.owes = False

    def _validate(self, step: int) -> None:
        self.optimizer.masters.settle()
        if not self.setup.validation:  # nothing chooses: the last weights are the ones to keep
            self._keep_best(step, None)
            return
        with given_up():
            scores = self.score()
        self.state.evaluations += 1
        record = {
            "step": step,
            "epoch": round(step / self.setup.planner.groups_per_epoch, 4),
            "split": "validation",
            **scores,
        }
        self.run.append("evaluations.jsonl", record)
        metric, value, best = self.train.metric, scores[self.train.metric], self.state.best
        sign = 1.0 if higher_is_better(metric) else -1.0
        gain = None if best is None else sign * (value - best["value"])
        # few validation rows tie often; the lower loss is then the finer measure. It is no gain that early stopping waits for
        if best is None or gain is None or gain > 0 or (gain == 0 and scores["loss"] < best.get("loss", -math.inf)):
            self._keep_best(step, value, scores["loss"])
        margin = 0.0 if self.train.early_stopping is None else self.train.early_stopping.min_delta
        self.state.waits = 0 if gain is None or gain > margin else self.state.waits + 1
        self.listen("evaluation", step=step, epoch=record["epoch"], scores=scores, metric=metric, best=self.state.best)

    def score(self) -> dict[str, float]:
        """Return the task's metrics and the loss on the validation rows, which the ranks share."""
        setup = self.setup
        with self._in_step():
            measured = _shared(setup.validation, self._measure)
        wanted = {*(setup.recipe.evaluate.metrics or setup.task.metrics), self.train.metric, setup.task.loss_metric}
        # answers are written only where the checkpoint is chosen by them: that takes its time
        writes = needs_texts(self.train.metric)
        written = _shared(setup.validation_rows, self.predictor.predict) if writes else None
        self.state.watch.answers_halved = self.predictor.halved
        names = sorted(name for name in wanted if writes or not needs_texts(name))
        found = compute(names, setup.task.judge(setup.validation_rows, measured, written))
        return {"loss": found[setup.task.loss_metric], **found}

    def _measure(self, rows: Any) -> list[Prediction]:
        kept = self.setup.states and self.setup.states.validation
        return self.predictor.measure(rows, kept)

    def _in_step(self) -> AbstractContextManager[None]:
        """Let the processes that a model is divided over make as many passes each."""
        if self.optimizer.masters.cut is None:
            return nullcontext()
        return here().in_step(self.setup.model, lambda: self.predictor.measure([self.setup.validation[0][:1]]))

    def save(self) -> None:
        """Begin to commit a checkpoint to resume from; `checkpoints.finish()` waits until it is durable."""
        self.saved = time.perf_counter()
        self.committed = self.state.step
        if not here().lead and self.optimizer.masters.cut is None:
            return
        with self._priced("saving"):
            self.state.spent = self.timer.settle()
            self.checkpoints.save(self.state, self.optimizer)

    def _go_back(self, cause: GoBack) -> None:
        """Return to an earlier checkpoint, and say so."""
        with here().lead_first("go back"):
            self.checkpoints.finish()  # the newest one may be the one to return to
            entry = rollback.go_back(self.run, self.state, self.optimizer, cause)
        self.committed = self.state.step
        seek_best_anew(self.run, self.state, self.listen)
        self.listen(
            "note",
            text=f"went back from update {entry['at']:,} to the checkpoint after update {entry['to']:,}: {entry['reason']}; "
            f"the learning rate is {entry['watch']['lr_scale']:g} times the planned one from here",
        )

    @contextmanager
    def _priced(self, part: str) -> Iterator[None]:
        """Count what is done within as `part`, and let the forecast know what one of it takes."""
        began = time.perf_counter()
        with self.timer(part):
            yield
        self.forecast.took(part, time.perf_counter() - began)

    def _trusted(self) -> bool:
        """Whether the weights may be saved; where not, the updates since the last checkpoint are made again."""
        if self.guard.doubts:
            return False
        try:
            self._see_weights()
        except SeptetError:
            return False
        return True

    def _see_weights(self) -> None:
        self.guard.see_weights(self.optimizer.masters.tensors | self.optimizer.state())

    def _record(self, step: Step) -> None:
        setup, ceiling = self.setup, self.setup.ceiling.rate(self.train.precision or "fp32") * 1e9
        record = {
            "step": step.step,
            "loss": step.loss,
            "lr": step.lr,
            "grad_norm": step.grad_norm,
            "tokens": step.tokens,
            "rows": step.rows,
            "seconds": round(step.seconds, 6),
        }
        if step.skipped:
            record["skipped"] = True
        if step.reason is not None:
            record["reason"] = step.reason
            rows = [row_name(row) for row in step.faulty]
            self.run.event("update-left-out", step=step.step, reason=step.reason, rows=rows)
            self.listen("note", text=f"update {step.step:,} was left out: {step.reason}")
        self.run.append("steps.jsonl", record)
        left_s = self.forecast.step(
            step.step, tokens=step.tokens, seconds=step.seconds, gone_s=sum(self.timer.settle().values())
        )
        self.listen(
            "step",
            step=step.step,
            total=setup.total,
            loss=step.loss,
            lr=step.lr,
            tokens_per_s=step.tokens / step.seconds,
            share=step.tokens * self.flops / step.seconds / ceiling,
            left_s=left_s,
        )

    def _keep_best(self, step: int, value: float | None, loss: float | None = None) -> None:
        # the save that follows keeps the weights
        self.state.best = {"step": step, "metric": self.train.metric, "value": value, "loss": loss}

    def _save_due(self, step: int) -> bool:
        steps, wait_s = self.train.save_steps, self.train.save_every_s
        if steps is not None:
            return step % steps == 0
        return wait_s is not None and here().decide(lambda: time.perf_counter() - self.saved >= wait_s)

    def _stop(self, evaluated: bool) -> str | None:
        stopping = self.train.early_stopping
        if evaluated and stopping is not None and self.state.waits >= stopping.patience:
            return f"early: {self.train.metric} did not improve by more than {stopping.min_delta:g} in {self.state.waits} evaluation{'s' * (self.state.waits != 1)}"
        if self.train.max_time_s and here().decide(self._late):
            return f"train.max_time={self.train.max_time} was reached"
        return None

    def _late(self) -> bool:
        return time.perf_counter() - self.began > self.train.max_time_s


def _shared(rows: Sequence[Any], ask: Callable[[Any], list[Prediction]]) -> list[Prediction]:
    """Return a prediction of each row, each rank answering some and all of them hearing all."""
    ranks = here()
    if ranks.world == 1:
        return ask(rows)
    told = ranks.gather([asdict(p) for p in ask(rows[ranks.rank :: ranks.world])])
    return [Prediction(**told[i % ranks.world][i // ranks.world]) for i in range(len(rows))]


def seek_best_anew(run: Run, state: TrainState, listen: Listen = quiet) -> None:
    """Forget a best validation whose weights are no longer there."""
    if state.best is not None and states.load_best(run.checkpoints, state.best["step"]) is None:
        listen(
            "note", text=f"the best weights (step {state.best['step']:,}) are gone or damaged; the best is sought anew"
        )
        state.best, state.waits = None, 0


def estimated(run: Run) -> dict[str, Any] | None:
    """Return what `check` said that a run would take; None where it was not asked."""
    return run.read_json("check.json")["estimate"] if (run.path / "check.json").exists() else None


def evaluate_every(wanted: str | float, groups: int) -> int:
    """Return the updates between two validations: an epoch's, a number of steps, or a share of an epoch."""
    if wanted == "epoch":
        return groups
    return max(1, round(wanted * groups)) if isinstance(wanted, float) else int(wanted)
