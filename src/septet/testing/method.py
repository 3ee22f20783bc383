"""`check_method`: what a method freezes stays as it was, what it trains learns, and what it merges answers the same."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from septet import registry
from septet.report import Finding
from septet.testing.bench import Bench, bench, texts
from septet.testing.contract import check_file, require

_LR = 5e-3


def check_method(name: str, options: dict[str, Any] | None = None, *, model: str | Path | None = None) -> None:
    """Check a method on a tiny encoder.

    Args:
        name: as registered.
        options: the recipe's block without its name.
        model: a model folder instead of the tiny encoder.

    Raises:
        ContractError: it breaks a promise.
    """
    module = registry.module("method", name)
    check_file(module)
    kind = registry.part("method", name)
    block = module.Options(**(options or {})) if hasattr(module, "Options") else None

    def make() -> Any:
        return kind(block) if block is not None else kind()

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        first = bench(place, _task(), texts(), model=model, method=None)
        method = make()
        require(
            method.lr > 0 and len(method.why) > 10,
            "A method has a default lr and its reason.",
            expected="lr > 0, why",
            received=(method.lr, method.why),
        )
        refused = method.refuses(first.model)
        require(
            refused is None or isinstance(refused, Finding),
            "refuses returns a Finding or None.",
            expected="None",
            received=refused,
        )
        require(
            refused is None,
            "The method accepts the tiny encoder with these options.",
            expected="None",
            received=refused,
        )
        plain = set(first.model.state_dict())
        attached = bench(place, _task(), texts(), model=model, method=method)
        _check_groups(attached, method)
        _check_training(attached, method)
        _check_merge(attached, method, plain)
        _check_seed(place, make, model)


def _task() -> Any:
    from septet.tasks.classify import Classify, Options

    return Classify(Options.model_validate({"text": "text", "label": "label"}))


def _check_groups(b: Bench, method: Any) -> None:
    learning = {name for name, p in b.model.named_parameters() if p.requires_grad}
    require(
        bool(learning), "attach leaves something to learn.", expected="parameters with requires_grad", received="none"
    )
    named = [name for group in method.param_groups(b.model, 0.01) for name in group["names"]]
    require(
        sorted(named) == sorted(learning),
        "param_groups names each learning parameter once, and no other.",
        expected=sorted(learning),
        received=sorted(named),
    )
    vectors = [
        n
        for g in method.param_groups(b.model, 0.01)
        if g["weight_decay"]
        for n in g["names"]
        if b.model.get_parameter(n).ndim < 2
    ]
    require(not vectors, "Biases and normalisations do not decay.", expected="weight_decay 0", received=vectors)


def _check_training(b: Bench, method: Any) -> None:
    before = {name: p.detach().clone() for name, p in b.model.named_parameters()}
    losses = b.fit(method, steps=50, lr=max(_LR, method.lr))
    moved = {name for name, p in b.model.named_parameters() if not bool((p == before[name]).all())}
    learning = {name for name, p in b.model.named_parameters() if p.requires_grad}
    require(
        moved <= learning,
        "What is frozen stays as it was, bit for bit.",
        expected="no change",
        received=sorted(moved - learning),
    )
    require(bool(moved), "Training changes what learns.", expected="a change", received="none")
    require(
        losses[-1] < 0.8 * losses[0],
        "The method learns 8 rows.",
        expected=f"a loss below {0.8 * losses[0]:.3f}",
        received=losses[-1],
    )


def _check_merge(b: Bench, method: Any, plain: set[str]) -> None:
    import torch

    from septet.engine.dropout import remove

    batch = b.batch()
    with torch.inference_mode():
        before = b.model.eval()(**batch.inputs).logits
        remove(b.model)
        merged = method.merge(b.model)
        after = merged.eval()(**batch.inputs).logits
    require(
        set(merged.state_dict()) == plain,
        "merge returns a plain model: the base's own tensors.",
        expected="the same names",
        received=sorted(set(merged.state_dict()) ^ plain),
    )
    gap = float((before - after).abs().max())
    require(gap < 1e-4, "The merged model gives the same answers.", expected="a difference below 1e-4", received=gap)


def _check_seed(folder: Path, make: Any, model: Any) -> None:
    """New tensors come from torch's generator, which the set-up seeds, and from nowhere else."""
    one, other = (
        dict(bench(folder, _task(), texts(), model=model, method=make()).model.named_parameters()) for _ in range(2)
    )
    differing: Sequence[str] = [name for name, value in one.items() if not bool((value == other[name]).all())]
    require(not differing, "The same seed gives the same new tensors.", expected="equal", received=differing)
