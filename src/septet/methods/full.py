"""Every weight learns: the strongest and the most expensive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from septet.methods import decay_groups
from septet.report import Finding

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """`method: full` takes no options."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Full:
    """Train all parameters.

    Args:
        options: the recipe's block (empty).
    """

    lr = 5e-5
    why = "full fine-tuning of a pre-trained encoder: 2e-5 to 5e-5 for base sizes (Devlin et al. 2019), more for small ones"

    def __init__(self, options: Options | None = None):
        self.options = options or Options()

    def refuses(self, model: Any) -> Finding | None:
        return None

    def attach(self, model: nn.Module) -> nn.Module:
        model.requires_grad_(True)
        return model

    def param_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return decay_groups(model, weight_decay)

    def save(self, model: nn.Module, folder: Path, base: dict[str, Any]) -> None:
        """Nothing beside the model itself."""

    def merge(self, model: nn.Module) -> nn.Module:
        return model
