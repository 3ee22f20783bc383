"""A small run of each kind of task: recipes on models built in code, with dropout on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import languages
import small


def augmented(folder: Path) -> dict[str, Any]:
    """Return a recipe that learns to classify rows and variants of them."""
    source = small.recipe(folder, epochs=2)
    source["data"]["augment"] = {"augmenters": ["typos", "drop", "swap"], "copies": 2, "check": False}
    return source


# where a unit lies at the edge of ReLU, rounding decides whether it learns, and two curves part
SMOOTH = {"t5": {"feed_forward_proj": "gated-gelu"}}


def texts(folder: Path, kind: str, **task: Any) -> dict[str, Any]:
    """Return a recipe that learns to answer."""
    rows = [
        {"q": f"Where is parcel {i}?", "a": f"Parcel {i} is {'late' if i % 3 else 'here' * (i % 5)}."}
        for i in range(46)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    languages.folder(folder / kind, kind, **SMOOTH.get(kind, {}))
    return {
        "data": {"train": str(folder / "rows.jsonl")},
        "task": {"name": "generate", "prompt": "q", "answer": "a", **task},
        "model": {"name": str(folder / kind), "dropout": 0.1},
        "train": {**small.quiet_recipe(), "token_budget": 128, "epochs": 3, "batch": 8, "lr": 2e-3},
    }


def hidden_words(folder: Path) -> dict[str, Any]:
    """Return a recipe that learns to guess hidden words, drawn anew each epoch: the weights of a group are not known before."""
    rows = [{"text": " ".join(["the sea was cold", f"and {i} winds came in"] * (1 + i % 4))} for i in range(43)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    processor = languages.tokenizer()
    processor.add_special_tokens({"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"})
    processor.save_pretrained(folder / "words")
    sizes = {"layers": 2, "hidden": 32, "heads": 4, "config": {"max_position_embeddings": 50}}
    return {
        "data": {"train": str(folder / "texts.jsonl"), "split": {"validation": 0.2, "test": 0.1}},
        "task": {"name": "pretrain", "objective": "masked"},
        "model": {"architecture": "roberta", "tokenizer": str(folder / "words"), **sizes, "max_length": 48},
        "train": {**small.quiet_recipe(), "token_budget": 128, "epochs": 2, "batch": 8, "lr": 1e-3},
    }


TEXTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "causal, lora": lambda folder: {**texts(folder, "llama"), "method": "lora"},
    "encoder-decoder, full": lambda folder: texts(folder, "t5"),
    "hidden words": hidden_words,
}
