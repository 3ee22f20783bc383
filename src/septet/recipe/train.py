"""The section `train`: how the model learns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from septet.recipe.block import Block, Count, Positive, Problem, Text, Whole, key, unregistered

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


class EarlyStopping(Block):
    """Stop when validation no longer improves."""

    patience: Count = key(means="Evaluations without improvement that are waited for.", unit="evaluations", example=3)
    min_delta: Annotated[float, Field(ge=0)] = key(
        0.0,
        "Smallest change of the metric that counts as improvement.",
        why="any improvement counts",
        change="the metric jitters",
    )


class Guarding(Block):
    """What happens before an update whose loss or gradient is no number, or whose loss leaps; `engine/guard.py` does it."""

    not_finite: Literal["stop", "skip", "rollback"] = key(
        "stop",
        "Where a loss, a gradient, an input or a row's weight is NaN or infinite: stop, leave this update out, or go back to a checkpoint from before at half the learning rate.",
        why="outside fp16 such a number is a defect of the data or the model, which a run that goes on would hide",
        change="nobody watches the run (skip), or it diverges now and then (rollback)",
    )
    spike: Literal["off", "stop", "skip", "rollback"] = key(
        "off",
        "Where the loss stays far above its mean for several updates: nothing, stop, leave these updates out, or go back to a checkpoint from before at half the learning rate.",
        why="where losses are near 0, a few wrong rows in several updates in a row look like a spike",
        change="the run is long, or its losses are means over many tokens (rollback)",
    )
    factor: Annotated[float, Field(gt=1)] = key(
        2.0, "A loss is high from so many times the mean of the last ones.", why="LLM Foundry's rule"
    )
    window: Count = key(
        100, "Losses that the mean is of; fewer while a run is young.", unit="updates", why="LLM Foundry's rule"
    )
    patience: Count = key(
        5,
        "High losses in a row that make a spike.",
        unit="updates",
        why="LLM Foundry's rule: one bad batch is none",
        change="a single high loss is to count (1)",
    )


Passes = Annotated[float, Field(gt=0, le=1_000_000)]


class Train(Block):
    """How the model learns: length, update size, learning rate, precision, evaluation, stopping."""

    epochs: Passes | None = key(
        None,
        "Passes over the training rows.",
        why="derived from method and number of rows",
        change="the report says under- or overfitting",
        example=3,
    )
    max_steps: Count | None = key(
        None,
        "Updates at most; with epochs, what comes first ends the run.",
        unit="steps",
        why="epochs decide",
        example=500,
    )
    batch: Count | None = key(
        None,
        "Rows in one update.",
        unit="rows",
        why="derived from the number of rows",
        change="the loss is noisy (more) or rows are few (less)",
        example=32,
    )
    micro_batch: Count | None = key(
        None,
        "Rows in one forward pass at most; speed and memory only, the update stays the same.",
        unit="rows",
        why="token_budget decides",
        change="memory is short",
        example=8,
    )
    token_budget: Count | None = key(
        None,
        "Tokens in one forward pass; speed and memory only, the update stays the same.",
        unit="tokens",
        why="derived: what fills this kind of device",
        change="memory is short",
        example=4096,
    )
    pad: Literal["longest", "max_length"] = key(
        "longest",
        "Pad to the longest row of a micro-batch, or always to max_length.",
        why="padding is work without result",
        change="you repeat a recipe that padded to the maximum",
    )
    batch_norm: Literal["frozen", "recalibrated"] | None = key(
        None,
        "Statistics of batch norms (ResNet, MobileNet): the checkpoint's, or computed once from up to 1,024 training rows; constant in training either way.",
        why="derived where the model has some: frozen; recalibrated for a new model",
        change="your pictures look unlike those of the checkpoint (recalibrated)",
        example="frozen",
    )
    lr: Positive | None = key(
        None,
        "Peak learning rate.",
        why="derived from the method",
        change="the loss diverges (lower) or hardly falls (higher)",
        example=1e-4,
    )
    schedule: Literal["linear", "cosine", "constant"] = key(
        "linear",
        "How lr falls after the warm-up.",
        why="the usual choice for fine-tuning",
        change="the run may be prolonged (constant)",
    )
    warmup: Whole | Annotated[float, Field(ge=0)] = key(
        0.06,
        "Rise of lr at the start: a share of all steps below 1, else a number of steps.",
        why="6 %, as in RoBERTa",
        change="the first steps are unstable (more)",
        example=0.06,
    )
    weight_decay: Annotated[float, Field(ge=0)] = key(
        0.01,
        "Decoupled weight decay of matrices (never of biases and norms).",
        why="the usual choice for fine-tuning",
        change="the model overfits (more)",
    )
    clip: Positive | None = key(
        1.0,
        "Largest gradient norm; null turns clipping off.",
        why="tames a single bad step, leaves others alone",
        change="spikes remain (lower)",
    )
    seed: Whole = key(
        42,
        "Seed of everything random in training.",
        why="fixed, so that the run can be repeated",
        change="the spread over seeds matters",
    )
    precision: Literal["fp32", "bf16", "fp16"] | None = key(
        None,
        "Number format of the forward and backward pass.",
        why="derived from a measurement of this machine",
        example="fp32",
    )
    compile: bool | None = key(
        None,
        "Compile decoder layers, feed-forward blocks, norms, the loss and, in bf16 on a CPU, AdamW with torch.compile.",
        why="derived: decoders that learn for minutes, where a compiler works; compiling takes half a minute",
        change="that is not worth waiting for, or worth more",
        example=False,
    )
    kernels: bool | None = key(
        None,
        "Compute attention within rows, dropout with its residual and norm, and AdamW by Septet's own kernels, compiled once by the system's C++ compiler; for bf16 on a CPU with AMX or the bf16 instructions of AVX-512.",
        why="derived: where they work and the run is longer than compiling them",
        change="no compiler may run",
        example=False,
    )
    activation_checkpointing: bool | None = key(
        None,
        "Keep of each layer its input alone, and compute the rest again in the backward pass; the update stays the same.",
        why="derived: a third more work in each update, so only where the longest row has no room in memory without it",
        change="memory is needed for something else, or runs out",
        example=True,
    )
    cache_frozen: bool | None = key(
        None,
        "Compute what lies below everything that learns once, and begin each epoch at its kept hidden states; the update stays the same.",
        why="derived: frozen lower parts, where more than one epoch is trained and the disk has room",
        change="the disk is small, or one epoch is run several times over the same rows",
        example=False,
    )
    shard: bool = key(
        False,
        "Divide weights, gradients, masters and moments over the processes of torchrun; with one process there is nothing to divide.",
        why="a model that fits is faster whole: what is divided is sent in each pass",
        change="weights, masters and moments do not fit on one device",
        example=True,
    )
    threads: Count | None = key(
        None,
        "CPU threads; another number gives other rounding.",
        why="derived: the cores of this machine",
        change="the machine is shared",
        example=2,
    )
    device: Literal["cpu", "cuda", "mps"] | None = key(
        None, "Where to compute.", why="derived: the best that is there", example="cpu"
    )
    eval_every: Literal["epoch"] | Count | Positive = key(
        "epoch",
        "When validation is scored: epoch, a whole number of steps, or a share of an epoch such as 0.25.",
        why="one look an epoch",
        change="epochs are long",
        example="epoch",
    )
    save_every: Count | Text | None = key(
        "5m",
        "Checkpoint for resuming, besides each evaluation: after every N steps, or after a time such as 90s, 5m or 1h; null saves at evaluations only.",
        unit="steps, or a time",
        why="five minutes are the most that a kill loses; saving costs well below 3 % of them",
        change="the machine may be taken away at any moment (less), or checkpoints are very large (more)",
        example="5m",
    )
    keep: Count = key(
        2,
        "Checkpoints kept: the newest; the best is always kept.",
        unit="checkpoints",
        why="one to resume from, and one in reserve",
        change="the disk is small or you compare checkpoints",
    )
    early_stopping: EarlyStopping | None = key(
        None,
        "Stop when validation no longer improves.",
        why="off: the best checkpoint is kept anyway",
        change="time matters",
        example={"patience": 3},
    )
    guard: Guarding = key(
        Guarding(),
        "What happens before an update whose loss or gradient is no number, or whose loss leaps.",
        why="a number that is none never reaches a weight",
        example={"not_finite": "skip", "spike": "rollback"},
    )
    metric: Text | None = key(
        None,
        "Validation metric that chooses the best checkpoint; of equal scores the one with the lower loss.",
        why="derived: the task's primary metric",
        example="f1",
    )
    max_time: Text | None = key(
        None,
        "Stop cleanly after this time, with an artifact: 45s, 30m, 1h30m.",
        why="no limit",
        change="the machine is rented",
        example="30m",
    )

    @property
    def max_time_s(self) -> int | None:
        """The time limit in seconds."""
        return None if self.max_time is None else seconds(self.max_time)

    @property
    def save_steps(self) -> int | None:
        """The updates between two checkpoints, where they are counted in updates."""
        return self.save_every if isinstance(self.save_every, int) else None

    @property
    def save_every_s(self) -> int | None:
        """The seconds between two checkpoints, where they are counted in time."""
        return seconds(self.save_every) if isinstance(self.save_every, str) else None

    def problems(self) -> Iterator[Problem]:
        if isinstance(self.warmup, float) and self.warmup >= 1 and not self.warmup.is_integer():
            yield Problem("warmup", "must be a share below 1 or a whole number of steps.", "warmup: 0.06")
        elif self.max_steps is not None and self.warmup >= 1 and self.warmup > self.max_steps:
            yield Problem(
                "warmup", f"is longer than the whole run (train.max_steps is {self.max_steps}).", "warmup: 0.06"
            )
        if self.batch is not None and self.micro_batch is not None and self.micro_batch > self.batch:
            yield Problem(
                "micro_batch", f"must not be above train.batch, which is {self.batch}.", f"micro_batch: {self.batch}"
            )
        if self.keep < 2 and "rollback" in (self.guard.not_finite, self.guard.spike):
            yield Problem(
                "keep",
                "must be at least 2 where train.guard says rollback: the newest may be what diverges.",
                "keep: 2",
            )
        yield from unregistered("metric", "metric", [self.metric] if self.metric else [])
        if self.max_time is not None and not seconds(self.max_time):
            yield Problem("max_time", "must be a time such as 45s, 30m or 1h30m.", "max_time: 30m")
        if isinstance(self.save_every, str) and not seconds(self.save_every):
            yield Problem("save_every", "must be a number of steps, or a time such as 90s, 5m or 1h.", "save_every: 5m")
        if self.precision == "fp16" and self.device == "cpu":
            yield Problem(
                "precision",
                "cannot be fp16 on the cpu: half precision trains only with loss scaling on a GPU.",
                "precision: auto",
            )


def seconds(text: str) -> int:
    """Return the seconds in a time such as 1h30m; 0 when it is none."""
    match = _DURATION.fullmatch(text.replace(" ", ""))
    hours, minutes, rest = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return hours * 3600 + minutes * 60 + rest
