"""The training profile: what requests looked like when the model was made.

`write` keeps, beside the model, how the *validation* rows were answered: predicted labels, token lengths and pooled
embeddings (float16, up to 2,000 rows). Validation rows, since the model has not learnt them: training rows would make
every new request look unusual. No text is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from septet.durable import write_atomic
from septet.errors import ModelError
from septet.tasks import Prediction

FORMAT = 1
FACTS = "profile.json"
ARRAYS = "profile.safetensors"
MAX_EMBEDDINGS = 2_000
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_BINS = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of the validation rows.

    Args:
        labels: how often each label was predicted.
        tokens: (N,) tokens of each row before truncation.
        embeddings: (M, H) float32 pooled embeddings, M up to 2,000.
    """

    labels: dict[str, int]
    tokens: np.ndarray
    embeddings: np.ndarray

    @property
    def n(self) -> int:
        return len(self.tokens)


def write(folder: str | Path, predictions: Sequence[Prediction]) -> None:
    """Write `profile.json` and `profile.safetensors` into a model folder.

    Args:
        folder: the model folder.
        predictions: of the validation rows, with their embeddings, by the model as it was saved.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    tokens = np.array([p.tokens + p.truncated for p in predictions], np.int32)
    vectors = [np.asarray(p.embedding, np.float16) for p in predictions if p.embedding is not None]
    if len(vectors) > MAX_EMBEDDINGS:
        kept = np.random.default_rng(0).permutation(len(vectors))[:MAX_EMBEDDINGS]
        vectors = [vectors[i] for i in sorted(kept)]
    embeddings = np.stack(vectors) if vectors else np.zeros((0, 0), np.float16)
    facts = {
        "format": FORMAT,
        "n": len(predictions),
        "labels": dict(Counter(p.label for p in predictions).most_common()),
        "tokens": _spread(tokens),
        "truncated_rows": sum(p.truncated > 0 for p in predictions),
        "confidence": _spread(np.array([p.scores[p.value] for p in predictions if p.scores is not None])),
    }
    write_atomic(folder / FACTS, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    write_atomic(folder / ARRAYS, save({"tokens": tokens, "embeddings": embeddings}))


def read(folder: str | Path) -> Profile:
    """Return the profile in a model folder.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = Path(folder)
    if not (folder / FACTS).is_file() or not (folder / ARRAYS).is_file():
        raise ModelError(f"The model has no {FACTS}, so there is nothing to compare with.", where=str(folder))
    try:
        facts = json.loads((folder / FACTS).read_text())
        arrays = load((folder / ARRAYS).read_bytes())
        labels = {str(label): int(count) for label, count in facts["labels"].items()}
        return Profile(labels, arrays["tokens"].astype(np.int64), arrays["embeddings"].astype(np.float32))
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ModelError("The model's profile cannot be read.", where=str(folder / FACTS)) from error


def _spread(values: np.ndarray) -> dict[str, object]:
    """Return mean, quantiles and a histogram, as JSON."""
    if not len(values):
        return {"mean": None, "quantiles": {}, "histogram": {"edges": [], "counts": []}}
    counts, edges = np.histogram(values, bins=_BINS)
    quantiles = dict(zip(map(str, _QUANTILES), np.quantile(values, _QUANTILES).round(6).tolist(), strict=True))
    histogram = {"edges": edges.round(6).tolist(), "counts": counts.tolist()}
    return {"mean": round(float(values.mean()), 6), "quantiles": quantiles, "histogram": histogram}
