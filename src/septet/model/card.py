"""The model card: what was tuned on what, how it scored, how to use it, and what to be careful with."""

from __future__ import annotations

from typing import Any


def text(setup: Any, best: dict[str, Any], costs: dict[str, Any]) -> str:
    """Return the text of the artifact's README.md, with the metadata block that hubs read."""
    recipe, task, prepared = setup.recipe, setup.task, setup.prepared
    splits = ", ".join(f"{name} {facts['rows']:,}" for name, facts in prepared.splits.items())
    base = "" if recipe.model.name is None else f"base_model: {recipe.model.name}\n"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
{base}tags: [septet, {recipe.method.name}]
---

# {recipe.model.title}, tuned to `{task.name}`

Tuned with Septet by method `{recipe.method.name}` in {setup.total:,} planned updates of {recipe.train.batch} rows.
Validation {best["metric"]} {best["value"]:.4f} at step {best["step"]:,}; this split chose the checkpoint. Scores on the test split, with
intervals and baselines, are in the run's report.

- Labels ({len(task.labels)}): {", ".join(task.labels[:40])}{" …" if len(task.labels) > 40 else ""}
- Rows: {splits}
- Longest text: {task.max_length} tokens; longer ones are cut
- Training: {costs["train_s"]:.0f} s, {costs["rows_per_s"]:.0f} rows/s

## Use

```python
from transformers import pipeline

pipeline("text-classification", model="THIS_FOLDER", truncation=True)("your text")
```

```sh
septet predict THIS_FOLDER texts.csv -o answers.csv
septet serve THIS_FOLDER
```

## Limits

The model knows only the labels above and gives one of them to any text, also to texts unlike its training data.
The licences of the base model and of the data apply to it.
"""
