"""Only the head learns (and the pooler that feeds it); the backbone stays as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from septet.methods import head_names, writes
from septet.methods.full import Full
from septet.report import Finding

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """`method: head` takes no options."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Head(Full):
    """Freeze the backbone and train what sits on it."""

    lr = 1e-3
    why = "a head alone bears a rate some twenty times that of full fine-tuning: nothing pre-trained can be lost"

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def refuses(self, model: nn.Module) -> Finding | None:
        if not writes(model):
            return None
        return Finding(
            "no-new-head",
            "blocker",
            "method head trains a new head, and a model that writes text has none: its output embedding is pre-trained.",
            "method: lora, or layers for the upper ones",
        )

    def attach(self, model: nn.Module) -> nn.Module:
        learning = set(head_names(model))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in learning)
        return model
