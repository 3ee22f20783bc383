"""What one measured run is told: a job, as JSON between the bench and the fresh process that does it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

REPO = Path(__file__).resolve().parent.parent
RECIPES = REPO / "recipes"
BENCH_RECIPES = REPO / "bench" / "recipes"
RESULTS = REPO / "bench" / "results"
WORK = REPO / "runs" / "bench"
WARMUP_UPDATES = 3
ANSWERS = "answers.npz"

Kind = Literal["prepare", "sift", "facts", "match", "trainer", "trl", "septet"]


@dataclass(frozen=True, slots=True)
class Learning:
    """What must be equal on two sides that are compared: how the weights move.

    Args:
        batch: rows an update sees; None leaves it to the side.
        lr: peak learning rate; None leaves it to the side.
        warmup: share of the updates below 1, else updates.
    """

    batch: int | None
    lr: float | None
    epochs: float
    seed: int
    schedule: str = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float | None = 1.0

    def overrides(self) -> list[str]:
        """Return it as overrides of a Septet recipe."""
        values = asdict(self)
        adam = {"betas": list(values.pop("betas")), "eps": values.pop("eps")}
        sections = {"train": values, "optimizer": adam}
        return [
            f"{section}.{name}={_word(name, value)}"
            for section, keys in sections.items()
            for name, value in keys.items()
        ]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How Trainer computes: what changes its speed and not its update. The defaults are those of `TrainingArguments`.

    Args:
        sampling: `train_sampling_strategy`.
        attention: None leaves it to transformers.
        pad: longest = `DataCollatorWithPadding`; max_length = every row to `length`, as the tutorials do it.
        length: tokens a row is cut at, and padded to where `pad` says so.
    """

    precision: Literal["fp32", "bf16"] = "fp32"
    sampling: str = "random"
    attention: str | None = None
    compiled: bool = False
    pad: Literal["longest", "max_length"] = "longest"
    length: int = 128

    @property
    def label(self) -> str:
        return ", ".join(self.words())

    def words(self) -> list[str]:
        words = [self.precision, "grouped by length" if self.sampling == "group_by_length" else "random order"]
        words += [f"padded to {self.length}"] if self.pad == "max_length" else []
        words += [self.attention] if self.attention else []
        return words + (["compiled"] if self.compiled else [])


@dataclass(frozen=True, slots=True)
class SftTuning(Tuning):
    """How TRL's `SFTTrainer` computes. The defaults are those of `SFTConfig`; a precision or checkpointing of None is left to it.

    Args:
        length: tokens a row is cut at; of a pack, its tokens.
        layout: padded = its collator's dynamic padding; padding-free = the rows of an update end to end;
            packed = the same, the rows chosen so that each update has `length` tokens.
        checkpointing: compute activations anew in the backward pass.
    """

    precision: Literal["fp32", "bf16"] | None = None
    length: int = 1024
    layout: Literal["padded", "padding-free", "packed"] = "padded"
    checkpointing: bool | None = None

    def words(self) -> list[str]:
        precision, *words = Tuning.words(self)
        words += [f"packs of {self.length} tokens"] if self.layout == "packed" else []
        words += ["padding-free"] if self.layout == "padding-free" else []
        words += ["no checkpointing of activations"] if self.checkpointing is False else []
        return [precision or "SFTConfig's precision", *words]


@dataclass(frozen=True, slots=True)
class Job:
    """One fresh process.

    Args:
        name: of the side in the table.
        folder: where it may write; emptied before.
        recipe: the Septet recipe that says which rows and which model.
        overrides: of the recipe, the same for all sides.
        prepared: the folder with the rows both sides read.
        rows: use the first so many training rows only; None uses all.
        max_steps: end after so many updates.
        validate: choose the best epoch by validation accuracy (Septet always does).
        score: answer the test rows with the saved model.
        warmup: the first updates, which are not timed.
        launched: `time.time()` at the start of the process.
    """

    kind: Kind
    name: str
    folder: str
    recipe: str
    overrides: tuple[str, ...] = ()
    prepared: str = ""
    learning: Learning | None = None
    tuning: Tuning = field(default_factory=Tuning)
    rows: int | None = None
    max_steps: int | None = None
    validate: bool = False
    score: bool = False
    warmup: int = WARMUP_UPDATES
    launched: float = 0.0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Job:
        value: dict[str, Any] = json.loads(text)
        learning = value.pop("learning")
        if learning is not None:
            learning = Learning(**{**learning, "betas": tuple(learning["betas"])})
        tuning = (SftTuning if "layout" in value["tuning"] else Tuning)(**value["tuning"])
        return cls(**{**value, "overrides": tuple(value["overrides"]), "learning": learning, "tuning": tuning})

    @property
    def run(self) -> Path:
        """The Septet run folder of this job: a neighbour of all others, so that they share the prepared rows."""
        folder = Path(self.folder)
        return folder.with_name(folder.name + "-run")

    def at(self, folder: Path) -> Job:
        return replace(self, folder=str(folder))


def in_turn(names: Sequence[str], repeats: int) -> list[tuple[int, str]]:
    """Return (repeat, side) in the order of measurement: A B C, C B A, ... so that neither a slow minute nor a place favours a side."""
    return [(repeat, name) for repeat in range(repeats) for name in (names if repeat % 2 == 0 else names[::-1])]


def _word(name: str, value: Any) -> str:
    if value is None:
        return "null" if name == "clip" else "auto"
    return json.dumps(value)
