"""The sections after training: `evaluate`, `deploy`, `serve`, `monitor`, and `run`, the run folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from septet.recipe.block import Block, Count, Problem, Text, Whole, key, unregistered

_Inside = Annotated[float, Field(gt=0, lt=1)]


class Evaluate(Block):
    """How the tuned model is scored, and what it is compared with."""

    metrics: Annotated[list[Text], Field(min_length=1)] | None = key(
        None, "Metrics to report.", why="derived: all metrics of the task", example=["accuracy", "f1"]
    )
    baselines: list[Text] | None = key(
        None,
        "Cheap answers measured beside the model.",
        why="derived: those of the task; fine-tuning has to beat them",
        change="one of them is too slow",
        example=["majority"],
    )
    shots: Count = key(
        4,
        "Training rows that the baseline few_shot shows to the base model.",
        unit="rows",
        why="more than four rarely change what a small model answers",
        change="there are many labels; each should be shown once",
    )
    prompt: Text | None = key(
        None,
        "What zero_shot and few_shot let a causal base model continue: {text}, then {label}.",
        why="Text: {text}, a new line, Label: {label}",
        change="the model knows a better wording",
        example="Review: {text}\nSentiment: {label}",
    )
    base: bool = key(
        True,
        "Let the model before tuning answer too, where the task writes texts.",
        why="what tuning was worth is the first question",
        change="the base model is large and slow",
    )
    written: Whole = key(
        200,
        "Rows of each split that answers are written to, where the task writes texts; the loss is measured on all.",
        unit="rows",
        why="writing takes a pass for each token; 200 rows bound a score to a few points",
        change="the intervals are too wide; 0 writes none",
    )
    bootstrap: Annotated[int, Field(ge=100)] = key(
        1000, "Resamples behind each interval.", unit="resamples", why="bounds steady to about a tenth of their width"
    )
    confidence: _Inside = key(0.95, "Share of intervals that hold the true value.", why="the usual choice")
    seed: Whole = key(42, "Seed of the resampling.", why="fixed, so that the scores can be repeated")
    train_sample: Whole = key(
        1000,
        "Training rows scored to see over- or underfitting.",
        unit="rows",
        why="enough to see a gap of three points",
        change="the diagnosis should rest on more rows; 0 turns it off",
    )
    worst: Whole = key(20, "Most confident mistakes shown in the report.", unit="rows", why="what a person reads")

    def problems(self) -> Iterator[Problem]:
        yield from unregistered("metric", "metrics", self.metrics or [])
        yield from unregistered("baseline", "baselines", self.baselines or [])
        if self.prompt is not None and not 0 <= self.prompt.find("{text}") < self.prompt.find("{label}"):
            yield Problem(
                "prompt", "must hold {text} and, after it, {label}.", 'prompt: "Review: {text}\\nSentiment: {label}"'
            )


class Deploy(Block):
    """Which packages are written, and how their equality is proven."""

    exports: list[Text] = key(["hf"], "Formats to write.", why="loads in transformers as it is", example=["hf"])
    verify_rows: Count = key(
        100,
        "Rows answered by the model and by each package, and compared.",
        unit="rows",
        why="seconds, and every label occurs",
    )

    def problems(self) -> Iterator[Problem]:
        yield from unregistered(
            "export",
            "exports",
            self.exports,
            sure=Deploy.model_fields["exports"].get_default(call_default_factory=True),
        )


class Serve(Block):
    """The HTTP server: address, batching, limits, request log."""

    host: Text = key(
        "127.0.0.1",
        "Address to listen on.",
        why="this machine only; another address needs a token in SEPTET_TOKEN",
        change="a proxy in front guards it",
    )
    port: int = key(8000, "Port to listen on; 0 takes a free one.", why="the usual choice", ge=0, le=65535)
    max_batch: Count = key(
        32,
        "Requests answered in one forward pass at most.",
        unit="rows",
        why="throughput hardly grows beyond it on a CPU",
    )
    max_wait_ms: Annotated[float, Field(ge=0)] = key(
        5.0, "Longest wait for more requests to share a pass.", unit="milliseconds", why="below what a caller notices"
    )
    queue: Count = key(
        256, "Requests that may wait; more are refused with status 429.", unit="requests", why="a few seconds of work"
    )
    max_body_bytes: Count = key(
        1_000_000,
        "Largest request body.",
        unit="bytes",
        why="a megabyte of text is a long document",
        change="callers send large batches",
    )
    max_depth: Count = key(20, "Deepest nesting of a JSON body.", unit="levels", why="no honest request nests deeper")
    log: bool = key(True, "Keep a request log for monitor.", why="monitoring needs it", change="nothing may be kept")
    log_text: bool = key(
        False,
        "Keep the text of each request in the log.",
        why="text may be private; embeddings are enough to see drift",
        change="you may keep it and want to read it",
    )


class Monitor(Block):
    """The drift tests on the request log."""

    false_alarm: _Inside = key(
        0.01,
        "Probability of an alarm when nothing has changed, for all tests together.",
        why="one false alarm in a hundred looks",
        change="looks are frequent (lower)",
    )
    min_requests: Annotated[int, Field(ge=2)] = key(
        50,
        "Fewer requests are answered with: not enough data.",
        unit="requests",
        why="below it only gross drift is visible",
    )
    permutations: Count = key(
        1000, "Permutations of the two-sample test.", unit="permutations", why="resolves probabilities down to 0.001"
    )
    window: Count | None = key(
        None,
        "Only the last N requests.",
        unit="requests",
        why="every request since the model was trained",
        example=1000,
    )
    seed: Whole = key(42, "Seed of the permutations.", why="fixed, so that the answer can be repeated")

    def problems(self) -> Iterator[Problem]:
        needed = math.ceil(1 / self.false_alarm) - 1
        if self.permutations < needed:
            yield Problem(
                "permutations",
                f"must be at least {needed} for monitor.false_alarm {self.false_alarm:g}: with fewer, no drift could ever raise an alarm.",
                f"permutations: {max(1000, 10 * needed)}",
            )
        if self.window is not None and self.window < self.min_requests:
            yield Problem(
                "window",
                f"is below monitor.min_requests, which is {self.min_requests}: the answer would always be not enough data.",
                f"window: {10 * self.min_requests}",
            )


class RunFolder(Block):
    """Where runs are kept."""

    folder: Text = key("runs", "Folder that holds the run folders.", why="beside where you work")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] | None = key(
        None,
        "Name of this run's folder.",
        why="derived: time, task, data and four random characters",
        change="a script must find it",
        example="first-try",
    )
