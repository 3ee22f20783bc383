"""A task, a tiny model and a few rows, put together for the checks as `set_up` does it for a run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.testing.tiny import checkpoint

SEED = 7
_WORDS = {
    "late": ["parcel", "late", "courier", "delayed", "where"],
    "money": ["refund", "invoice", "charged", "twice", "price"],
    "broken": ["lamp", "broken", "cracked", "dead", "screen"],
}


@dataclass
class Bench:
    """What the checks need; `examples` are the encoded rows in their order."""

    task: Any
    model: Any
    processor: Any
    rows: list[dict[str, Any]]
    examples: list[Any]
    clock: Any
    base: Path

    def batch(self, indices: Sequence[int] | None = None, length: int | None = None) -> Any:
        chosen = self.examples if indices is None else [self.examples[i] for i in indices]
        return self.task.collate(chosen, self.processor, length)

    def fit(self, method: Any, *, steps: int, lr: float) -> list[float]:
        """Train on the first 8 rows at once and return the loss of each step."""
        import torch

        from septet.engine.loop import Examples, Rates, train_steps
        from septet.engine.masters import Masters
        from septet.engine.optim import AdamW
        from septet.engine.plan import Planner
        from septet.engine.state import TrainState

        few = self.examples[:8]
        planner = Planner([e.size for e in few], len(few), SEED, 10**6)
        source = Examples(few, planner, self.task, self.processor, torch.device("cpu"))
        optimizer = AdamW(Masters(self.model), method.param_groups(self.model, 0.0), betas=(0.9, 0.999), eps=1e-8)
        rates = Rates(lr, "constant", 0, steps, 1.0)
        loop = train_steps(self.model, self.task, optimizer, source, TrainState(), rates=rates, clock=self.clock)
        return [step.loss for step in loop if step.loss is not None]


def bench(folder: Path, task: Any, rows: Sequence[dict[str, Any]], *, model: str | Path | None, method: Any) -> Bench:
    """Return a task that has learnt from the rows, with a tiny model and its head.

    Args:
        folder: where the tiny model goes.
        task: as the recipe makes it.
        rows: of the task, with `_row` ids or without.
        model: a model folder instead of the tiny one.
        method: attached when given.
    """
    import torch

    from septet.engine import dropout
    from septet.engine.attention import ATTENTION, register_attention
    from septet.model.load import check_folder, load_model

    rows = [{"_row": i + 1, **row} for i, row in enumerate(rows)]
    words = [str(value) for row in rows for value in row.values() if isinstance(value, str)]
    base = Path(model) if model is not None else folder / "tiny"
    if not base.exists():
        writes = next(iter(task.heads().values())).auto == "AutoModelForCausalLM"
        checkpoint(base, words, kind="causal" if writes else "bert")
    learnt = task.suited(check_folder(base)).learn(rows, max_length=48)
    register_attention()
    head = next(iter(learnt.heads().values()))
    loaded = load_model(base, head, seed=SEED, dropout=0.0, attention=ATTENTION).model
    if method is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            loaded = method.attach(loaded)
    processor = learnt.input.processor(str(base))
    learnt.finish(loaded, processor)
    examples = [example for found in learnt.encode(rows, processor) for example in found]
    return Bench(learnt, loaded, processor, rows, examples, dropout.install(loaded, SEED), base)


def texts(count: int = 12) -> list[dict[str, Any]]:
    """Return rows with the columns `text` and `label`, of unequal length."""
    draw = random.Random(SEED)
    found = []
    for i in range(count):
        label = list(_WORDS)[i % len(_WORDS)]
        words = ["hello", *draw.choices(_WORDS[label], k=draw.randint(1, 6)), "please", f"n{i}"]
        found.append({"text": " ".join(words), "label": label})
    return found
