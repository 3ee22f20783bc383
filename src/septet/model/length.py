"""How many tokens a model reads, as its config says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# models whose positions begin behind the padding's index
COUNT_FROM_PADDING = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
}


def most_tokens(config: Mapping[str, Any]) -> int | None:
    """Return the tokens that a model has positions for; None where its config names no limit, or where positions are relative (T5)."""
    if config.get("relative_attention_num_buckets"):
        return None
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if not limit:
        return None
    if config.get("model_type") in COUNT_FROM_PADDING:
        return int(limit) - 1 - (1 if config.get("pad_token_id") is None else int(config["pad_token_id"]))
    return int(limit)
