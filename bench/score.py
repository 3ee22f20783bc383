"""One evaluator for both sides: plain transformers on the saved folder, one forward pass of ours, Septet's metrics.

Rows are put back into their own order here; Trainer's `predict` would return them in another one when it groups by length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from septet.data.store import Prepared
from septet.metrics import Choices
from septet.metrics.interval import intervals

METRICS = ("accuracy", "f1")
BATCH = 64


def score(model: Path, prepared: Path, out: Path, *, length: int) -> dict[str, Any]:
    """Answer all test rows, keep the answers in `out`, and return each metric with its interval by test split.

    With several test splits there is also `all`, their rows together.
    """
    data = Prepared.open(prepared)
    found = answers(model, data, data.tests, length=length)
    save(out, found)
    pooled = {"all": pool(list(found.values())), **found} if len(found) > 1 else found
    return {
        split: {s.metric: {"value": s.value, "low": s.low, "high": s.high, "n": s.n} for s in intervals(METRICS, each)}
        for split, each in pooled.items()
    }


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


def pool(parts: list[Choices]) -> Choices:
    """Return the rows of several splits as one."""
    first = parts[0]
    return Choices(
        np.concatenate([part.rows for part in parts]),
        first.labels,
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def save(path: Path, found: dict[str, Choices]) -> None:
    """Keep answers in a file, for paired comparisons."""
    arrays: dict[str, Any] = {"labels": np.array(next(iter(found.values())).labels)}
    for split, each in found.items():
        arrays |= {
            f"{split}/rows": each.rows,
            f"{split}/targets": each.targets,
            f"{split}/scores": each.scores.astype(np.float32),
        }
    np.savez_compressed(path, **arrays)


def load(path: Path) -> dict[str, Choices]:
    """Return what `save` kept."""
    with np.load(path) as arrays:
        labels = [str(label) for label in arrays["labels"]]
        splits = [name.removesuffix("/rows") for name in arrays.files if name.endswith("/rows")]
        return {
            s: Choices(arrays[f"{s}/rows"], labels, arrays[f"{s}/targets"], arrays[f"{s}/scores"].astype(np.float64))
            for s in splits
        }


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
