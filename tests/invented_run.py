"""A finished run without a model: real prepared rows, a real recipe, invented curves, and a stand-in that answers with a chosen skill.

`write(folder, labels=6)` gives the run; `answering(monkeypatch, skill=0.9)` puts the stand-in where `evaluate` looks for the model, and word counts
where the features baseline looks for the checkpoint. `write_texts(folder)` and `writing(monkeypatch, skill=0.4)` do the same where rows are answered
with texts.
"""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from septet.prepare import prepare
from septet.recipe import Recipe
from septet.run import Run
from septet.tasks import Prediction
from septet.tasks.classify import Classify
from septet.tasks.generate import Generate

BANK = [
    "card arrival",
    "card linking",
    "exchange rate",
    "card payment wrong rate",
    "extra charge",
    "pending cash",
    "fiat currency",
    "card delivery estimate",
    "automatic top up",
    "card not working",
    "top up by card charge",
    "lost or stolen card",
    "age limit",
    "pin blocked",
    "contactless not working",
    "top up limits",
    "cancel transfer",
    "card swallowed",
    "beneficiary not allowed",
    "declined transfer",
    "cash withdrawal charge",
    "edit details",
    "get physical card",
    "passcode forgotten",
    "Apple Pay or Google Pay",
    "verify identity",
    "transfer fee",
    "refund not showing",
]
SHARED = [
    "please",
    "can",
    "you",
    "help",
    "me",
    "with",
    "my",
    "the",
    "a",
    "to",
    "is",
    "it",
    "why",
    "how",
    "when",
    "i",
    "you",
    "do",
    "have",
    "this",
    "what",
]


def label_names(count: int) -> list[str]:
    if count == 2:
        return ["negative", "positive"]
    if count <= 6:
        return ["delivery", "returns", "billing", "products", "account", "business"][:count]
    return sorted((BANK + [f"{name} (second line)" for name in BANK] + [f"{name} abroad" for name in BANK])[:count])


def table(labels: list[str], rows: int, *, seed: int = 0, hard: float = 1.2) -> list[dict[str, str]]:
    """Return rows whose words tell the label about as well as `hard` leaves them."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < rows:
        label = labels[min(int(draw.random() ** 1.4 * len(labels)), len(labels) - 1)]
        own = [f"{label.split()[0][:6]}{i}" for i in range(6)] + label.split()
        words = [
            draw.choice(SHARED if draw.random() < 0.6 else own)
            if draw.random() > hard * 0.5
            else draw.choice(labels).split()[0]
            for _ in range(draw.randint(4, 22))
        ]
        found[" ".join(words).capitalize() + draw.choice(".?!")] = label
    return [{"text": text, "label": label} for text, label in found.items()]


def write(
    folder: Path,
    *,
    labels: int | list[str] = 6,
    rows: tuple[int, int, int] = (600, 100, 200),
    steps: int = 190,
    overrides: tuple[str, ...] = (),
    tests: dict[str, list[dict[str, str]]] | None = None,
    extra: list[dict[str, str]] | None = None,
) -> Run:
    """Write the run.

    Args:
        rows: of train, validation and test.
        tests: test set -> rows, instead of one drawn like the others.
        extra: more training rows.
    """
    names = label_names(labels) if isinstance(labels, int) else labels
    every = table(names, sum(rows))
    train = [*every[: rows[0]], *({"text": f"{name} of course", "label": name} for name in names), *(extra or [])]
    tables = {"train": train, "validation": every[rows[0] : rows[0] + rows[1]]}
    tables |= (
        {f"test.{name}": value for name, value in tests.items()} if tests else {"test": every[rows[0] + rows[1] :]}
    )
    source: dict[str, Any] = {
        "data": {"train": "shop_messages.csv"},
        "task": {"name": "classify", "text": "text", "label": "label"},
        "model": "starter",
        "method": "full",
    }
    run = Run(folder / "runs" / "20261120-1903-classify").create()
    recipe, prepared = _prepared(run, source, tables, overrides)
    task = Classify(recipe.task).learn(prepared.rows("train"))
    _finish(run, recipe, task, _curves(steps, float(np.log(len(task.labels)))))
    return run


def _prepared(run: Run, source: dict[str, Any], tables: dict[str, Any], overrides: tuple[str, ...]) -> tuple[Any, Any]:
    in_memory = tuple(name for name in tables if "." not in name)
    recipe = Recipe.load(source, ["evaluate.bootstrap=200", *overrides], in_memory=in_memory)
    return recipe, prepare(recipe, run, tables=tables)


def _finish(run: Run, recipe: Recipe, task: Any, curves: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    """Write what training leaves, the model aside."""
    filled = {
        "train.lr": (5e-5, "the method's usual rate"),
        "train.epochs": (5.0, "about 600 updates"),
        "train.batch": (16, "few rows"),
        "train.metric": (task.primary, f"the primary metric of {task.name}"),
        "evaluate.metrics": (list(task.metrics), f"the metrics of {task.name}"),
        "model.max_length": (64, "the longest training row has 61 tokens"),
        "train.precision": ("fp32", "this processor multiplies fp32 fastest (measured)"),
    }
    recipe = recipe.filled(filled)
    run.write_text("recipe.given.yaml", recipe.given)
    run.write_text("recipe.yaml", recipe.to_yaml())
    for name, records in zip(("steps.jsonl", "evaluations.jsonl"), curves, strict=True):
        for record in records:
            run.append(name, record)
    best = curves[1][3]
    metric = "accuracy" if "accuracy" in best else "loss"
    run.write_json("best.json", {"step": best["step"], "metric": metric, "value": best[metric]})
    run.write_json("costs.json", COSTS)
    run.write_json("env.json", ENVIRONMENT)
    run.finish()


def write_texts(
    folder: Path,
    *,
    rows: tuple[int, int, int] = (120, 30, 40),
    overrides: tuple[str, ...] = (),
    test: list[dict[str, str]] | None = None,
    limits: Any = None,
) -> Run:
    """Write the run of a task that answers with texts.

    Args:
        rows: of train, validation and test.
        test: the test rows, instead of drawn ones.
        limits: a row to the limits that it states.
    """
    every = questions(sum(rows))
    tables = {
        "train": every[: rows[0]],
        "validation": every[rows[0] : rows[0] + rows[1]],
        "test": test or every[rows[0] + rows[1] :],
    }
    source: dict[str, Any] = {
        "data": {"train": "shop_questions.csv"},
        "task": {"name": "generate", "prompt": "question", "answer": "answer"},
        "model": "starter",
        "method": "full",
    }
    if limits is not None:
        tables = {split: [{**row, "limits": limits(row)} for row in found] for split, found in tables.items()}
        source["task"]["limits"] = "limits"
    run = Run(folder / "runs" / "20261120-1903-generate").create()
    recipe, _ = _prepared(run, source, tables, overrides)
    _finish(run, recipe, Generate(recipe.task), _curves(190, 2.6, lowest=1.2))
    return run


def questions(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Return different questions with their answers; every fifth answer is long."""
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        topic = draw.choice(BANK)
        question = f"{' '.join(draw.choices(SHARED, k=draw.randint(3, 9)))} {topic}?".capitalize()
        sentence = f"{' '.join(draw.choices(topic.split() + SHARED, k=draw.randint(4, 12)))}.".capitalize()
        found[question] = " ".join([sentence] * (12 if len(found) % 5 == 0 else 1))
    return [{"question": question, "answer": answer} for question, answer in found.items()]


def answering(monkeypatch: Any, *, skill: float = 0.9, on_train: float = 0.98) -> None:
    """Let a stand-in answer instead of the run's model, and word counts instead of the base checkpoint."""
    from septet.data.store import Prepared
    from septet.model import features
    from septet.model.predictor import Predictor

    def load(folder: Path, device: str | None = None, code: Any = ()) -> StandIn:
        run = Run(Path(folder).parent)
        prepared = Prepared.of(run)
        task = Classify(Recipe.load(run.path / "recipe.yaml").task).learn(prepared.rows("train"))
        return StandIn(task, {row["_row"] for row in prepared.rows("train")}, skill, on_train)

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.setattr(features, "Features", WordCounts)


class StandIn:
    """Answers rightly as often as its skill says, and is too sure of itself, as tuned models are."""

    max_length = 64
    device = torch.device("cpu")
    calls = 0

    def __init__(self, task: Classify, trained: set[int], skill: float, on_train: float):
        self.task, self.trained, self.skill, self.on_train = task, trained, skill, on_train

    def predict(self, rows: Any, **_: Any) -> list[Prediction]:
        StandIn.calls += 1
        return [self._one(row) for row in rows]

    def _one(self, row: dict[str, Any]) -> Prediction:
        rng = np.random.default_rng(zlib.crc32(str(row["text"]).encode()))
        target = max(self.task.target(row), 0)
        skill = self.on_train if row["_row"] in self.trained else self.skill
        near = (target + int(rng.integers(1, 4))) % len(self.task.labels)
        logits = rng.normal(0, 0.5, len(self.task.labels))
        logits[target if rng.random() < skill else near] += rng.gamma(4.0, 1.1) + 1
        scores = np.exp(logits) / np.exp(logits).sum()
        named = dict(zip(self.task.labels, scores.tolist(), strict=True))
        return Prediction(row["_row"], max(named, key=named.__getitem__), named)


def writing(
    monkeypatch: Any, *, skill: float = 0.4, loss: float = 1.26, on_train: float = 1.2, base: bool = True
) -> None:
    """Let a stand-in write instead of the run's model, and another one instead of the model before tuning.

    Args:
        skill: share of the rows that are answered with their reference.
        loss: nats a token on rows it was not trained on; `on_train` on the others.
        base: whether there is a model before tuning.
    """
    from septet.data.store import Prepared
    from septet.model.predictor import Predictor

    def load(folder: Path, device: str | None = None, code: Any = ()) -> Writer:
        run = Run(Path(folder).parent)
        task = Generate(Recipe.load(run.path / "recipe.yaml").task)
        return Writer(task, {row["_row"] for row in Prepared.of(run).rows("train")}, skill, loss, on_train)

    def before(recipe: Recipe, tuned: Writer) -> Writer | None:
        return Writer(tuned.task, set(), 0.0, 2.6, 2.6) if base else None

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.setattr("septet.scoring.texts.base_predictor", before)


class Writer:
    """Writes the reference as often as its skill says, and else three words of it too often."""

    max_length = 64
    device = torch.device("cpu")

    def __init__(self, task: Generate, trained: set[int], skill: float, loss: float, on_train: float):
        self.task, self.trained, self.skill, self.losses = task, trained, skill, (loss, on_train)
        from languages import tokenizer  # imports torch, which labels do without

        self.processor = tokenizer()
        self.processor.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"

    def measure(self, encoded: Any) -> list[Prediction]:
        return [self._measured(example) for (example,) in encoded]

    def _measured(self, example: Any) -> Prediction:
        tokens = sum(example.inputs["supervised"])
        mean = self.losses[example.row in self.trained] * np.random.default_rng(example.row % 2**32).normal(1, 0.1)
        return Prediction(example.row, None, loss=float(mean * tokens), weight=float(tokens))

    def predict(self, rows: Any, **_: Any) -> list[Prediction]:
        return [Prediction(row["_row"], self._written(row), ended=True) for row in rows]

    def _written(self, row: dict[str, Any]) -> str:
        reference = self.task.target(row)
        right = np.random.default_rng(zlib.crc32(reference.encode())).random() < self.skill
        return reference if right else " ".join(reference.split()[:3] * 4)


class WordCounts:
    """Hashed word counts in place of a checkpoint's features."""

    def __init__(self, model: str, **_: Any):
        self.model = model

    def encode(self, texts: list[str], listen: Any = None) -> np.ndarray:
        found = np.zeros((len(texts), 48), np.float32)
        for i, text in enumerate(texts):
            for word in text.lower().split():
                found[i, zlib.crc32(word.encode()) % 48] += 1
        return found


def _curves(steps: int, start: float, lowest: float | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the records of the steps and of five validations.

    Args:
        lowest: where the loss of texts ends; None gives the course of labels, with their metrics.
    """
    rng = np.random.default_rng(1)
    courses = []
    for step in range(1, steps + 1):
        loss = start * np.exp(-4.5 * step / steps) * (1 + rng.normal(0, 0.12)) + 0.05 * rng.random()
        if lowest is not None:
            loss = lowest + (start - lowest) * np.exp(-6 * step / steps) * (1 + rng.normal(0, 0.12))
        common = {"lr": 5e-5, "grad_norm": 1.0, "tokens": 600, "rows": 16, "seconds": 0.1}
        courses.append({"step": step, "loss": float(loss), **common})
    validations = []
    for epoch in range(1, 6):
        record = {"step": steps * epoch // 5, "epoch": float(epoch), "split": "validation"}
        if lowest is not None:
            loss = 1.05 * lowest + (start - lowest) * float(np.exp(-1.6 * epoch))
            validations.append(record | {"loss": loss, "perplexity": float(np.exp(loss))})
            continue
        loss = start * (0.22 + 0.75 * float(np.exp(-1.4 * epoch))) * (1 + 0.012 * epoch)
        scores = {"accuracy": 0.9 - 0.5 * float(np.exp(-1.1 * epoch)), "f1": 0.88 - 0.5 * float(np.exp(-1.1 * epoch))}
        validations.append(record | {"loss": loss, "log_loss": loss} | scores)
    return courses, validations


COSTS = {
    "train_s": 83.4, "stage_s": 96.2, "parts_s": {"backward": 44.0, "forward": 31.0, "optimizer": 6.4, "finish": 4.1, "validation": 3.9, "setup": 3.6, "data": 2.0, "saving": 1.0, "other": 0.2}, "rows": 3040, "tokens": 114000, "rows_per_s": 36.4, "tokens_per_s": 1367.0, "ceiling_share": 0.46, "padding_share": 0.03,
    "peak_memory_bytes": 1288490188, "skipped_updates": 0,
    "estimate": {"steps": 190, "rows_per_s": 38.0, "tokens_per_s": 1420.0, "total_s": 91.0, "train_s": 80.0, "low_s": 70.0, "high_s": 95.0, "memory_bytes": 1400000000, "disk_bytes": 600000000},
}  # fmt: skip
ENVIRONMENT = {
    "cpu": {"name": "A processor", "cores": 2, "flags": ["avx2", "avx512f"]}, "memory_bytes": {"total": 25276514304, "available": 22136504320},
    "accelerators": [], "platform": "Linux", "python": "3.11.7", "versions": {"septet": "0.1.0", "torch": "2.13.0"}, "frameworks": {},
}  # fmt: skip
