"""Rows that both sides of `sft` take whole, and the model they begin with.

Septet's stage 1 cleans and splits the rows of a recipe; the model is built from its seed, the vocabulary learned from the training texts.
Then each row is encoded twice: by Septet, and as `SFTTrainer` does it, by transformers' `apply_chat_template` with its mask of the
assistant's tokens. What either would refuse or cut, or what the two read as other tokens, is left out for both and counted. The rest is written
with a recipe, from which both sides go on.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bench.jobs import Job
from bench.texts import Reader
from septet import journey, registry
from septet.encode import Encoded, encode, folder_of
from septet.model.artifact import sha256
from septet.recipe import Recipe
from septet.setup import build

MODEL, RECIPE = "model", "recipe.yaml"
# nothing may be lost when the sifted rows are prepared
AS_THEY_ARE = {"duplicates": "keep", "overlap": "keep"}


def sift(job: Job) -> dict[str, Any]:
    """Write rows, model and recipe into the job's folder.

    Returns: the recipe, how many rows of each split are kept, and left out by stage 1 or here, and hashes of model and tokenizer.
    """
    folder = Path(job.folder)
    recipe = Recipe.load(job.recipe, list(job.overrides))
    prepared = journey.prepare(recipe, run=job.run).prepared
    encoded = encode(recipe, prepared, folder_of(recipe, prepared))
    _save_model(encoded, folder_of(recipe, prepared), folder / MODEL)
    length = recipe.model.max_length or encoded.task.context or encoded.recipe.model.max_length or 0
    # nothing is cut here, so that what would be cut is seen
    reader = Reader(replace(encoded.task, max_length=None), encoded.processor, folder / MODEL)
    kept, left_out = {}, {}
    for split in prepared.splits:
        rows = prepared.rows(split)
        reasons = reasons_against(rows, reader, length)
        left_out[split] = {**prepared.ledger[split].dropped, **Counter(filter(None, reasons))}
        chosen = [row for row, reason in zip(rows, reasons, strict=True) if not reason]
        kept[split] = len(chosen)
        _write_rows(chosen, folder / f"{split}.jsonl")
    _write_recipe(Path(job.recipe), list(kept), prepared.located, length=length, out=folder / RECIPE)
    return {
        "recipe": str(folder / RECIPE),
        "kept": kept,
        "left_out": left_out,
        "length": length,
        "sha256": {name: sha256(folder / MODEL / name) for name in ("model.safetensors", "tokenizer.json")},
    }


def reasons_against(rows: list[dict[str, Any]], reader: Reader, length: int) -> list[str]:
    """Return why each row cannot be compared; empty where it can."""
    encoded = reader.task.encode(rows, reader.processor)
    return [_reason(row, each, reader, length) for row, each in zip(rows, encoded, strict=True)]


def _reason(row: dict[str, Any], examples: list[Any], reader: Reader, length: int) -> str:
    if len(examples) != 1:
        return "nothing to learn"
    (example,) = examples
    if example.size > length:
        return f"longer than {length} tokens"
    theirs = reader.processor.apply_chat_template(
        reader.messages(row), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ours = example.inputs
    same = list(theirs["input_ids"]) == ours["input_ids"] and list(theirs["assistant_masks"]) == ours["supervised"]
    return "" if same else "other tokens on the two sides"


def _save_model(encoded: Encoded, base: Path, out: Path) -> None:
    method = registry.part("method", encoded.recipe.method.name)(encoded.recipe.method)
    _, model, _ = build(encoded.recipe, encoded.task, method, base, encoded.processor)
    model.save_pretrained(out)
    encoded.processor.save_pretrained(out)


def _write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    told = [{column: value for column, value in row.items() if column != "_row"} for row in rows]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told))


def _write_recipe(given: Path, splits: list[str], located: dict[str, str], *, length: int, out: Path) -> None:
    """Write the recipe of the sifted rows: the given one's task and train, with the files that lie beside it."""
    recipe = yaml.safe_load(given.read_text())
    task = {"name": recipe["task"]} if isinstance(recipe["task"], str) else recipe["task"]
    recipe |= {
        "data": {**{split: f"{split}.jsonl" for split in splits}, **AS_THEY_ARE},
        "task": {**task, **located},
        "model": {"name": MODEL, "max_length": length},
    }
    out.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
