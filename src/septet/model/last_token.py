"""Decoders as classifiers: the answer is read at each row's last token, found by the attention mask.

GPT-2, Llama and their kin find that token as the last one that is not the padding token. Where padding is EOS, as GPT-2 needs it, a
text that ends with EOS is read one token early, padded or not. `install` reads the right token in every forward pass; weights,
config and saved artifact stay transformers' own.

Shapes: B rows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from septet.errors import ModelError
from septet.model import tokenizer
from septet.report import Finding
from septet.tasks import Example, Head

if TYPE_CHECKING:
    from septet.model.load import Loaded


def settle(loaded: Loaded, head: Head, processor: Any = None) -> Loaded:
    """Return a loaded model that reads its answers where it should, and agrees with its tokenizer on padding."""
    if not classifies(head):
        return loaded
    loaded.reads_last = install(loaded.model)
    if loaded.reads_last and processor is not None:
        fit(loaded.model, processor)
    return loaded


def classifies(head: Head) -> bool:
    """Whether a head gives one answer a row, and not one a token."""
    return head.auto == "AutoModelForSequenceClassification"


def install(model: Any) -> bool:
    """Hand a sequence classifier that reads the last token nothing but that token; return whether it is one.

    A probe tells: a row's answer is what its last token gives when one more token follows, and the one more gives another.
    """
    place = -2

    def cut(_module: Any, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        hidden_BTH = getattr(output, "last_hidden_state", None)
        if hidden_BTH is None:
            return None
        last_B = torch.full((len(hidden_BTH),), hidden_BTH.shape[1] + place, device=hidden_BTH.device)
        mask_BT = kwargs.get("attention_mask")
        if mask_BT is not None and mask_BT.dim() == 2:
            last_B = last_B - mask_BT.flip(1).argmax(1)
        rows_B = torch.arange(len(hidden_BTH), device=hidden_BTH.device)
        # at every place, so that it is found wherever the model looks
        output.last_hidden_state = hidden_BTH[rows_B, last_B][:, None].expand_as(hidden_BTH)
        return output

    expected = _probe(model, 6)
    handle = model.base_model.register_forward_hook(cut, with_kwargs=True)
    before = _probe(model, 7)
    place = -1
    last = _probe(model, 7)
    if _same(before, expected) and not _same(last, expected):
        return True
    handle.remove()
    return False


def fit(model: Any, processor: Any) -> None:
    """Make a model that reads its last token and its tokenizer agree on the padding token, and pad on the right.

    On the right, whatever fills a row comes after all that its last token can see; positions count from the row's first token.

    Raises:
        ModelError: the tokenizer has no token that can fill short rows.
    """
    if processor.pad_token_id is None:
        raise ModelError(
            "The tokenizer has no padding token and no EOS, which this model needs to tell where a row ends.",
            where=str(processor.name_or_path),
            hint='name one in its tokenizer_config.json: "pad_token" or "eos_token"',
        )
    tokenizer.keep(processor, "padding_side", "right")
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.pad_token_id = processor.pad_token_id
    embedding = model.get_input_embeddings()
    if processor.pad_token_id in (processor.eos_token_id, processor.bos_token_id) and embedding is not None:
        embedding.padding_idx = None  # EOS is a token of texts too: it learns


def findings(loaded: Loaded, processor: Any, examples: Sequence[Example]) -> list[Finding]:
    """Return where transformers' own pipeline will answer otherwise: rows that end with the padding token."""
    padding = processor.pad_token_id
    rows = sum(example.inputs["input_ids"][-1] == padding for example in examples)
    if not loaded.reads_last or not rows:
        return []
    return [
        Finding(
            "padding-ends-rows",
            "warning",
            f"{rows:,} of {len(examples):,} training rows end with the padding token {processor.pad_token!r} (id {padding}). Septet reads "
            "their last token; transformers' pipeline, on the artifact, reads the one before.",
            "give the tokenizer a padding token of its own, strip the token from the texts, or answer with septet predict and serve",
            {"rows": rows, "token": padding},
        )
    ]


def _same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return a is not None and b is not None and torch.allclose(a, b, atol=1e-5)


def _probe(model: Any, tokens: int) -> torch.Tensor | None:
    """Return the logits of one row of so many tokens, none of them padding; None where the model cannot be asked so."""
    size = getattr(model.get_input_embeddings(), "num_embeddings", 100)
    padding = model.config.get_text_config().pad_token_id
    ids = [i for i in range(size) if i != padding][:tokens]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids], device=next(model.parameters()).device)).logits.float()
    except Exception:  # whatever a model says that is not asked with token ids alone
        return None
    finally:
        model.train(was_training)
