"""Small rows, models and set-ups that the tests share: everything is built in code, nothing is read from a hub."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from septet.engine import dropout as counted
from septet.engine.attention import ATTENTION, register_attention
from septet.engine.device import DTYPES
from septet.engine.loop import Examples, Rates, train_steps
from septet.engine.masters import Masters
from septet.engine.optim import AdamW
from septet.engine.plan import Planner
from septet.engine.state import TrainState
from septet.model.load import load_model
from septet.tasks.classify import Classify, Options
from septet.testing.tiny import checkpoint

TEAMS = {
    "money": ["invoice", "refund", "charged", "twice", "money", "paid", "bill", "price"],
    "post": ["parcel", "late", "delivery", "courier", "box", "lost", "street", "door"],
    "shop": ["lamp", "broken", "size", "colour", "shoes", "screen", "blue", "battery"],
}
FILLER = [
    "hello",
    "please",
    "where",
    "is",
    "my",
    "the",
    "a",
    "it",
    "and",
    "you",
    "help",
    "today",
    "order",
    "i",
    "with",
    "still",
    "not",
]


def rows(count: int, seed: int = 0, *, longest: int = 14) -> list[dict[str, Any]]:
    """Return different rows of unequal length; the label is the team whose words are in the text."""
    draw = random.Random(seed)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        team = draw.choice(list(TEAMS))
        words = draw.choices(FILLER, k=draw.randint(0, longest)) + draw.choices(TEAMS[team], k=draw.randint(1, 3))
        draw.shuffle(words)
        text = " ".join(words)
        found.setdefault(text, {"_row": draw.getrandbits(63) - 2**62, "text": text, "label": team})
    return list(found.values())


def model_folder(folder: Path, kind: str = "bert", *, dropout: float = 0.0) -> Path:
    """Write a tiny checkpoint whose vocabulary covers every row, and words that no row holds."""
    words = [" ".join([*FILLER, *sum(TEAMS.values(), [])])]
    return checkpoint(folder, words, kind=kind, dropout=dropout)


def distance(a: Any, b: Any, kind: str) -> float:
    """Return the distance of the tensors whose names begin with `kind`, as a share of the second ones' norm."""
    # softmax ignores what a key's bias adds to all scores: its gradient is 0 but for rounding, which Adam's first step turns into signs
    names = [n for n in b if n.startswith(kind) and not n.endswith("key.bias")]
    a, b = (torch.cat([x[n].flatten().double() for n in names]) for x in (a, b))
    return float((a - b).norm() / b.norm())


@dataclass
class Bench:
    """What a step needs, in memory."""

    task: Any
    model: Any
    processor: Any
    examples: list[Any]
    clock: counted.DropoutClock
    rows: list[dict[str, Any]]
    precision: str = "fp32"

    def planner(
        self,
        *,
        batch: int = 8,
        seed: int = 1,
        budget: int = 512,
        micro_batch: int | None = None,
        length: int | None = None,
    ) -> Planner:
        return Planner([e.size for e in self.examples], batch, seed, budget, micro_batch, length)

    def source(self, planner: Planner) -> Examples:
        return Examples(self.examples, planner, self.task, self.processor, torch.device("cpu"))

    def batch(self, indices: Any = None, length: int | None = None) -> Any:
        chosen = self.examples if indices is None else [self.examples[i] for i in indices]
        return self.task.collate(chosen, self.processor, length)

    def optimizer(self, *, weight_decay: float = 0.01, compact: bool = True, divided: bool = False) -> AdamW:
        from septet.methods import decay_groups
        from septet.setup import used_embedding_rows

        used = used_embedding_rows(self.model, self.examples) if compact else {}
        if divided:
            from septet.engine.shard import divide

            masters = divide(self.model, torch.device("cpu"), DTYPES[self.precision], used)
        else:
            masters = Masters(self.model, used, DTYPES[self.precision])
        return AdamW(masters, decay_groups(self.model, weight_decay), betas=(0.9, 0.999), eps=1e-8)

    def steps(
        self,
        planner: Planner,
        optimizer: AdamW,
        *,
        total: int,
        lr: float = 1e-3,
        state: TrainState | None = None,
        until: int | None = None,
        clip: float | None = 1.0,
        scaled: bool = False,
    ) -> list[Any]:
        """Return the steps taken, up to step `until`."""
        found = []
        rates = Rates(lr, "linear", 2, total, clip)
        for step in train_steps(
            self.model,
            self.task,
            optimizer,
            self.source(planner),
            state or TrainState(),
            rates=rates,
            clock=self.clock,
            scaled=scaled,
        ):
            found.append(step)
            if step.step == until:
                break
        return found


def bench(
    folder: Path,
    *,
    count: int = 32,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    precision: str = "fp32",
    attention: str = ATTENTION,
    method: Any = None,
    dropout: float | None = None,
) -> Bench:
    """Return a model from a tiny checkpoint with its head, ready for a step."""
    data = rows(count, seed)
    task = Classify(Options(**{"text": "text", "label": "label", **(options or {})})).learn(data, max_length=60)
    register_attention()
    model = load_model(folder, task.heads()["label"], seed=3, dropout=dropout, attention=attention).model
    if method is not None:
        model = method.attach(model)
    clock = counted.install(model, 5)
    processor = task.input.processor(str(folder))
    examples = [e for encoded in task.encode(data, processor) for e in encoded]
    return Bench(task, model, processor, examples, clock, data, precision)
