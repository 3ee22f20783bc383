"""A model from nothing: an architecture of transformers in the recipe's sizes, its weights drawn from the seed.

No file but the tokenizer's is read, and no code from anywhere: the architecture must be one that transformers has for the task. The
tokenizer gives the vocabulary and the special ids, the task the head.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from septet.errors import RecipeError
from septet.inputs.arrays import Processor
from septet.model import tokenizer
from septet.model.load import Loaded, attention_of, set_dropout, silent
from septet.recipe.model import Model
from septet.tasks import Head

# the recipe's words for sizes, and what configs call them
_SIZES = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "dim", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "inner": ("intermediate_size", "n_inner", "hidden_dim", "d_ff", "ffn_dim"),
}
_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")
# what the tokenizer, the labels and the engine decide
_OURS = {
    *_IDS,
    "vocab_size",
    "num_labels",
    "id2label",
    "label2id",
    "problem_type",
    "architectures",
    "model_type",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
}


def new_model(
    options: Model,
    folder: Path,
    head: Head,
    *,
    seed: int,
    processor: Any,
    dropout: float | None = None,
    attention_dropout: float | None = None,
    attention: str = "sdpa",
) -> Loaded:
    """Return a model with the task's head, all of it new; the same seed gives the same weights.

    Args:
        options: the recipe's block, with `architecture`.
        folder: the tokenizer's.
        head: the Auto class and the config fields of the task.
        seed: of all weights.
        processor: the tokenizer.
        dropout: overrides every dropout rate of the config; None keeps them.
        attention_dropout: overrides the rate of attention probabilities alone, after `dropout`.
        attention: a transformers attention implementation, or one that the engine registered.

    Raises:
        RecipeError: no such architecture for the task, an unknown field, or values that do not go together.
    """
    import torch
    import transformers

    from septet.model import last_token

    config = set_dropout(config_of(options, head, processor), dropout, attention_dropout)
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(seed)
        try:
            model = getattr(transformers, head.auto).from_config(
                config, attn_implementation=attention_of(config, head, attention), dtype=torch.float32
            )
        except Exception as error:
            raise _unfit(options, error) from error
    loaded = Loaded(model.eval(), folder, [n for n, _ in model.named_parameters()])
    return last_token.settle(loaded, head, processor)


def config_of(options: Model, head: Head, processor: Any) -> Any:
    """Return the config of the recipe's model; the tokenizer no longer gives token types where the model knows none.

    Raises:
        RecipeError: no such architecture for the task, an unknown field, or values that do not go together.
    """
    kind = _config_class(str(options.architecture), head)
    with silent():
        fields = kind().to_dict()
    given = _given(options, kind, fields)
    values = {**_sizes(options, kind, fields, given), **given}
    values |= (
        _of_arrays(processor, fields, given) if isinstance(processor, Processor) else _of_tokens(processor, fields)
    )
    try:
        with silent():
            return kind(**values, **head.config)
    except Exception as error:
        raise _unfit(options, error) from error


def _of_tokens(processor: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a tokenizer decides of a config; it no longer gives token types where the model knows none."""
    last = max(processor.get_vocab().values())
    found = {name: getattr(processor, name, None) for name in _IDS} | {"vocab_size": last + 1}
    if fields.get("is_encoder_decoder") and fields.get("decoder_start_token_id") is None:
        found["decoder_start_token_id"] = processor.pad_token_id  # as T5 does; its config alone does not say so
    if not fields.get("type_vocab_size"):
        tokenizer.keep(
            processor, "model_input_names", [n for n in processor.model_input_names if n != "token_type_ids"]
        )
    return found


def _of_arrays(processor: Processor, fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return what an image processor or a feature extractor decides of a config."""
    return {name: value for name, value in processor.decides().items() if name in fields and name not in given}


def shape_of(options: Model) -> dict[str, Any]:
    """Return what an architecture's own config says of it, before the recipe's sizes.

    Raises:
        RecipeError: transformers has no such architecture.
    """
    import transformers

    architecture = str(options.architecture)
    if architecture not in transformers.CONFIG_MAPPING:
        raise _unknown(architecture, sorted(transformers.CONFIG_MAPPING), "transformers has")
    with silent():
        return transformers.CONFIG_MAPPING[architecture]().to_dict() | (options.config or {})


def _config_class(architecture: str, head: Head) -> Any:
    import transformers

    known = sorted(getattr(transformers, head.auto)._model_mapping._model_mapping)
    if architecture not in known:
        raise _unknown(architecture, known, "transformers has for this task")
    return transformers.CONFIG_MAPPING[architecture]


def _unknown(architecture: str, known: list[str], which: str) -> RecipeError:
    near = difflib.get_close_matches(architecture.lower(), known, n=3, cutoff=0.5)
    return RecipeError(
        f"model.architecture must be a model_type that {which}.",
        received=architecture,
        hint=f"did you mean {' or '.join(near)}?" if near else "bert, gpt2, llama, qwen3, modernbert …",
    )


def _given(options: Model, kind: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Return `model.config` under the config's own names."""
    found = {}
    for name, value in (options.config or {}).items():
        own = kind.attribute_map.get(name, name)
        if own in _OURS or own.startswith("_"):
            raise RecipeError(
                f"model.config.{name} is not for the recipe: the tokenizer, the labels and the engine decide it.",
                hint="remove it",
            )
        if own not in fields:
            near = difflib.get_close_matches(name, [*fields, *kind.attribute_map], n=3, cutoff=0.5)
            raise RecipeError(
                f"model.config.{name} is no field of {options.architecture}'s config.",
                hint=f"did you mean {' or '.join(near)}?" if near else f"its fields are those of {kind.__name__}",
            )
        found[own] = value
    return found


def _sizes(options: Model, kind: Any, fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe's sizes under the config's own names, and the sizes that follow from them."""
    wanted = {"layers": options.layers, "hidden": options.hidden, "heads": options.heads, "inner": options.inner}
    found = {}
    for word, value in wanted.items():
        own = _own_name(word, kind, fields)
        if value is None:
            # GPT-2's own None means the same
            if word == "inner" and own is not None and options.hidden is not None and fields[own] is not None:
                found[own] = 4 * options.hidden
        elif own is None:
            raise RecipeError(
                f"{options.architecture} has no size that model.{word} could mean.",
                hint=f"its own field goes into model.config, as {kind.__name__} names it",
            )
        elif own in given:
            raise RecipeError(
                f"model.{word} and model.config.{own} are the same size.", hint=f"remove model.config.{own}"
            )
        else:
            found[own] = value
            twin = "num_decoder_layers" if own == "num_layers" else own.replace("encoder_", "decoder_")
            if twin in fields and twin not in given:  # a decoder beside an encoder is as large
                found[twin] = value
    if options.heads is not None and "num_key_value_heads" in fields:
        found["num_key_value_heads"] = options.heads
    if options.heads is not None and options.hidden is not None and "head_dim" in fields:
        found["head_dim"] = options.hidden // options.heads
    return found


def _own_name(word: str, kind: Any, fields: dict[str, Any]) -> str | None:
    names = [kind.attribute_map.get(name, name) for name in _SIZES[word]]
    return next((name for name in names if name in fields), None)


def _unfit(options: Model, error: Exception) -> RecipeError:
    return RecipeError(
        f"No {options.architecture} can be built with these sizes: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
        where="the recipe's section model",
        hint="septet explain model",
    )
