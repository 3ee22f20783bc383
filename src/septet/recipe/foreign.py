"""Names of other tools in a recipe: which key of Septet is meant, and how its value converts.

Known are Hugging Face's `TrainingArguments`, TRL, peft, LLaMA-Factory and Axolotl, and words that many tools share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from septet.recipe.write import flow

Convert = Callable[[Any, Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Foreign:
    """What another tool's name means here: a sentence that follows the name, and a way out."""

    what: str
    hint: str


def translate(name: str, value: Any, recipe: Mapping[str, Any]) -> Foreign | None:
    """Return what a key of another tool means in Septet, or None when no tool is known to use the name."""
    wanted = name.strip().lower().replace("-", "_")
    if wanted in _NEEDLESS:
        tool, reason = _NEEDLESS[wanted]
        return Foreign(f"is a name of {tool}; Septet has no such key: {reason}.", "remove it")
    if wanted not in _KEYS:
        return None
    tool, target, convert = _KEYS[wanted]
    section, _, rest = target.partition(".")
    line = (
        convert(value, recipe)
        if convert
        else f"{(rest or section).rsplit('.', 1)[-1]}: {'…' if value is None else flow(value)}"
    )
    place = f" under {target.rpartition('.')[0]}" if rest else ""
    return Foreign(f"is a name of {tool}; Septet's key is {target}.", f"{line}{place}   (septet explain {target})")


def moved(path: tuple[Any, ...], value: Any) -> Foreign | None:
    """Return where a key went that Septet itself once had in another place."""
    dotted = ".".join(map(str, path))
    if dotted == "train.optimizer":
        shown = f"optimizer: {'adamw' if value is None else flow(value)}, a section beside train"
    elif dotted in ("train.betas", "train.eps"):
        shown = f"optimizer: {{{path[-1]}: {'…' if value is None else flow(value)}}}, a section beside train"
    else:
        return None
    section = "optimizer" if path[-1] == "optimizer" else f"optimizer.{path[-1]}"
    return Foreign(f"is {section} now.", f"{shown}   (septet explain {section})")


def _rows(value: Any, recipe: Mapping[str, Any]) -> str:
    """Rows of an update: rows of a device times accumulated batches."""
    rows = _find(recipe, "per_device_train_batch_size", "micro_batch_size")
    times = _find(recipe, "gradient_accumulation_steps")
    product = (
        f"batch: {rows * (times or 1)}"
        if isinstance(rows, int) and isinstance(times, int | None)
        else "batch: rows × steps"
    )
    return f"{product}, the rows of one update (rows of a device × accumulation steps)"


def _every(value: Any, recipe: Mapping[str, Any]) -> str:
    if value == "steps":
        return f"eval_every: {flow(_find(recipe, 'eval_steps') or 500)}"
    if value in ("no", False):
        return "remove it: validation chooses the best checkpoint; eval_every: epoch"
    return "eval_every: epoch"


def _warmup(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"warmup: {'…' if value is None else flow(value)} (a share below 1, or a number of steps)"


def _clip(value: Any, recipe: Mapping[str, Any]) -> str:
    return "clip: null" if value == 0 else f"clip: {'…' if value is None else flow(value)}"


def _half(name: str) -> Convert:
    return lambda value, recipe: (
        "precision: auto (measured on this machine)" if value in (False, None) else f"precision: {name}"
    )


def _schedule(value: Any, recipe: Mapping[str, Any]) -> str:
    return (
        f"schedule: {value}" if value in ("linear", "cosine", "constant") else "schedule: linear (or cosine, constant)"
    )


def _metric(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"metric: {str(value or 'f1').removeprefix('eval_')}"


def _betas(value: Any, recipe: Mapping[str, Any]) -> str:
    first, second = _find(recipe, "adam_beta1"), _find(recipe, "adam_beta2")
    return f"betas: [{flow(first or 0.9)}, {flow(second or 0.999)}]"


def _method(value: Any, recipe: Mapping[str, Any]) -> str:
    known = {"lora": "lora", "qlora": "lora", "full": "full", "freeze": "{name: layers, count: 2}"}
    return f"method: {known.get(str(value), 'lora')}"


def _lora(key: str) -> Convert:
    def convert(value: Any, recipe: Mapping[str, Any]) -> str:
        if key == "targets":
            value = None if value in ("all", "all-linear") else value.split(",") if isinstance(value, str) else value
        return f"method: {{name: lora, {key}: {'auto' if value is None else flow(value)}}}"

    return convert


def _layers(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"method: {{name: layers, count: {'2' if value is None else flow(value)}}}"


def _share(value: Any, recipe: Mapping[str, Any]) -> str:
    return (
        f"eval_every: {flow(round(1 / value, 4))}"
        if isinstance(value, (int, float)) and value > 0
        else "eval_every: 0.25"
    )


def _patience(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"early_stopping: {{patience: {'3' if value is None else flow(value)}}}"


def _delta(value: Any, recipe: Mapping[str, Any]) -> str:
    patience = _find(recipe, "early_stopping_patience") or 3
    return f"early_stopping: {{patience: {flow(patience)}, min_delta: {'0.001' if value is None else flow(value)}}}"


def _split(value: Any, recipe: Mapping[str, Any]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "validation: 0.1, a share of the rows (val_set_size counted rows)"
    return f"validation: {'0.1' if value is None else flow(value)}"


def _pad(value: Any, recipe: Mapping[str, Any]) -> str:
    return "pad: max_length" if value in (True, "max_length") else "pad: longest"


def _device(value: Any, recipe: Mapping[str, Any]) -> str:
    return "device: cpu" if value in (True, None, "cpu") else "device: auto"


def _data(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"train: {'train.csv' if not isinstance(value, str) else flow(value)}, or hub: {{path: …}}"


def _mixture(value: Any, recipe: Mapping[str, Any]) -> str:
    return (
        "weights: {a.csv: 3, b.csv: 0.5}, how often an epoch shows each row of a file of data.train (no probabilities)"
    )


def _folder(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"{'--run ' + value + ' on the command line, or ' if isinstance(value, str) else ''}folder: runs"


def _attention(value: Any, recipe: Mapping[str, Any]) -> str:
    return f"attention: {value}" if value in ("eager", "sdpa") else "attention: sdpa"


def _dtype(value: Any, recipe: Mapping[str, Any]) -> str:
    known = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return f"precision: {known.get(str(value).removeprefix('torch.'), 'auto')}"


def _optimizer(value: Any, recipe: Mapping[str, Any]) -> str:
    said = str(value).lower()
    eight = "adamw8bit" if "adamw" in said and "8bit" in said else ""
    return f"optimizer: {eight or next((name for name in ('muon', 'adafactor', 'sgd') if name in said), 'adamw')}"


def _find(recipe: Any, *names: str) -> Any:
    """Return the value of the first of these names, anywhere in the recipe."""
    if isinstance(recipe, Mapping):
        for name in names:
            if name in recipe:
                return recipe[name]
        for inner in recipe.values():
            found = _find(inner, *names)
            if found is not None:
                return found
    return None


_HF, _PEFT, _LF, _AX, _MANY = "Hugging Face's Trainer", "peft", "LLaMA-Factory", "Axolotl", "other tools"

_KEYS: dict[str, tuple[str, str, Convert | None]] = {
    # length and size of updates
    "num_train_epochs": (_HF, "train.epochs", None),
    "num_epochs": (_AX, "train.epochs", None),
    "n_epochs": (_MANY, "train.epochs", None),
    "per_device_train_batch_size": (_HF, "train.batch", _rows),
    "per_gpu_train_batch_size": (_HF, "train.batch", _rows),
    "gradient_accumulation_steps": (_HF, "train.batch", _rows),
    "micro_batch_size": (_AX, "train.batch", _rows),
    "batch_size": (_MANY, "train.batch", None),
    "train_batch_size": (_MANY, "train.batch", None),
    # evaluation, saving, stopping
    "evaluation_strategy": (_HF, "train.eval_every", _every),
    "eval_strategy": (_HF, "train.eval_every", _every),
    "do_eval": (_HF, "train.eval_every", _every),
    "eval_steps": (_HF, "train.eval_every", None),
    "evals_per_epoch": (_AX, "train.eval_every", _share),
    "save_steps": (_HF, "train.save_every", None),
    "save_total_limit": (_HF, "train.keep", None),
    "metric_for_best_model": (_HF, "train.metric", _metric),
    "early_stopping_patience": (_HF, "train.early_stopping", _patience),
    "early_stopping_threshold": (_HF, "train.early_stopping", _delta),
    # learning rate and optimizer
    "learning_rate": (_HF, "train.lr", None),
    "lr_scheduler_type": (_HF, "train.schedule", _schedule),
    "lr_scheduler": (_AX, "train.schedule", _schedule),
    "scheduler": (_MANY, "train.schedule", _schedule),
    "warmup_steps": (_HF, "train.warmup", _warmup),
    "warmup_ratio": (_HF, "train.warmup", _warmup),
    "num_warmup_steps": (_HF, "train.warmup", _warmup),
    "optim": (_HF, "optimizer.name", _optimizer),
    "max_grad_norm": (_HF, "train.clip", _clip),
    "gradient_clipping": (_MANY, "train.clip", _clip),
    "adam_beta1": (_HF, "optimizer.betas", _betas),
    "adam_beta2": (_HF, "optimizer.betas", _betas),
    "adam_epsilon": (_HF, "optimizer.eps", None),
    "data_seed": (_HF, "train.seed", None),
    "random_state": (_MANY, "train.seed", None),
    "label_smoothing_factor": (_HF, "task.label_smoothing", None),
    # machine
    "fp16": (_HF, "train.precision", _half("fp16")),
    "bf16": (_HF, "train.precision", _half("bf16")),
    "torch_dtype": (_HF, "train.precision", _dtype),
    "dtype": (_HF, "train.precision", _dtype),
    "mixed_precision": (_MANY, "train.precision", None),
    "torch_compile": (_HF, "train.compile", None),
    "gradient_checkpointing": (_HF, "train.activation_checkpointing", None),
    "use_cpu": (_HF, "train.device", _device),
    "no_cuda": (_HF, "train.device", _device),
    "attn_implementation": (_HF, "model.attention", _attention),
    "flash_attn": (_LF, "model.attention", _attention),
    "flash_attention": (_AX, "model.attention", _attention),
    # model and method
    "model_name_or_path": (_HF, "model.name", None),
    "model_name": (_MANY, "model.name", None),
    "pretrained_model_name_or_path": (_HF, "model.name", None),
    "base_model": (_AX, "model.name", None),
    "model_revision": (_HF, "model.revision", None),
    "max_seq_length": (_HF, "model.max_length", None),
    "max_seq_len": (_MANY, "model.max_length", None),
    "model_max_length": (_HF, "model.max_length", None),
    "cutoff_len": (_LF, "model.max_length", None),
    "sequence_len": (_AX, "model.max_length", None),
    "hidden_dropout_prob": (_HF, "model.dropout", None),
    "pad_to_max_length": (_HF, "train.pad", _pad),
    "padding": (_HF, "train.pad", _pad),
    "finetuning_type": (_LF, "method.name", _method),
    "adapter": (_AX, "method.name", _method),
    "use_peft": (_HF, "method.name", _method),
    "use_lora": (_MANY, "method.name", _method),
    "peft_type": (_PEFT, "method.name", _method),
    "lora_r": (_AX, "method.rank", _lora("rank")),
    "lora_rank": (_LF, "method.rank", _lora("rank")),
    "r": (_PEFT, "method.rank", _lora("rank")),
    "lora_alpha": (_PEFT, "method.alpha", _lora("alpha")),
    "lora_dropout": (_PEFT, "method.dropout", _lora("dropout")),
    "lora_target": (_LF, "method.targets", _lora("targets")),
    "lora_target_modules": (_AX, "method.targets", _lora("targets")),
    "target_modules": (_PEFT, "method.targets", _lora("targets")),
    "freeze_trainable_layers": (_LF, "method.count", _layers),
    "num_layer_trainable": (_LF, "method.count", _layers),
    # data and task
    "dataset": (_LF, "data.train", _data),
    "datasets": (_AX, "data.train", _data),
    "dataset_dir": (_LF, "data.train", _data),
    "dataset_name": (_HF, "data.hub", lambda value, recipe: f"hub: {{path: {'…' if value is None else flow(value)}}}"),
    "dataset_config_name": (_HF, "data.hub.name", None),
    "interleave_probs": (_LF, "data.weights", _mixture),
    "mix_strategy": (_LF, "data.weights", _mixture),
    "train_file": (_HF, "data.train", None),
    "validation_file": (_HF, "data.validation", None),
    "test_file": (_HF, "data.test", None),
    "eval_dataset": (_LF, "data.validation", None),
    "val_size": (_LF, "data.split.validation", _split),
    "val_set_size": (_AX, "data.split.validation", _split),
    "max_samples": (_LF, "data.sample.train", None),
    "max_train_samples": (_HF, "data.sample.train", None),
    "max_eval_samples": (_HF, "data.sample.validation", None),
    "max_predict_samples": (_HF, "data.sample.test", None),
    "text_column_name": (_HF, "task.text", None),
    "text_column_names": (_HF, "task.text", None),
    "text_column": (_MANY, "task.text", None),
    "label_column_name": (_HF, "task.label", None),
    "label_column": (_MANY, "task.label", None),
    "output_dir": (_HF, "run.folder", _folder),
    "run_name": (_HF, "run.name", None),
}

_NEEDLESS: dict[str, tuple[str, str]] = {
    "load_best_model_at_end": (_HF, "the best checkpoint always becomes the model"),
    "greater_is_better": (_HF, "each metric knows its better direction"),
    "save_strategy": (_HF, "a checkpoint is saved at each evaluation, and every train.save_every steps besides"),
    "save_safetensors": (_HF, "weights are always safetensors"),
    "overwrite_output_dir": (_HF, "every run has its own folder; --force repeats a finished one"),
    "resume_from_checkpoint": (_HF, "resume on the command line: --run DIR --resume"),
    "per_device_eval_batch_size": (_HF, "batches of evaluation follow from train.token_budget"),
    "auto_find_batch_size": (_HF, "train.token_budget is derived and never changes the update"),
    "group_by_length": (_HF, "micro-batches are always sorted by length, and groups never are"),
    "train_sampling_strategy": (_HF, "micro-batches are always sorted by length, and groups never are"),
    "dataloader_num_workers": (_HF, "rows are encoded once, before training"),
    "dataloader_drop_last": (_HF, "every row is seen in every epoch"),
    "logging_steps": (_HF, "every step is in steps.jsonl"),
    "logging_strategy": (_HF, "every step is in steps.jsonl"),
    "logging_dir": (_HF, "every step is in steps.jsonl of the run folder"),
    "report_to": (_HF, "trackers read steps.jsonl of the run folder"),
    "wandb_project": (_AX, "trackers read steps.jsonl of the run folder"),
    "disable_tqdm": (_HF, "progress is shown on a terminal only"),
    "do_train": (_HF, "the verb on the command line decides: septet train RECIPE"),
    "do_predict": (_HF, "the verb on the command line decides: septet predict DIR INPUT"),
    "num_labels": (_HF, "labels are counted in the training rows; task.labels fixes them"),
    "stage": (_LF, "the task decides: task: {name: classify, …}"),
    "template": (_LF, "classification needs no chat template"),
    "tokenizer_name": (_HF, "the tokenizer is the model's own"),
    "trust_remote_code": (_HF, "code of a checkpoint is never run"),
    "load_in_4bit": (_HF, "quantised training is not there yet"),
    "load_in_8bit": (_HF, "quantised training is not there yet"),
    "quantization_bit": (_LF, "quantised training is not there yet"),
    "push_to_hub": (_HF, "septet deploy DIR writes a folder that the hub takes as it is"),
    "deepspeed": (_HF, "train.shard=true divides the model over the processes of torchrun"),
    "fsdp": (_HF, "train.shard=true divides the model over the processes of torchrun"),
}
