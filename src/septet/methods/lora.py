"""Low-rank adapters beside frozen weights, through peft; merged into the artifact, and kept beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from septet.methods import backbone_prefix, decay_groups, head_names, writes
from septet.report import Finding

if TYPE_CHECKING:
    from torch import nn


class Options(BaseModel):
    """The adapters' size and place."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rank: int = Field(
        16,
        ge=1,
        le=512,
        description="Rank of each adapter, 1 to 512. Higher learns more and costs more.",
        json_schema_extra={"why": "8 to 32 suits classification; Hu et al. 2021 found little gain above"},
    )
    alpha: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Scale of the adapters; the update is multiplied by alpha / rank.",
        json_schema_extra={"why": "twice the rank, so that the scale is 2 at any rank"},
    )
    dropout: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        allow_inf_nan=False,
        description="Dropout before the adapters, 0 to below 1. Raise it when a small training set is overfitted.",
        json_schema_extra={"why": "the model's own dropout is on already"},
    )
    targets: list[str] | None = Field(
        None,
        description="Names of the linear layers that get an adapter, as the ends of their module names.",
        json_schema_extra={"why": "every linear layer of the backbone"},
    )


class Lora:
    """Adapters of low rank on linear layers; the head learns in full."""

    lr = 5e-4
    why = "adapters start from nothing and bear ten times the rate of full fine-tuning"

    def __init__(self, options: Options | None = None):
        self.options = options or Options(rank=16, alpha=None, dropout=0.0, targets=None)

    def refuses(self, model: Any) -> Finding | None:
        if not self._targets(model):
            return Finding(
                "lora-no-targets",
                "blocker",
                "No linear layer of the model matches method.targets.",
                "leave method.targets out, or septet explain method.targets",
            )
        return None

    def attach(self, model: Any) -> nn.Module:
        from peft import LoraConfig, get_peft_model
        from transformers.pytorch_utils import Conv1D

        targets = self._targets(model)
        heads = sorted({name.rsplit(".", 1)[0] for name in head_names(model)})
        config = LoraConfig(
            r=self.options.rank,
            lora_alpha=self.options.alpha or 2 * self.options.rank,  # pyright: ignore[reportArgumentType]
            lora_dropout=self.options.dropout,
            target_modules=targets,
            modules_to_save=_outermost(heads, model) or None,
            task_type=_peft_task(model),
            fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in targets),
        )
        # the engine keeps the fp32 masters; peft must not choose a dtype of its own
        return get_peft_model(model, config, autocast_adapter_dtype=False)

    def param_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return decay_groups(model, weight_decay)

    def save(self, model: Any, folder: Path, base: dict[str, Any]) -> None:
        """Write the adapter alone, in peft's own format, with `base.json`: which checkpoint it belongs to."""
        # peft records the path the base was loaded from; a name means the same elsewhere
        model.peft_config["default"].base_model_name_or_path = base["name"]
        # left to itself, peft asks the hub for the base's config to compare vocabularies; adapters never hold embeddings here
        model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's empty card
        (folder / "base.json").write_text(json.dumps(base, indent=2) + "\n")

    def merge(self, model: Any) -> nn.Module:
        """Return the plain model with the adapters added to its weights."""
        return model.merge_and_unload()

    def _targets(self, model: Any) -> list[str]:
        from torch.nn import Linear
        from transformers.pytorch_utils import Conv1D

        heads = {name.removesuffix(".weight") for name in head_names(model)}
        if writes(model):
            heads |= {name for name, module in model.named_modules() if module is model.get_output_embeddings()}
        # GPT-2's projections: linear layers whose weight lies the other way round
        linear = [name for name, module in model.named_modules() if isinstance(module, Linear | Conv1D)]
        backbone = [name for name in linear if name not in heads]
        if self.options.targets is None:
            return backbone
        return [name for name in backbone if any(name == t or name.endswith("." + t) for t in self.options.targets)]


def _peft_task(model: Any) -> str | None:
    """Return peft's word for what a model does; None of one that reads pictures or recordings, for which it has none."""
    if model.main_input_name != "input_ids":
        return None
    if not writes(model):
        return "SEQ_CLS"
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"


def _outermost(names: list[str], model: Any) -> list[str]:
    """Return the top modules of the head: `classifier`, not `classifier.dense`."""
    prefix = backbone_prefix(model)
    return sorted(
        {
            prefix + name[len(prefix) :].split(".")[0] if name.startswith(prefix) else name.split(".")[0]
            for name in names
        }
    )
