"""The one thing to change next: each returns it as `key=value` for the command line, and as advice that says what it was."""

from __future__ import annotations

import math

from septet.signs import Signs

SHORT_STEPS = (
    30  # fewer updates are a short run whatever the data; found on the planted runs of docs/why.md, "Diagnosis"
)


def lower_rate(signs: Signs) -> tuple[str, str]:
    lower = signs.lr / 10 if signs.usual_lr is None else min(signs.usual_lr, signs.lr / 10)
    return f"train.lr={lower:g}", f"a lower rate: train.lr={lower:g} ({_rates(signs)})"


def higher_rate(signs: Signs) -> tuple[str, str]:
    usual = signs.usual_lr
    higher = usual if usual is not None and signs.lr < usual / 2 else signs.lr * 5
    return f"train.lr={higher:g}", f"a higher rate: train.lr={higher:g} ({_rates(signs)})"


def more_weights(signs: Signs) -> tuple[str, str]:
    return "method=full", f"let more weights learn: method=full (it was {signs.method})"


def longer_run(signs: Signs) -> tuple[str, str]:
    had = f"it had {signs.steps:,} updates, {signs.epochs:.2g} epochs"
    if signs.max_steps is not None:
        steps = max(3 * SHORT_STEPS, 2 * signs.steps)
        return f"train.max_steps={steps}", f"a longer run: train.max_steps={steps}, or none ({had})"
    per_epoch = signs.steps / signs.epochs if signs.epochs else signs.steps
    epochs = max(3, math.ceil(2 * signs.epochs), math.ceil(3 * SHORT_STEPS / max(per_epoch, 1)))
    return f"train.epochs={epochs}", f"a longer run: train.epochs={epochs} ({had})"


def fewer_epochs(epochs: float) -> tuple[str, str]:
    change = f"train.epochs={max(1, math.ceil(epochs))}"
    return change, f"{change}, or train.early_stopping={{patience: 2}}"


def _rates(signs: Signs) -> str:
    if signs.usual_lr is None:
        return f"it was {signs.lr:g}"
    optimizer = "" if signs.optimizer == "adamw" else f" with {signs.optimizer}"
    return f"it was {signs.lr:g}; Septet derives {signs.usual_lr:g} for {signs.method}{optimizer} on this model"
