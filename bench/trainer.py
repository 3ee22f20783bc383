"""Hugging Face's `Trainer` on the prepared rows, written as its users write it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from bench.jobs import WARMUP_UPDATES, Job, Learning
from bench.speed import Timing
from septet.data.store import Prepared
from septet.engine.schedule import warmup_steps
from septet.model.load import resolve
from septet.recipe import Recipe

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class Stamps(TrainerCallback):
    """Notes when each update ended."""

    def __init__(self) -> None:
        self.began = 0.0
        self.ends: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available() and state.global_step in (WARMUP_UPDATES, state.max_steps):
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


class Counting:
    """A collator that notes rows and real tokens of the batches it makes; they are used in that order."""

    def __init__(self, collator: Any):
        self.collator = collator
        self.made: list[tuple[int, int, int]] = []

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self.collator(rows)
        self.made.append((len(rows), int(batch["attention_mask"].sum()), batch["attention_mask"].numel()))
        return batch


def train(job: Job) -> dict[str, Any]:
    """Train, save the model, and return timing and settings."""
    learning = job.learning
    if learning is None:
        raise ValueError("a training job needs its learning settings")
    recipe = Recipe.load(job.recipe, list(job.overrides))
    prepared = Prepared.open(job.prepared)
    folder = resolve(recipe.model.name, revision=recipe.model.revision, base=recipe.folder)
    set_seed(learning.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    data = {split: _encode(prepared, split, job, tokenizer) for split in ("train", "validation")}
    arguments = _arguments(job, learning, rows=len(data["train"]))
    model = _model(folder, prepared.labels, job.tuning.attention)
    stamps, collator = Stamps(), Counting(DataCollatorWithPadding(tokenizer))
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data["train"],
        eval_dataset=data["validation"] if job.validate else None,
        data_collator=collator,
        processing_class=tokenizer,
        compute_metrics=_accuracy if job.validate else None,
        callbacks=[stamps],
    )
    trainer.train()
    saved = Path(job.folder) / "model"
    trainer.save_model(str(saved))
    # validations use the collator too; a job that validates is not one that is timed
    timing = Timing.of(stamps.ends, collator.made) if not job.validate else None
    settings = {key: value for key, value in arguments.to_dict().items() if not key.endswith(("_dir", "_token"))}
    return {
        "model": str(saved),
        "timing": timing.to_json() if timing else None,
        "start_s": stamps.began - job.launched,
        "updates": trainer.state.global_step,
        "settings": {
            **settings,
            "attention": model.config._attn_implementation,
            "pad": job.tuning.pad,
            "length": job.tuning.length,
        },
    }


def _encode(prepared: Prepared, split: str, job: Job, tokenizer: Any) -> Dataset:
    columns = prepared.manifest["columns"]
    rows = prepared.rows(split)[: job.rows if split == "train" else None]
    place = {label: i for i, label in enumerate(prepared.labels)}
    raw = Dataset.from_dict(
        {
            **{column: [row[column] for row in rows] for column in columns["texts"]},
            "labels": [place[row[columns["label"]]] for row in rows],
        }
    )

    def encode(batch: Any) -> Any:
        texts = [batch[column] for column in columns["texts"]]
        padding = "max_length" if job.tuning.pad == "max_length" else False
        return tokenizer(*texts, truncation=True, max_length=job.tuning.length, padding=padding)

    return raw.map(encode, batched=True, remove_columns=columns["texts"])


def _model(folder: Path, labels: list[str], attention: str | None) -> Any:
    wanted = {"attn_implementation": attention} if attention else {}
    return AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        **wanted,
    )


def _arguments(job: Job, learning: Learning, *, rows: int) -> TrainingArguments:
    if learning.batch is None or learning.lr is None:
        raise ValueError("Trainer needs a batch size and a learning rate")
    updates = -(-rows // learning.batch) * learning.epochs
    values: dict[str, Any] = {
        "output_dir": str(Path(job.folder) / "trainer"),
        "per_device_train_batch_size": learning.batch,
        "learning_rate": learning.lr,
        "num_train_epochs": learning.epochs,
        "max_steps": job.max_steps or -1,
        "seed": learning.seed,
        "lr_scheduler_type": SCHEDULES[learning.schedule],
        "warmup_steps": warmup_steps(learning.warmup, round(updates)),
        "weight_decay": learning.weight_decay,
        "adam_beta1": learning.betas[0],
        "adam_beta2": learning.betas[1],
        "adam_epsilon": learning.eps,
        "max_grad_norm": learning.clip or 0.0,
        "bf16": job.tuning.precision == "bf16",
        "train_sampling_strategy": job.tuning.sampling,
        "torch_compile": job.tuning.compiled,
        "use_cpu": not torch.cuda.is_available(),
        # neither its bar nor its checkpoints are to be measured
        "disable_tqdm": True,
        "report_to": "none",
        "save_strategy": "no",
    }
    if job.validate:
        values |= {
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "save_only_model": True,
            "save_total_limit": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "accuracy",
            "greater_is_better": True,
            "per_device_eval_batch_size": 64,
        }
    return TrainingArguments(**values)


def _accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((np.argmax(found.predictions, axis=-1) == found.label_ids).mean())}
