"""The blocks of the section `data`: a hub data set, splits, near duplicates, balance, samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from septet.recipe.block import Block, Count, Share, Text, Whole, key


class Hub(Block):
    """A data set of the Hugging Face hub, or a local folder in its layout."""

    path: Text = key(means="Hub id, or a local folder in the hub's layout.", example="stanfordnlp/sst2")
    name: Text | None = key(
        None, "The data set's configuration.", why="the data set's own default", example="plain_text"
    )
    revision: Text | None = key(
        None,
        "Branch, tag or commit.",
        why="the newest; the commit that was read is recorded",
        change="a run must be repeatable",
        example="main",
    )
    splits: dict[Text, Text] = key(
        {"train": "train"},
        "Septet's split names (train, validation, test) to the data set's.",
        why="only train is sure to exist",
        example={"train": "train", "validation": "validation"},
    )


class Split(Block):
    """How a split that is not given is cut from train."""

    validation: Share = key(
        0.1,
        "Share of the rows that becomes validation.",
        why="a tenth leaves enough to learn from",
        change="rows are few (more) or very many (less)",
    )
    test: Share = key(
        0.1,
        "Share of the rows that becomes test.",
        why="a tenth leaves enough to learn from",
        change="rows are few (more) or very many (less)",
    )
    seed: Whole = key(
        42,
        "Seed of the split.",
        why="fixed, so that the same rows land in the same split",
        change="the spread over splits matters",
    )
    stratify: bool = key(
        True,
        "Keep every label's share equal in all splits.",
        why="rare labels stay present in each split",
        change="labels are continuous in time",
    )
    group: Text | None = key(
        None,
        "Column whose equal values must stay in one split (customer, thread, document).",
        why="no column was named",
        change="rows of one source resemble each other",
        example="customer",
    )
    time: Text | None = key(
        None,
        "Column with the time of each row (dates, times or numbers): the newest rows become test, those before them validation; rows of one time stay together, labels are not stratified, and nothing is drawn. "
        "What repeats or nearly repeats a later split's row is taken out of the earlier one, as data.overlap says.",
        why="no column was named",
        change="the model will answer rows that are newer than any it has learned from",
        example="created",
    )


class Near(Block):
    """Rows that nearly repeat others: what becomes of them."""

    policy: Literal["warn", "drop", "off"] = key(
        "warn",
        "warn: count and show them; drop: take them out of train and validation, never out of test; off: do not look. Unless off, rows that resemble each other are cut into the same split.",
        why="some texts are alike by nature; someone who knows the data should decide",
        change="the data are copied or scraped (drop)",
    )
    threshold: Annotated[float, Field(gt=0, le=1)] = key(
        0.8,
        "Smallest share of common pieces of five characters (Jaccard similarity) of near duplicates.",
        why="one changed word in a sentence of ten leaves about 0.8",
        change="texts are long and edited (lower), or made from one form (higher)",
        example=0.8,
    )
    semantic: Annotated[float, Field(gt=0, le=1)] | None = key(
        None,
        "Smallest cosine of the vectors that the recipe's model makes of two texts, before any tuning, from which they say the same: such rows are told, dropped and kept together as near duplicates are. Texts are read up to model.max_length.",
        why="every row is embedded, and every pair compared: minutes for ten thousand rows",
        change="texts were paraphrased or written by a model (0.95 with the starter; look at the pairs, since other models have other cosines)",
        example=0.95,
    )


class Balance(Block):
    """How often an epoch shows the rows of each label; no row is copied or dropped, and only train is balanced."""

    sampling: Literal["none", "over", "under"] = key(
        "none",
        "over: every label is shown as often as the most frequent one, its rows several times an epoch; under: as often as the rarest, other rows in each epoch; "
        "none: as the rows are.",
        why="every row is shown once an epoch",
        change="rare labels matter as much as frequent ones (under, where even the rarest has thousands of rows; task.class_weights gain as much as over)",
    )
    cap: Count | None = key(
        None,
        "Rows of one label that an epoch shows at most; sampling goes by what that leaves.",
        unit="rows",
        why="no label is limited",
        change="one label has far more rows than are needed to learn it",
        example=1000,
    )

    @property
    def on(self) -> bool:
        """Whether anything is balanced."""
        return self.sampling != "none" or self.cap is not None


class Sample(Block):
    """Draw a fixed number of rows of a split, exactly as `datasets`' `shuffle(seed).select(range(n))` does."""

    train: Count | None = key(None, "Rows of train.", unit="rows", why="every row is used", example=1000)
    validation: Count | None = key(None, "Rows of validation.", unit="rows", why="every row is used", example=1000)
    test: Count | None = key(None, "Rows of test.", unit="rows", why="every row is used", example=1000)
    labels: dict[Text, Count] | None = key(
        None,
        "Rows of train with these labels, drawn before `train` counts; other labels are not touched.",
        unit="rows",
        why="every row of each label is used",
        change="you want to see what becomes of labels that have few rows",
        example={"refund": 40},
    )
    seed: Whole = key(42, "Seed of the draw.", why="fixed, so that the same rows are drawn again")
