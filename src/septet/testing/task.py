"""`check_task`: losses add up, encoding is a pure function, batches do not matter, and what is saved answers the same."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from septet import registry
from septet.errors import SeptetError
from septet.testing.bench import Bench, bench
from septet.testing.contract import check_file, check_options, require

_TOLERANCE = 1e-5


def check_task(
    task: str | type, options: dict[str, Any], rows: Sequence[dict[str, Any]], *, model: str | Path | None = None
) -> None:
    """Check a task on at least 8 labelled rows with a tiny model.

    Args:
        task: its registered name, or the class itself.
        options: the recipe's block without its name.
        rows: raw rows of unequal length.
        model: a model folder instead of the tiny encoder.

    Raises:
        ContractError: it breaks a promise.
    """
    require(len(rows) >= 8, "check_task wants rows.", expected="8 or more", received=len(rows))
    kind: Any = registry.part("task", task) if isinstance(task, str) else task
    block = _options(task, kind)
    if isinstance(task, str):
        check_file(registry.module("task", task))
    else:
        check_options(block)
    with tempfile.TemporaryDirectory() as folder:
        made = kind(block(**options))
        b = bench(Path(folder), made, rows, model=model, method=None)
        _check_facts(b)
        _check_columns(made, b)
        _check_encode(b)
        _check_losses(b)
        _check_one_call(b)
        _check_predictions(b)
        _check_learns(b)
        _check_saved(b, Path(folder), task)


def _options(task: str | type, kind: Any) -> Any:
    import sys

    owner = registry.module("task", task) if isinstance(task, str) else sys.modules[kind.__module__]
    found = getattr(kind, "Options", None) or getattr(owner, "Options", None)
    require(found is not None, "A task's file has Options.", expected="a pydantic model named Options", received="none")
    return found


def _check_facts(b: Bench) -> None:
    task = b.task
    known = registry.names("metric")
    require(
        set(task.metrics) <= set(known), "A task's metrics are registered.", expected=known, received=list(task.metrics)
    )
    require(
        task.primary in task.metrics,
        "The primary metric is one of the task's metrics.",
        expected=list(task.metrics),
        received=task.primary,
    )
    stored = json.loads(json.dumps(task.to_json()))
    require(
        stored.get("name") == task.name,
        "to_json holds the task's name.",
        expected=task.name,
        received=stored.get("name"),
    )
    again = type(task).from_json(stored).to_json()
    require(
        json.loads(json.dumps(again)) == stored,
        "from_json(to_json()) is the same task.",
        expected=stored,
        received=again,
    )


def _check_columns(made: Any, b: Bench) -> None:
    """A row without a column that is read or learned gives an error of ours that names the column, not a KeyError."""
    for column in [*made.texts, *filter(None, [made.schema.label])]:
        lacking = [{k: v for k, v in row.items() if k != column} for row in b.rows]
        try:
            made.learn(lacking)
            b.task.encode(lacking, b.processor)
        except SeptetError as error:
            require(column in str(error), "A missing column is named.", expected=column, received=str(error))
        except Exception as error:
            require(
                False,
                f"A row without {column} gives an error a user can read.",
                expected="a SeptetError that names the column",
                received=repr(error),
            )
        else:
            require(
                False,
                f"A row without {column} is refused.",
                expected="a SeptetError that names the column",
                received="no error",
            )


def _check_encode(b: Bench) -> None:
    import numpy as np
    import torch

    before = (random.getstate(), repr(np.random.get_state(legacy=False)), torch.random.get_rng_state())
    first, second = (b.task.encode(b.rows, b.processor) for _ in range(2))
    after = (random.getstate(), repr(np.random.get_state(legacy=False)), torch.random.get_rng_state())
    untouched = before[:2] == after[:2] and torch.equal(before[2], after[2])
    require(
        _shown(first) == _shown(second),
        "encode is deterministic: randomness belongs to draw.",
        expected="the same examples",
        received="others",
    )
    require(untouched, "encode leaves the global random generators alone.", expected="unchanged", received="advanced")
    require(len(first) == len(b.rows), "encode answers each row.", expected=len(b.rows), received=len(first))
    alone = [b.task.encode([row], b.processor)[0] for row in b.rows]
    require(
        _shown(alone) == _shown(first),
        "A row is encoded the same alone and among others.",
        expected="the same examples",
        received="others",
    )
    for row, examples in zip(b.rows, first, strict=True):
        for example in examples:
            require(
                example.row == row["_row"],
                "An example carries its row's id.",
                expected=row["_row"],
                received=example.row,
            )
            require(example.size > 0, "An example's size counts its tokens.", expected="above 0", received=example.size)


def _check_losses(b: Bench) -> None:
    whole = _losses(b, b.batch())
    n = len(b.examples)
    for part, (losses, weights) in whole.items():
        require(
            part in b.task.coefficients,
            "Each part of the loss has a coefficient.",
            expected=list(b.task.coefficients),
            received=part,
        )
        require(
            losses.shape == (n,),
            f"loss[{part}] is one sum for each example.",
            expected=(n,),
            received=tuple(losses.shape),
        )
        require(
            weights.shape == (n,) and bool((weights >= 0).all()),
            f"weights[{part}] is one number for each example.",
            expected=f"({n},), none below 0",
            received=weights,
        )
        require(bool(losses.isfinite().all()), f"loss[{part}] is finite.", expected="numbers", received=losses)
    parts = [_losses(b, b.batch([i])) for i in range(n)]
    _compare(
        whole, _joined(parts), "Losses and weights are additive: an example's own sums, whatever else is in the batch."
    )
    order = list(range(n))[::-1]
    _compare(whole, _losses(b, b.batch(order)), "The order within a batch does not matter.", order)
    width = max(e.size for e in b.examples) + 5
    _compare(whole, _losses(b, b.batch(length=width)), "Padding does not matter.")


def _check_one_call(b: Bench) -> None:
    calls: list[int] = []
    handle = b.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        b.task.loss(b.model, b.batch())
    finally:
        handle.remove()
    require(len(calls) == 1, "loss calls the model once, through its root.", expected=1, received=len(calls))


def _check_predictions(b: Bench) -> None:
    from septet.model.predictor import Predictor

    found = _said(Predictor(b.model, b.task, b.processor), b.rows)
    require(
        [p.row for p in found] == [row["_row"] for row in b.rows],
        "Predictions come in the order of the rows.",
        expected="the rows' ids",
        received=[p.row for p in found],
    )
    for prediction in found:
        try:
            json.dumps(prediction.to_json(), allow_nan=False)
        except (TypeError, ValueError) as error:
            require(
                False, "A prediction can be written as JSON.", expected="plain values, no NaN", received=repr(error)
            )


def _check_learns(b: Bench) -> None:
    from septet.methods.full import Full

    losses = b.fit(Full(), steps=60, lr=3e-3)
    require(
        losses[-1] < 0.5 * losses[0],
        "The task overfits 8 rows.",
        expected=f"a loss below {0.5 * losses[0]:.3f}",
        received=losses[-1],
    )


def _check_saved(b: Bench, folder: Path, task: str | type) -> None:
    import transformers

    from septet.data.clean import Cleaning
    from septet.engine.dropout import remove
    from septet.model.artifact import write_artifact
    from septet.model.predictor import Predictor

    remove(b.model)
    before = _said(Predictor(b.model, b.task, b.processor), b.rows)
    place = folder / "model"
    write_artifact(
        place,
        model=b.model,
        task=b.task,
        processor=b.processor,
        clean=Cleaning("none", control=False, whitespace=False),
        dtype="float32",
        card="# check\n",
    )
    if isinstance(task, str):
        loaded = Predictor.load(place)
    else:
        stored = type(b.task).from_json(json.loads((place / "task.json").read_text())["task"])
        auto = getattr(transformers, next(iter(stored.heads().values())).auto)
        loaded = Predictor(
            auto.from_pretrained(str(place), use_safetensors=True).eval(), stored, stored.input.processor(str(place))
        )
    for one, other in zip(before, _said(loaded, b.rows), strict=True):
        same = one.value == other.value and _near(one.scores, other.scores) and abs(one.loss - other.loss) <= _TOLERANCE
        require(
            same,
            "Saved and loaded, the model gives the same predictions.",
            expected=one.to_json(),
            received=other.to_json(),
        )


def _said(predictor: Any, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Return what a model says of rows: its answers, or what was measured where it is not asked."""
    if predictor.task.answers_rows:
        return predictor.predict(rows)
    return predictor.measure(predictor.task.encode(rows, predictor.processor))


def _losses(b: Bench, batch: Any) -> dict[str, tuple[Any, Any]]:
    import torch

    with torch.no_grad():
        b.model.eval()
        losses = b.task.loss(b.model, batch)
    weights = b.task.weights(batch)
    require(
        set(losses) == set(weights),
        "loss and weights have the same parts.",
        expected=sorted(losses),
        received=sorted(weights),
    )
    return {part: (losses[part].detach().float(), weights[part].float()) for part in losses}


def _joined(parts: list[dict[str, tuple[Any, Any]]]) -> dict[str, tuple[Any, Any]]:
    import torch

    return {part: tuple(torch.cat([p[part][i].reshape(-1) for p in parts]) for i in range(2)) for part in parts[0]}  # type: ignore[misc]


def _compare(whole: dict[str, Any], other: dict[str, Any], what: str, order: list[int] | None = None) -> None:
    for part, found in whole.items():
        for one, again in zip(found, other[part], strict=True):
            wanted = one if order is None else one[order]
            gap = float((wanted - again).abs().max()) if wanted.shape == again.shape else float("inf")
            require(gap <= _TOLERANCE, what, expected=wanted.tolist(), received=again.tolist())


def _near(one: dict[str, float] | None, other: dict[str, float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(abs(one[k] - other[k]) <= 1e-6 for k in one)


def _shown(encoded: Any) -> str:
    return repr([[(e.row, e.inputs, e.target, e.size) for e in examples] for examples in encoded])
