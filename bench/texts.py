"""Rows of conversations as Septet reads them, for all sides: examples, turns for a peer, and the loss of a saved model.

One evaluator for both sides: the saved folder in plain transformers, in fp32, and `Predictor.measure` with the recipe's task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet import registry
from septet.data.store import Prepared
from septet.inputs.chat import conversation
from septet.metrics import Texts
from septet.model.load import check_folder, resolve
from septet.model.predictor import Predictor
from septet.recipe import Recipe
from septet.tasks import Example


@dataclass(frozen=True, slots=True)
class Reader:
    """The task and the tokenizer of a recipe whose model is a folder.

    Args:
        folder: the model that all sides begin with.
    """

    task: Any
    processor: Any
    folder: Path

    @classmethod
    def of(cls, recipe: Recipe) -> Reader:
        folder = resolve(recipe.model.name, revision=recipe.model.revision, base=recipe.folder)
        task = registry.part("task", "generate")(recipe.task).suited(check_folder(folder), recipe.folder)
        return cls(task.learn([], max_length=recipe.model.max_length), task.input.processor(str(folder)), folder)

    def examples(self, rows: Sequence[dict[str, Any]]) -> list[Example]:
        """Return the one example of each row.

        Raises:
            ValueError: a row holds nothing to learn; such rows are sifted out before.
        """
        encoded = self.task.encode(rows, self.processor)
        if any(len(each) != 1 for each in encoded):
            raise ValueError("some rows hold nothing to learn")
        return [example for (example,) in encoded]

    def messages(self, row: dict[str, Any]) -> list[dict[str, str]]:
        """Return a row's turns as chat templates take them."""
        return [{"role": turn.role, "content": turn.content} for turn in conversation(row, self.task.columns)]


def language_model(folder: Path) -> Any:
    """Return the saved model in fp32, on the device there is."""
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()


def answers(folder: Path, data: Prepared, recipe: Recipe) -> dict[str, Texts]:
    """Return the loss of a saved model on the rows of each test split, in the order of the rows."""
    reader = Reader.of(recipe)
    predictor = Predictor(language_model(folder), reader.task, reader.processor)
    found = {}
    for split in data.tests:
        rows = data.rows(split)
        measured = predictor.measure([[example] for example in reader.examples(rows)])
        found[split] = reader.task.judge(rows, measured)
    return found
