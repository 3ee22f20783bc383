"""The upper layers and the head learn; embeddings and lower layers stay frozen."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from septet.errors import RecipeError
from septet.methods import head_names, layer_list
from septet.methods.full import Full
from septet.report import Finding

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """Which layers learn: a number of upper ones, or parameter name patterns."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    count: int | None = Field(
        None,
        ge=0,
        description="How many of the upper transformer layers learn. Half of them when neither count nor names is set.",
        json_schema_extra={"why": "the upper half, unless names are given"},
    )
    names: list[str] | None = Field(
        None,
        description="Parameters that learn, as patterns such as `*.layer.5.*`; the head learns as well.",
        json_schema_extra={"why": "chosen by count"},
    )

    @model_validator(mode="after")
    def _one_way(self) -> Options:
        if self.count is not None and self.names is not None:
            raise ValueError("set count or names, not both")
        return self


class Layers(Full):
    """Freeze all but the chosen layers and the head."""

    lr = 7e-5
    why = "the frozen lower layers keep what was learnt, so the upper ones bear a little more than full fine-tuning"

    def __init__(self, options: Options | None = None):
        self.options = options or Options(count=None, names=None)

    def refuses(self, model: Any) -> Finding | None:
        blocks = layer_list(model)
        count = self.options.count
        if count is not None and count > len(blocks):
            return Finding(
                "layers-too-many",
                "blocker",
                f"method.count is {count}; the model has {len(blocks)} layers.",
                f"method.count={len(blocks)}",
            )
        return None

    def attach(self, model: nn.Module) -> nn.Module:
        """Return the model with the chosen parameters trainable.

        Raises:
            RecipeError: a pattern of `names` matches no parameter.
        """
        learning = set(head_names(model)) | self._chosen(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in learning)
        return model

    def _chosen(self, model: Any) -> set[str]:
        every = [name for name, _ in model.named_parameters()]
        if self.options.names is not None:
            for pattern in self.options.names:
                if not any(fnmatch(name, pattern) for name in every):
                    raise RecipeError(
                        "A pattern of method.names matches no parameter.",
                        received=pattern,
                        hint=f"a name looks like {every[-1]}",
                    )
            return {name for name in every if any(fnmatch(name, pattern) for pattern in self.options.names)}
        blocks = layer_list(model)
        count = len(blocks) // 2 if self.options.count is None else self.options.count
        upper = [name for name, _ in blocks[len(blocks) - count :]]
        return {name for name in every if any(name.startswith(block + ".") for block in upper)}
