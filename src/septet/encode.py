"""Prepared rows as examples: how long a row may be, what is cut, and what holds nothing to learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from septet import perceive, registry
from septet.augment import augment, varied
from septet.baselines import check_reads
from septet.data.ask import with_columns
from septet.data.schema import derived
from septet.data.store import Prepared, fingerprint
from septet.engine.examples import encoded
from septet.engine.mixture import Mixture
from septet.engine.versions import Versions
from septet.errors import DataError, RecipeError, UsageError
from septet.inputs.chat import Chat
from septet.metrics import LIMITS_HINT, find, names_of, needs_limits
from septet.mixing import Mix
from septet.model import load, scratch
from septet.model.length import most_tokens
from septet.progress import Listen, quiet
from septet.recipe import Recipe
from septet.report import Finding, Report
from septet.tasks import Example
from septet.tokenizer import tokenizer as learn

ENCODE_LIMIT = 512
PASSAGE = 2000  # characters


@dataclass(frozen=True, slots=True)
class Encoded:
    """The rows of a run as examples, and what was decided on the way.

    Args:
        recipe: with what the rows say of its open values.
        task: with what the rows taught it.
        processor: the tokenizer.
        config: of the model.
        train: examples of train, in the order of its rows, and behind them those of variants (`data.augment`).
        validation: examples of each row of validation.
        validation_rows: those rows; the ones with nothing to learn are left out.
        findings: what was left out or cut, and how corpora are mixed.
        mixture: how often an epoch shows each example of train; None: once.
        variants: examples at the end of train that are variants.
    """

    recipe: Recipe
    task: Any
    processor: Any
    config: dict[str, Any]
    train: list[Example]
    validation: list[list[Example]]
    validation_rows: list[dict[str, Any]]
    findings: Report
    mixture: Mixture | Versions | None = None
    variants: int = 0

    @property
    def originals(self) -> list[Example]:
        """The examples of train that are its rows."""
        return self.train[: len(self.train) - self.variants]


def encode(recipe: Recipe, prepared: Prepared, folder: Path, *, listen: Listen = quiet) -> Encoded:
    """Return the rows of train and validation as examples for the model of a folder.

    Raises:
        DataError: no row of train holds anything to learn.
        RecipeError: a metric is of limits, and the task names no column of them.
    """
    rows = prepared.rows("train")
    recipe = perceive.timed(_located(recipe, prepared), prepared, folder)
    _check_baselines(recipe, prepared)
    shape = scratch.shape_of(recipe.model) if recipe.model.architecture else load.check_folder(folder)
    task = _task(recipe, shape).learn(rows)
    _check_metrics(recipe, task)
    recipe = recipe.filled({**_from_task(task), **derived(task.schema)})
    processor = task.input.processor(str(folder))
    config = _config(recipe, task, folder, processor)
    # a new model's padding is the tokenizer's, and its positions may begin behind it
    task = task.suited(config, recipe.folder)
    listen("progress", what="encode", done=0, total=len(rows))
    _check_length(recipe, task, config)
    if task.cuts:
        task = task.learn(rows, max_length=recipe.model.max_length)
    found = encoded(task, processor, rows, _sha256(prepared, "train"), folder)
    examples = [example for each in found for example in each]
    if not examples:
        raise _nothing_to_learn(task, rows, processor)
    mix = Mix.of(recipe, prepared, rows)
    lengths = _from_lengths(config, examples) if task.input.varies else {}
    recipe = recipe.filled(lengths | _from_rows(recipe, mix.draws_per_epoch, len(examples)) | task.derive(examples))
    task = _task(recipe, config).learn(rows, max_length=recipe.model.max_length)
    found = _shorten(task, processor, rows, found) if task.input.varies else found
    train = [example for each in found for example in each]
    if not train:
        raise _nothing_to_learn(task, rows, processor)
    validation_rows = prepared.rows("validation") if "validation" in prepared.splits else []
    validation = encoded(task, processor, validation_rows, _sha256(prepared, "validation"), folder)
    mixture = mix.mixture([len(each) for each in found])
    findings = Report()
    findings.add(
        *mix.findings(mixture, train),
        _unlearned("train", task, rows, found, processor),
        _unlearned("validation", task, validation_rows, validation, processor),
        *_lengths(train, recipe, task),
        _cut_answers(train, recipe.model.max_length),
        _endless(task, processor, config),
    )
    listen("progress", what="encode", done=len(rows), total=len(rows))
    made = Encoded(
        recipe,
        task,
        processor,
        config,
        train,
        [each for each in validation if each],
        [row for row, each in zip(validation_rows, validation, strict=True) if each],
        findings,
        mixture,
    )
    return _varied(made, prepared, rows, listen)


def folder_of(recipe: Recipe, prepared: Prepared, *, listen: Listen = quiet) -> Path:
    """Return the folder that a run's tokenizer, and its checkpoint where there is one, come from; a vocabulary is learned once.

    Raises:
        UsageError: the vocabulary is too small for its kind.
        DataError: there are too few texts to learn it from.
    """
    wanted = recipe.model.vocabulary
    if recipe.model.architecture is not None and prepared.schema.media:
        return perceive.processor_of(recipe, prepared, recipe.model.architecture)
    if wanted is None:
        return load.base_folder(recipe)
    task = _task(_located(recipe, prepared), scratch.shape_of(recipe.model))
    name = fingerprint("tokenizer", wanted.model_dump(), task.texts)
    folder = prepared.path / f"tokenizer-{name}"
    if not (folder / "tokenizer.json").is_file():
        said = (text for row in prepared.rows("train") for text in task.words(row))
        texts = [{"text": passage} for text in said for passage in _passages(text)]
        learn(texts, folder, text="text", **wanted.model_dump(), force=True, listen=listen)
    return folder


def _passages(text: str) -> list[str]:
    """Return a text in passages of about a page, cut behind line breaks: few long documents are many passages to learn from."""
    found = [""]
    for line in text.splitlines(keepends=True):
        if len(found[-1]) >= PASSAGE:
            found.append("")
        found[-1] += line
    return found


def longest(example: Example) -> int:
    """Return the tokens that the model's limit of length is about: those of the longest side."""
    return max(len(ids) for ids in example.inputs.values())


def truncated(encoded: Sequence[Any]) -> tuple[int, int]:
    """Return the rows that were cut and the tokens they lost."""
    lost = [example.meta["truncated"] for examples in encoded for example in examples]
    return sum(tokens > 0 for tokens in lost), sum(lost)


def learns_no_end(task: Any, processor: Any, config: dict[str, Any]) -> bool:
    """Return whether a model without an encoder is taught answers that end with no token it could stop at."""
    decoder = isinstance(task.input, Chat) and not config.get("is_encoder_decoder")
    return decoder and not task.input.learns_to_stop(processor)


def _sha256(prepared: Prepared, split: str) -> str | None:
    return prepared.splits[split]["sha256"] if split in prepared.splits else None


def _located(recipe: Recipe, prepared: Prepared) -> Recipe:
    """Return the recipe with the columns that were found in the data."""
    return with_columns(recipe, prepared.located)


def _task(recipe: Recipe, shape: dict[str, Any]) -> Any:
    return registry.part("task", recipe.task.name)(recipe.task).suited(shape, recipe.folder)


def _config(recipe: Recipe, task: Any, folder: Path, processor: Any) -> dict[str, Any]:
    if recipe.model.architecture is None:
        return load.check_folder(folder)
    return scratch.config_of(recipe.model, next(iter(task.heads().values())), processor).to_dict()


def _check_metrics(recipe: Recipe, task: Any) -> None:
    """Refuse a metric that cannot be computed: it would fail when the first epoch has been trained, or after the training."""
    keys = {"evaluate.metrics": recipe.evaluate.metrics or [], "train.metric": [recipe.train.metric or task.primary]}
    for key, name in ((key, name) for key, names in keys.items() for name in names):
        try:
            kind = getattr(find(name), "of", task.answers_with)
        except UsageError as error:
            raise RecipeError(f"{key}: {error.what}", hint=error.hint) from error
        if kind != task.answers_with:
            raise RecipeError(
                f"{key} asks for {name}, a metric of {kind}; {task.name} answers with {task.answers_with}.",
                hint=f"metrics of {task.answers_with}: {', '.join(names_of(task.answers_with))}",
            )
        if needs_limits(name) and getattr(task.options, "limits", None) is None:
            raise RecipeError(f"{key} asks for {name}, and no column states the limits.", hint=LIMITS_HINT)


def _check_baselines(recipe: Recipe, prepared: Prepared) -> None:
    """Refuse baselines of texts where rows are pictures or recordings: they would fail, or say nothing, after the training."""
    if prepared.schema.media:
        check_reads(recipe.evaluate.baselines or [], prepared.schema.media)


def _check_length(recipe: Recipe, task: Any, config: dict[str, Any]) -> None:
    """Refuse rows longer than the model has positions for, and a limit of what has no length."""
    if not task.input.varies:
        for key, given in (
            ("model.max_length", recipe.model.max_length),
            ("train.pad", recipe.train.pad == "max_length"),
        ):
            if given:
                thing, option = task.schema.thing, "seconds" if task.schema.media == "recording" else "size"
                raise RecipeError(
                    f"{key} would be ignored: {thing}s have one size.", hint=f"remove {key}; task.{option} says it"
                )
        return
    wanted, limit = recipe.model.max_length, most_tokens(config)
    if wanted is not None and limit is not None and wanted > limit:
        raise RecipeError(
            f"model.max_length must be at most {limit}: the model has positions for no more tokens.",
            received=wanted,
            hint=f"model.max_length={limit}, or leave it out",
        )


def _from_task(task: Any) -> dict[str, tuple[Any, str]]:
    return {
        "train.metric": (task.primary, f"the primary metric of {task.name}"),
        "evaluate.metrics": (list(task.metrics), f"the metrics of {task.name}"),
        "evaluate.baselines": (list(task.baselines), f"what {task.name} has to beat"),
    }


def _from_lengths(config: dict[str, Any], examples: list[Example]) -> dict[str, tuple[Any, str]]:
    """Return what the lengths of train say of the recipe's open values: dotted path -> value and reason."""
    sizes = [longest(example) for example in examples]
    limit = most_tokens(config) or ENCODE_LIMIT
    most, p99 = max(sizes), int(np.percentile(sizes, 99))
    wanted = most if most <= 2 * p99 else p99
    length = min(limit, max(8, -(-wanted // 8) * 8))
    share = sum(size > length for size in sizes) / len(sizes)
    return {
        "model.max_length": (
            length,
            f"the longest training row has {most} tokens, 99 % have at most {p99}; {f'{share:.2%} are' if share else 'none is'} cut"
            + (f" (the model's limit is {limit})" if length == limit else ""),
        )
    }


def _from_rows(recipe: Recipe, rows: int, examples: int) -> dict[str, tuple[Any, str]]:
    """Return what the number of rows that an epoch shows says of the recipe's open values: dotted path -> value and reason.

    Args:
        examples: that all rows make; of a long row several windows.
    """
    batch = max(1, min(max(rows, examples), 16 if rows < 2000 else 32))
    updates = -(-rows // batch)
    weighed = " by their weights" if recipe.data.weights or recipe.data.balance.on else ""
    epochs = int(np.clip(round(600 / updates), 3, 10))
    return {
        "train.batch": (batch, f"{rows:,} training rows{weighed}: {updates:,} update{'s' * (updates != 1)} an epoch"),
        "train.epochs": (epochs, f"about 600 updates at least, 3 to 10 epochs: {epochs} x {updates:,} updates"),
    }


def _varied(encoded: Encoded, prepared: Prepared, rows: list[Any], listen: Listen) -> Encoded:
    """Return the examples with those of variants behind them, where train is augmented."""
    augmented = augment(encoded.recipe, prepared, listen=listen)
    if augmented is None:
        return encoded
    if [example.row for example in encoded.train] != [row["_row"] for row in rows]:
        raise RecipeError(
            f"data.augment needs rows that are one example each; the task {encoded.task.name} makes several of one, or none.",
            hint="remove data.augment",
        )
    variants, shows, unseen = varied(augmented, encoded.task, encoded.processor, rows, encoded.mixture)  # pyright: ignore[reportArgumentType]
    encoded.findings.add(unseen)
    return replace(encoded, train=[*encoded.train, *variants], mixture=shows, variants=len(variants))


def _shorten(task: Any, processor: Any, rows: list[Any], encoded: list[list[Example]]) -> list[list[Example]]:
    """Encode again, with the limit, the rows that are longer than it."""
    long = {i: row for i, row in enumerate(rows) if any(longest(e) > task.max_length for e in encoded[i])}
    again = dict(zip(long, task.encode(list(long.values()), processor), strict=True))
    return [again.get(i, each) for i, each in enumerate(encoded)]


def _unlearned(split: str, task: Any, rows: list[Any], encoded: list[list[Example]], processor: Any) -> Finding | None:
    """Return how many rows gave nothing to learn, and why."""
    empty = [row for row, examples in zip(rows, encoded, strict=True) if not examples]
    if not empty:
        return None
    reasons = Counter(task.refusal(row, processor) for row in empty)
    shown = "; ".join(f"{count:,}: {reason}" for reason, count in reasons.most_common(5))
    return Finding(
        "nothing-to-learn",
        "warning",
        f"{split}: {len(empty):,} of {len(rows):,} rows hold nothing to learn and are left out. {shown}",
        "raise model.max_length where answers are cut off, or look at these rows",
        {"split": split, "rows": len(empty), "reasons": dict(reasons)},
    )


def _nothing_to_learn(task: Any, rows: list[Any], processor: Any) -> DataError:
    """Return the error of rows that all hold nothing to learn."""
    return DataError(
        "No training row holds anything to learn.",
        received=task.refusal(rows[0], processor) if rows else None,
        hint="look at the columns of the task, and at model.max_length",
    )


def _lengths(examples: list[Example], recipe: Recipe, task: Any) -> list[Finding]:
    """Return how many rows of train are cut, and by how much."""
    rows, tokens = truncated([examples])
    if not task.input.varies:
        return perceive.cut(rows, tokens, len(examples), recipe)
    if not rows:
        return []
    share = rows / len(examples)
    total = tokens + sum(e.size for e in examples)
    return [
        Finding(
            "rows-truncated",
            "warning" if share > 0.01 else "note",
            f"{rows:,} of {len(examples):,} training rows ({share:.1%}) are longer than model.max_length={recipe.model.max_length}; {tokens:,} of {total:,} tokens are cut.",
            "raise model.max_length if the ends of long rows matter",
            {"rows": rows, "tokens": tokens},
        )
    ]


def _cut_answers(examples: list[Example], max_length: int | None) -> Finding | None:
    """Return how many answers of train lose their end, and how many learned tokens go with it."""
    cut = [example for example in examples if example.meta.get("lost")]
    if not cut:
        return None
    rows, tokens = len({example.row for example in cut}), sum(example.meta["lost"] for example in cut)
    share = tokens / (tokens + sum(example.learned for example in examples))
    return Finding(
        "answers-cut",
        "warning" if share > 0.01 else "note",
        f"{rows:,} of {len({example.row for example in examples}):,} training rows lose the end of an answer to "
        f"model.max_length={max_length}: {tokens:,} tokens, {share:.1%} of all that would be learned.",
        "raise model.max_length: an answer without its end teaches no end",
        {"rows": rows, "tokens": tokens, "share": share},
    )


def _endless(task: Any, processor: Any, config: dict[str, Any]) -> Finding | None:
    if not learns_no_end(task, processor, config):
        return None
    return Finding(
        "answer-never-ends",
        "warning",
        "Answers end with no token that the model could stop at: it will not learn to stop, and writes on to task.decode.max_new_tokens.",
        "a chat template that ends answers with EOS or a mark of its own, such as task.template=plain",
    )
