"""The section `data`: which files, which splits, which cleaning."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from septet.recipe.block import Block, Problem, Text, key
from septet.recipe.data_augment import Augment
from septet.recipe.data_blocks import Balance, Hub, Near, Sample, Split
from septet.recipe.data_clean import Clean
from septet.recipe.data_quality import Doubtful
from septet.registry import suggest

Files = Text | Annotated[list[Text], Field(min_length=1)]
Tests = (
    Text | Annotated[list[Text], Field(min_length=1)] | Annotated[dict[Text, Text | list[Text]], Field(min_length=1)]
)
Weight = Annotated[float, Field(gt=0, le=1000)]

BOUND = r"\s*(<=|>=|==|<|>)\s*([0-9][0-9_,]*(?:\.[0-9]+)?)\s*(%?)\s*"  # of data.expect: sign, number, share or not
_COUNTED = re.compile(r"([^#]+)#([1-9][0-9_]*)")
MEMORY = "<memory>"  # stands for a split that was given as a table from Python


def counted(path: str) -> tuple[str, int | None]:
    """Return a path without the `#500` that asks for so many of its rows, and how many; None where it asks for all."""
    match = None if "://" in path else _COUNTED.fullmatch(path)
    return (path, None) if match is None else (match[1], int(match[2].replace("_", "")))


class Data(Block):
    """Where the rows come from, how they are cleaned, and how they are split."""

    folder: Text | None = key(
        None, "Folder that relative paths resolve against.", why="the recipe's own folder", example="data"
    )
    train: Files | None = key(
        None,
        "File, folder, table or query of a database (sqlite:///shop.db#tickets, postgresql://user:${PGPASSWORD}@host/shop#SELECT …), or list of these with the rows to learn from. a.jsonl#500 draws 500 of its rows.",
        why="the rows come from data.hub",
        example="train.csv",
    )
    validation: Files | None = key(
        None, "Rows that choose the best checkpoint.", why="cut from train by data.split", example="validation.csv"
    )
    test: Tests | None = key(
        None,
        "Rows that are scored once at the end; several named sets are scored apart.",
        why="cut from train by data.split",
        example="test.csv",
    )
    target: Files | None = key(
        None,
        "Rows of the population that the model is meant for, with or without labels, or a request log (.sqlite) that keeps texts: train is compared with them, and learns nothing from them.",
        why="train is taken to be what the model will meet",
        change="the rows to learn from were collected in another way, or at another time, than those to answer",
        example="last-week.csv",
    )
    against: Tests | None = key(
        None,
        "Benchmarks that the model will be measured on: files or folders, or names and paths. Rows of train and validation whose text is in one of them, or nearly, are told and taken out (data.contamination).",
        why="no benchmark was named",
        change="the model is compared on a public benchmark, or rows were collected from the web",
        example=["benchmark.csv"],
    )
    contamination: Literal["drop", "warn"] = key(
        "drop",
        "Rows that are in a benchmark of data.against: dropped from train and validation, or told and kept.",
        why="a score on what was learned says nothing",
        change="you want to see them first (warn)",
    )
    weights: dict[Text, Weight] = key(
        {},
        "How often an epoch shows each row of a path of data.train, on average: 3 is three times, 0.5 every second row (in the next epoch the others), "
        "2.5 two or three times. A path is written as in data.train; one that is not named weighs 1.",
        why="every row is shown once an epoch",
        change="several corpora are mixed, and some should count for more or less than their size",
        example={"guide.txt": 3, "novels.txt": 0.5},
    )
    hub: Hub | None = key(
        None,
        "A data set of the Hugging Face hub instead of files.",
        why="the rows come from files",
        example={"path": "stanfordnlp/sst2"},
    )
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "arrow", "excel", "numpy", "conll", "text"] = key(
        "auto",
        "File format; text is plain text, cut into documents.",
        why="the content or the file name tells",
        change="names have no or a wrong ending",
    )
    documents: Literal["file", "line", "paragraph", "page"] | None = key(
        None,
        "What one document of a plain text file is: the file, a line, a paragraph (blank lines between), or a page (form feeds between).",
        why="derived: page in a file where a form feed has a line of its own, else file",
        change="a file holds many documents",
        example="paragraph",
    )
    encoding: Text = key(
        "auto",
        "Text encoding of the files: auto, one that Python knows, or several that each line is tried in (utf-8|cp1252).",
        why="utf-8; another only where the bytes are not UTF-8, detected and told",
        change="the reader cannot tell the encoding, or has told a wrong one",
        example="latin-1",
    )
    delimiter: Text | None = key(
        None,
        "Column separator of CSV files.",
        why="the one of , ; tab | that the first rows fit; a tab in TSV files",
        change="the note delimiter-guessed tells a wrong one",
        example=";",
        max_length=1,
    )
    sheet: Text | None = key(
        None,
        "Sheet of Excel and OpenDocument files that holds the rows.",
        why="the first sheet that holds any",
        change="a file has several sheets",
        example="Tickets",
    )
    media: Text | None = key(
        None,
        "With task.image or task.audio: the folder or archive that the paths of the recipe's own tables begin at. Paths of other tables (predict, evaluate --on) begin at these.",
        why="the folder of each table",
        change="a table lies beside the folder or archive of its files",
        example="recordings.zip",
    )
    split: Split = key(Split(), "How splits that are not given are cut from train.")
    sample: Sample | None = key(
        None, "Use only some rows of each split.", why="every row is used", example={"train": 1000}
    )
    augment: Augment = key(Augment(), "Variants of training rows.")
    balance: Balance = key(Balance(), "How often an epoch shows the rows of each label.")
    clean: Clean = key(Clean(), "What is mended in the texts, and which rows leave the data.")
    duplicates: Literal["drop", "keep"] = key(
        "drop",
        "Rows equal to an earlier one in text and label.",
        why="a repeated row weighs double and inflates scores",
        change="frequency itself carries meaning",
    )
    near: Near = key(Near(), "What becomes of rows that nearly repeat others.")
    conflicts: Literal["warn", "drop", "keep"] = key(
        "warn",
        "Equal texts with different labels.",
        why="someone who knows the data should decide",
        change="you have looked at them",
    )
    doubtful: Doubtful = key(Doubtful(), "What becomes of rows whose label is likely wrong.")
    corrections: Text | None = key(
        None,
        "A sheet of `septet prepare RECIPE --review FILE`, filled in: `corrected` is the label a row gets, `verdict: drop` takes the row out.",
        why="no sheet was filled in",
        change="someone has looked at the doubtful rows",
        example="review.csv",
    )
    annotations: Annotated[list[Text], Field(min_length=2)] | None = key(
        None,
        "Columns with the labels that several people gave a row. task.label then names the label that is made of them: the one that most gave. Rows on which they are tied are dropped, and are on the sheet of `septet prepare RECIPE --review FILE`.",
        why="each row has one label",
        change="several people have labelled the same rows",
        example=["label_anna", "label_ben", "label_cem"],
    )
    overlap: Literal["drop", "stop", "keep"] = key(
        "drop",
        "Texts that are also in a later split: dropped from train, and from validation where test has them.",
        why="a seen test row is no test",
        change="overlap must never happen (stop)",
    )
    expect: dict[Text, Text] = key(
        {},
        "Data tests: a count (rows, train, validation, test, dropped, labels, rarest-label) or a finding that counts rows (duplicates, near-leak, empty-text …), "
        "and the bound it must keep, a number or a share of the rows read. One that is not kept is a blocker, exit code 3.",
        why="nothing is asked of the data",
        change="data come from elsewhere again and again",
        example={"rows": ">= 1000", "duplicates": "< 1%"},
    )
    allow: list[Text] = key(
        [],
        "Slugs of blockers to lift.",
        why="nothing is lifted",
        change="you know better than a blocker",
        example=["validation-is-test"],
    )

    def problems(self) -> Iterator[Problem]:
        if self.against is None and self.contamination != "drop":
            yield Problem("contamination", "would be ignored: there is no data.against.", "remove data.contamination")
        yield from self._sources()
        yield from self._weights()
        yield from self._splits()
        yield from self.augment.problems()
        yield from self.clean.problems()
        try:
            for each in self.encoding.split("|") if self.encoding != "auto" else ():
                codecs.lookup(each)
        except LookupError:
            yield Problem("encoding", "must be an encoding that Python knows.", "encoding: utf-8")
        for name in sorted({name for name in self.annotations or () if (self.annotations or []).count(name) > 1}):
            yield Problem("annotations", f"names {name!r} twice.", "name each column once")
        if self.near.semantic is not None and self.near.policy == "off":
            yield Problem("near.semantic", "would be ignored: data.near.policy is off.", "near: {policy: warn}")
        for name, bound in self.expect.items():
            if not re.fullmatch(BOUND, bound):
                yield Problem(
                    f"expect.{name}",
                    f"must be a comparison with a number or a share, not {bound!r}.",
                    f'{name}: "< 1%"   (or <=, >, >=, ==, and a number of rows)',
                )
        if isinstance(self.test, dict):
            for name in self.test:
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                    yield Problem(
                        "test",
                        f"names a test set {name!r}; letters, digits, hyphens and underscores are possible.",
                        "test: {web: web.csv}",
                    )

    def files(self, split: str) -> list[str]:
        """Return every path given for a split, as written."""
        value = getattr(self, split)
        parts = list(value.values()) if isinstance(value, dict) else [value]
        return [path for part in parts if part is not None for path in ([part] if isinstance(part, str) else part)]

    def weighed(self) -> dict[str, float]:
        """Return the weight of each path of train, as written."""
        return {path: self.weights.get(path, 1.0) for path in self.files("train")}

    def _weights(self) -> Iterator[Problem]:
        if self.weights and (self.hub is not None or MEMORY in self.files("train")):
            rows = "the rows come from data.hub" if self.hub is not None else "the rows of train are a table in memory"
            yield Problem(
                "weights",
                f"would be ignored: {rows}, which is one source.",
                "remove data.weights; or write each source to a file, and name the files in data.train",
            )
            return
        train = self.files("train")
        for path in sorted(self.weights.keys() - set(train)) if train else ():
            inside = [each for each in train if path.startswith(f"{each.rstrip('/')}/")]
            if inside:
                what = f"names {path}, a file within {inside[0]} of data.train; what data.train names as one has one weight."
                hint = f"name the files of {inside[0]} in data.train, each by itself; or weights: {{{inside[0]}: …}}"
            else:
                there = ", ".join(train[:8]) + (", …" if len(train) > 8 else "")
                what = f"names {path}, which is not in data.train; there are {there}."
                hint = suggest(path, train) or "write the path as data.train does"
            yield Problem("weights", what, hint)

    def _sources(self) -> Iterator[Problem]:
        if self.train is None and self.hub is None:
            yield Problem(
                "train",
                "is missing: a file, a folder or a list of these with the rows to learn from.",
                "train: train.csv",
            )
        if self.hub is not None:
            given = [name for name in ("train", "validation", "test") if getattr(self, name) is not None]
            for name in given:
                yield Problem(name, "cannot be given beside data.hub.", "the hub's splits go into data.hub.splits")
            if "train" not in self.hub.splits:
                yield Problem("hub.splits", "must name a split for train.", "splits: {train: train}")
        if self.documents is not None and (self.hub is not None or self.format not in ("auto", "text")):
            read = "the rows come from data.hub" if self.hub is not None else f"data.format is {self.format}"
            yield Problem("documents", f"would be ignored: {read}, no plain text.", "remove data.documents")
        named = {split: [counted(path)[0] for path in self.files(split)] for split in ("train", "validation", "test")}
        for split in ("validation", "test"):
            for shared in sorted(set(named["train"]) & set(named[split]) - {MEMORY}):
                yield Problem(
                    split,
                    f"is the same file as data.train ({shared}): a model is not tested on what it learnt.",
                    f"leave data.{split} out; it is then cut from train",
                )
        for split, paths in named.items():
            for twice in sorted({path for path in paths if paths.count(path) > 1} - {MEMORY}):
                yield Problem(split, f"names {twice} twice.", "name each file once")

    def _splits(self) -> Iterator[Problem]:
        cut = [name for name in ("validation", "test") if getattr(self, name) is None]
        used = sum(getattr(self.split, name) for name in cut)
        if self.split.time is not None and self.split.group is not None:
            yield Problem(
                "split.time",
                "cannot be used with data.split.group: a group may have rows on both sides of a cut in time.",
                "keep one of the two",
            )
        if self.split.time is not None and not used:
            yield Problem(
                "split.time",
                "would be ignored: no split is cut from train.",
                "remove data.split.time; or split: {test: 0.1}",
            )
        if used >= 1:
            names = " + ".join(f"data.split.{name}" for name in cut)
            yield Problem(
                "split",
                f"leaves nothing for train: {names} is {used:g}; the shares must add up to less than 1.",
                "split: {validation: 0.1, test: 0.1}",
            )
        for name in ("validation", "test"):
            share = getattr(self.split, name)
            if name not in cut and share not in (0, Split.model_fields[name].default):
                yield Problem(
                    f"split.{name}",
                    f"would be ignored, because data.{name} is given.",
                    f"remove data.split.{name} or data.{name}",
                )
