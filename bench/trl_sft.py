"""TRL's `SFTTrainer` on the prepared rows, written as its users write it: conversations, assistant-only loss, the template saved with the model.

What it shares with `trainer.py` is taken from there. That file stays as it is, byte for byte: its text is part of the name under which
`quality` keeps finished runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from bench.jobs import Job, SftTuning
from bench.speed import Timing
from bench.texts import Reader
from bench.trainer import Counting, Stamps, _arguments
from septet.data.store import Prepared
from septet.recipe import Recipe

# what a job says; all else is SFTConfig's own
GIVEN = (
    "output_dir",
    "per_device_train_batch_size",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "seed",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "train_sampling_strategy",
    "torch_compile",
    "use_cpu",
    "disable_tqdm",
    "report_to",
    "eval_strategy",
    "save_strategy",
    "save_only_model",
    "save_total_limit",
    "load_best_model_at_end",
)


class CountingRows(Counting):
    """A collator that notes conversations and tokens of the batches it makes, with padding or end to end."""

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        batch = self.collator(rows)
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        conversations = sum(len(row.get("seq_lengths", (0,))) for row in rows)
        self.made.append((conversations, int(mask.sum()), mask.numel()))
        return batch


def train(job: Job) -> dict[str, Any]:
    """Train, save the model, and return timing and settings."""
    stamps = Stamps()
    trainer = sft_trainer(job, stamps)
    collator = trainer.data_collator = CountingRows(trainer.data_collator)
    trainer.train()
    saved = Path(job.folder) / "model"
    trainer.save_model(str(saved))
    settings = trainer.args.to_dict()
    return {
        "model": str(saved),
        # validations use the collator too; a job that validates is not one that is timed
        "timing": None if job.validate else Timing.of(stamps.ends, collator.made, warmup=job.warmup).to_json(),
        "start_s": stamps.began - job.launched,
        "updates": trainer.state.global_step,
        "settings": {name: value for name, value in settings.items() if not name.endswith(("_dir", "_token"))}
        | {"attention": trainer.model.config._attn_implementation},
    }


def sft_trainer(job: Job, *callbacks: Any) -> SFTTrainer:
    """Return the trainer of a job, its rows prepared by itself."""
    prepared = Prepared.open(job.prepared)
    reader = Reader.of(Recipe.load(job.recipe, list(job.overrides)))
    rows = prepared.rows("train")[: job.rows]
    return SFTTrainer(
        model=str(reader.folder),
        args=_config(job, rows=len(rows)),
        train_dataset=_conversations(rows, reader),
        eval_dataset=_conversations(prepared.rows("validation"), reader) if job.validate else None,
        callbacks=list(callbacks),
    )


def match(job: Job) -> dict[str, Any]:
    """Compare what both sides learn of the first rows, as their collators give it to the model.

    Raises:
        ValueError: a row has another number of supervised tokens on the other side.
    """
    reader = Reader.of(Recipe.load(job.recipe, list(job.overrides)))
    examples = reader.examples(Prepared.open(job.prepared).rows("train")[: job.rows])
    trainer = sft_trainer(job)
    theirs = [supervised(trainer.data_collator([row])["labels"]) for row in trainer.train_dataset]
    ours = [supervised(reader.task.collate([each], reader.processor).targets) for each in examples]
    other = [place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]]
    if other:
        raise ValueError(f"{len(other)} of {len(ours)} rows have other supervised tokens in SFTTrainer: {other[:10]}")
    return {"rows": len(ours), "supervised_tokens": sum(ours), "tokens": sum(each.size for each in examples)}


def supervised(labels_BT: torch.Tensor) -> int:
    """Return how many labels are learned; neither side predicts a row's first token."""
    return int((labels_BT[:, 1:] != -100).sum())


def _conversations(rows: list[dict[str, Any]], reader: Reader) -> Dataset:
    return Dataset.from_list([{"messages": reader.messages(row)} for row in rows])


def _config(job: Job, *, rows: int) -> SFTConfig:
    tuning = job.tuning
    if job.learning is None or not isinstance(tuning, SftTuning):
        raise ValueError("SFTTrainer needs its learning settings and an SftTuning")
    plain = _arguments(job, job.learning, rows=rows)
    values: dict[str, Any] = {name: getattr(plain, name) for name in GIVEN}
    values |= {
        "assistant_only_loss": True,
        "bf16": None if tuning.precision is None else tuning.precision == "bf16",
        "max_length": tuning.length,
        "model_init_kwargs": {"attn_implementation": tuning.attention} if tuning.attention else None,
    }
    if tuning.checkpointing is not None:
        values["gradient_checkpointing"] = tuning.checkpointing
    if tuning.layout == "padding-free":
        values |= {"padding_free": True, "max_length": None}
    if tuning.layout == "packed":
        # an update is one pack of as many tokens as its rows have on average
        values |= {"packing": True, "per_device_train_batch_size": 1}
    if job.validate:
        values |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
    return SFTConfig(**values)
