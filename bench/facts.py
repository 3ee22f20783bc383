"""What all sides share: the prepared rows, the machine with its measured ceiling, and what a token costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.jobs import Job

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
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from septet.data.store import Prepared
    from septet.engine.device import choose_device, flops_per_token, measure_ceiling
    from septet.engine.machine import machine
    from septet.model.load import resolve
    from septet.recipe import Recipe

    recipe = Recipe.load(job.recipe, list(job.overrides))
    prepared = Prepared.open(job.prepared)
    folder = resolve(recipe.model.name, revision=recipe.model.revision, base=recipe.folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(prepared.labels))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [[row[c] for c in prepared.manifest["columns"]["texts"]] for row in prepared.rows("train")]
    lengths = [
        len(ids)
        for ids in tokenizer(*map(list, zip(*texts, strict=True)), truncation=True, max_length=job.tuning.length)[
            "input_ids"
        ]
    ]
    hidden, inner = model.config.hidden_size, getattr(model.config, "intermediate_size", 4 * model.config.hidden_size)
    ceiling = measure_ceiling(choose_device(None), hidden, inner)
    found = machine(Path(job.folder))
    del found["disk_bytes"]
    found["versions"] |= {name: importlib.metadata.version(name) for name in PEERS}
    return {
        "machine": found,
        "ceiling_gflops": ceiling.to_json(),
        "best_gflops": max(ceiling.fp32, ceiling.bf16, ceiling.fp16 or 0.0),
        "bf16_gain": ceiling.bf16 / ceiling.fp32,
        "threads": torch.get_num_threads(),
        "model": {"name": recipe.model.name, "parameters": sum(p.numel() for p in model.parameters())},
        "flops_per_token": flops_per_token(model)[1],
        "tokens_per_row": sum(lengths) / len(lengths),
        "longest_row": max(lengths),
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }
