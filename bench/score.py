"""The scores of a saved model on the test rows: one evaluator for both sides, Septet's metrics.

Labels are given by plain transformers, one forward pass of ours; texts are measured in `texts.py`. Rows are put back into their own order
here; Trainer's `predict` would return them in another one when it groups by length.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.jobs import Job
from septet.data.store import Prepared
from septet.metrics import Answers, Choices, Texts
from septet.metrics.interval import intervals
from septet.recipe import Recipe

METRICS = {"choices": ("accuracy", "f1"), "texts": ("loss",)}
BATCH = 64
# what is kept of each kind's answers, beside the labels
KEPT = {"choices": ("rows", "targets", "scores"), "texts": ("rows", "references", "losses", "tokens")}


def score(job: Job, model: Path, out: Path) -> dict[str, Any]:
    """Answer all test rows, keep the answers in `out`, and return each metric with its interval by test split.

    With several test splits there is also `all`, their rows together.
    """
    data, recipe = Prepared.open(job.prepared), Recipe.load(job.recipe, list(job.overrides))
    if recipe.task.name == "generate":
        from bench import texts

        found: dict[str, Any] = texts.answers(model, data, recipe)
    else:
        found = answers(model, data, data.tests, length=job.tuning.length)
    save(out, found)
    pooled = {"all": pool(list(found.values())), **found} if len(found) > 1 else found
    return {
        split: {
            s.metric: {"value": s.value, "low": s.low, "high": s.high, "n": s.n}
            for s in intervals(METRICS[each.kind], each)
        }
        for split, each in pooled.items()
    }


def of_all(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores over all test rows."""
    return scores.get("all") or next(iter(scores.values()))


def answers(folder: Path, data: Prepared, splits: list[str], *, length: int) -> dict[str, Choices]:
    """Return the answers of a saved model to the rows of each split, in the order of the rows."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    own = [model.config.id2label[i] for i in range(model.config.num_labels)]
    if sorted(own) != sorted(data.labels):
        raise ValueError(f"the labels of {folder} are not those of the rows")
    columns = [own.index(label) for label in data.labels]
    place = {label: i for i, label in enumerate(data.labels)}
    shape = data.manifest["columns"]
    found = {}
    for split in splits:
        rows = data.rows(split)
        texts = [tuple(row[column] for column in shape["texts"]) for row in rows]
        logits = _logits(model, tokenizer, texts, device=device, length=length)[:, columns]
        scores = np.exp(logits - logits.max(1, keepdims=True))
        targets = np.array([place.get(row[shape["label"]], -1) for row in rows])
        ids = np.array([row["_row"] for row in rows])
        found[split] = Choices(ids, list(data.labels), targets, scores / scores.sum(1, keepdims=True))
    return found


def pool(parts: list[Any]) -> Any:
    """Return the rows of several splits as one."""
    joined = {name: _joined([getattr(part, name) for part in parts]) for name in KEPT[parts[0].kind]}
    return replace(parts[0], **joined, weights=None, _kept={}, _drawn={})


def save(path: Path, found: dict[str, Any]) -> None:
    """Keep answers in a file, for paired comparisons."""
    first = next(iter(found.values()))
    arrays: dict[str, Any] = {"labels": np.array(first.labels)} if first.kind == "choices" else {}
    for split, each in found.items():
        arrays |= {f"{split}/{name}": np.array(getattr(each, name)) for name in KEPT[each.kind]}
        if each.kind == "choices":
            arrays[f"{split}/scores"] = each.scores.astype(np.float32)
    np.savez_compressed(path, **arrays)


def load(path: Path) -> dict[str, Answers]:
    """Return what `save` kept."""
    with np.load(path) as arrays:
        splits = [name.removesuffix("/rows") for name in arrays.files if name.endswith("/rows")]
        if "labels" not in arrays.files:
            return {s: _texts(*(arrays[f"{s}/{name}"] for name in KEPT["texts"])) for s in splits}
        labels = [str(label) for label in arrays["labels"]]
        return {
            s: Choices(arrays[f"{s}/rows"], labels, arrays[f"{s}/targets"], arrays[f"{s}/scores"].astype(np.float64))
            for s in splits
        }


def _texts(rows: np.ndarray, references: np.ndarray, losses: np.ndarray, tokens: np.ndarray) -> Texts:
    return Texts(rows, [str(text) for text in references], None, losses, tokens)


def _joined(parts: list[Any]) -> Any:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [each for part in parts for each in part]


def _logits(model: Any, tokenizer: Any, texts: list[tuple[str, ...]], *, device: str, length: int) -> np.ndarray:
    """Return (N, K) float64 logits in the order of the texts."""
    import torch

    order = sorted(range(len(texts)), key=lambda i: sum(map(len, texts[i])))
    found = np.zeros((len(texts), model.config.num_labels))
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            columns = [list(column) for column in zip(*(texts[i] for i in chosen), strict=True)]
            inputs = tokenizer(*columns, padding=True, truncation=True, max_length=length, return_tensors="pt").to(
                device
            )
            found[chosen] = model(**inputs).logits.double().cpu().numpy()
    return found
