"""The blocks of the section `data` that judge what is there: labels that a model doubts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from septet.recipe.block import Block, Whole, key


class Doubtful(Block):
    """Rows that are likely mislabelled: what becomes of them."""

    policy: Literal["off", "warn", "drop"] = key(
        "off",
        "warn: count and show rows whose label a model that has not seen them doubts; drop: take them out of train, never out of validation or test; off: do not look. "
        "`septet prepare RECIPE --review FILE` looks, whatever this says.",
        why="every row is embedded once and several models are fitted: minutes for ten thousand rows, where the rest takes a second",
        change="labels come from many hands, from rules or from the web",
        example="warn",
    )
    folds: Annotated[int, Field(ge=2, le=20)] = key(
        5,
        "Parts of train; each is judged by a model of the others.",
        unit="folds",
        why="four fifths of the rows teach nearly as much as all",
        change="rows are few (more)",
        example=10,
    )
    features: Literal["model", "tfidf"] | None = key(
        None,
        "What the judging models read: the frozen features of the recipe's model, or TF-IDF of words and letters.",
        why="the model's, where it is a checkpoint without a decoder of its own; TF-IDF otherwise",
        change="the texts are in a language that the model does not know, or a GPU is missing and the model is large (tfidf)",
        example="tfidf",
    )
    seed: Whole = key(42, "Seed of the folds.", why="fixed, so that the same rows are found again")
