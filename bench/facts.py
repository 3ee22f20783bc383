"""What all sides share: the prepared rows, the machine with its measured ceiling, and what a token costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.jobs import Job

if TYPE_CHECKING:
    from septet.data.store import Prepared
    from septet.recipe import Recipe

PEERS = ("accelerate", "datasets", "matplotlib")


def prepare(job: Job) -> dict[str, Any]:
    """Prepare the rows once (Septet's stage 1), for both sides to read."""
    from septet import journey

    found = journey.prepare(job.recipe, list(job.overrides), run=job.run)
    splits = {name: facts["rows"] for name, facts in found.prepared.splits.items()}
    return {
        "prepared": str(found.prepared.path.resolve()),
        "splits": splits,
        "tests": found.prepared.tests,
        "labels": found.prepared.labels,
        "sha256": {name: facts["sha256"] for name, facts in found.prepared.splits.items()},
    }


def facts(job: Job) -> dict[str, Any]:
    """Measure the ceiling of this machine at the model's own shapes, and count what a token of this model costs."""
    import importlib.metadata

    import torch

    from septet.data.store import Prepared
    from septet.engine.device import choose_device, measure_ceiling
    from septet.engine.machine import machine
    from septet.recipe import Recipe

    recipe = Recipe.load(job.recipe, list(job.overrides))
    writes = recipe.task.name == "generate"
    model, costs = (_of_texts if writes else _of_choices)(recipe, Prepared.open(job.prepared), job.tuning.length)
    hidden, inner = model.config.hidden_size, getattr(model.config, "intermediate_size", 4 * model.config.hidden_size)
    ceiling = measure_ceiling(choose_device(None), hidden, inner)
    found = machine(Path(job.folder))
    del found["disk_bytes"]
    found["versions"] |= {name: importlib.metadata.version(name) for name in (*PEERS, *(["trl"] if writes else []))}
    return {
        "machine": found,
        "ceiling_gflops": ceiling.to_json(),
        "best_gflops": max(ceiling.fp32, ceiling.bf16, ceiling.fp16 or 0.0),
        "bf16_gain": ceiling.bf16 / ceiling.fp32,
        "threads": torch.get_num_threads(),
        "model": {"name": recipe.model.name, "parameters": sum(p.numel() for p in model.parameters())},
        **costs,
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def _of_choices(recipe: Recipe, prepared: Prepared, length: int) -> tuple[Any, dict[str, float]]:
    """Return the model of a classification, and what its rows and tokens cost."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from septet.engine.device import flops_per_token
    from septet.model.load import resolve

    folder = resolve(recipe.model.name, revision=recipe.model.revision, base=recipe.folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(prepared.labels))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [[row[c] for c in prepared.manifest["columns"]["texts"]] for row in prepared.rows("train")]
    encoded = tokenizer(*map(list, zip(*texts, strict=True)), truncation=True, max_length=length)["input_ids"]
    return model, {"flops_per_token": flops_per_token(model)[1], **_lengths([len(ids) for ids in encoded])}


def _of_texts(recipe: Recipe, prepared: Prepared, length: int) -> tuple[Any, dict[str, float]]:
    """Return a language model, and what its rows and tokens cost: the output projection is needed where a token is learned only."""
    from bench.texts import Reader, language_model
    from septet.engine.device import flops_per_token

    reader = Reader.of(recipe)
    model = language_model(reader.folder)
    examples = reader.examples(prepared.rows("train"))
    supervised, tokens = sum(sum(e.inputs["supervised"]) for e in examples), sum(e.size for e in examples)
    projected = 6.0 * model.get_output_embeddings().weight.numel()
    return model, {
        "flops_per_token": flops_per_token(model)[1] - projected * (1 - supervised / tokens),
        **_lengths([e.size for e in examples]),
        "supervised_per_row": supervised / len(examples),
    }


def _lengths(lengths: list[int]) -> dict[str, float]:
    return {"tokens_per_row": sum(lengths) / len(lengths), "longest_row": max(lengths)}
