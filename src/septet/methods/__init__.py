"""Methods: which weights learn, and how they are stored. One file is one method.

A method is a class with the options of its file. `attach` freezes and wraps; the engine trains whatever then has
`requires_grad`; `merge` returns a plain transformers model. What cannot be combined says so in `refuses`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from septet.report import Finding

if TYPE_CHECKING:
    from torch import nn

# biases and normalisations do not decay (Devlin et al. 2019, the released code; transformers does the same)
NO_DECAY_NDIM = 1


class Method(Protocol):
    """The contract of a method; `lr` and `epochs` are its defaults with their reasons in `why`."""

    lr: float
    why: str

    def refuses(self, model: Any) -> Finding | None: ...
    def attach(self, model: nn.Module) -> nn.Module: ...
    def param_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]: ...
    def save(self, model: nn.Module, folder: Path, base: dict[str, Any]) -> None: ...
    def merge(self, model: nn.Module) -> nn.Module: ...


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trainable parameters, by name, in two groups: matrices decay, vectors do not."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [name for name, p in trainable if p.ndim > NO_DECAY_NDIM]
    kept = [name for name, p in trainable if p.ndim <= NO_DECAY_NDIM]
    groups = [{"names": decayed, "weight_decay": weight_decay}, {"names": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["names"]]


def writes(model: Any) -> bool:
    """Whether a model writes text: its output embedding is pre-trained as the rest of it is, and no new head."""
    find = getattr(model, "get_output_embeddings", None)
    return find is not None and find() is not None


def head_names(model: Any) -> list[str]:
    """Return the parameters outside the backbone, with the backbone's pooler, which exists for the head alone; none of a model that writes."""
    if writes(model):
        return []
    prefix = backbone_prefix(model)
    return [
        name
        for name, _ in model.named_parameters()
        if not name.startswith(prefix) or name.startswith(prefix + "pooler.")
    ]


def backbone_prefix(model: Any) -> str:
    """Return what the names of the backbone's parameters begin with."""
    name = model.base_model_prefix
    # a Whisper that classifies has the encoder alone, under its own name
    return f"{name}." if hasattr(model, name) else "encoder."


def input_embeddings(model: Any) -> nn.Module | None:
    """Return what a model looks tokens up in; None of one that reads none."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:  # what transformers says of a convolutional network
        return None


def layer_list(model: Any) -> list[tuple[str, nn.Module]]:
    """Return the backbone's transformer blocks, lowest first, with their names; an encoder's before its decoder's."""
    from torch.nn import ModuleList

    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, ModuleList) and len(m)]
    config = model.config.get_text_config()
    if config.is_encoder_decoder:
        outer = [(name, m) for name, m in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
        return [(f"{name}.{i}", block) for name, m in outer for i, block in enumerate(m)]
    if not lists:
        return []
    count = getattr(config, "num_hidden_layers", None)  # a convolutional network's config may name none
    name, blocks = next(((n, m) for n, m in lists if len(m) == count), lists[0])
    return [(f"{name}.{i}", block) for i, block in enumerate(blocks)]
