"""Write `report.html` of an evaluated run from the files in its folder; nothing is computed here that is not in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from septet.page.html import Html, tag
from septet.page.places import Places
from septet.recipe import Recipe
from septet.run import Run
from septet.signs.texts import writing_metric

NAME = "report.html"
TUNED = "tuned"
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
)


@dataclass(slots=True)
class Story:
    """All that the page tells, as the run's files hold it."""

    path: Path
    recipe: Recipe
    record: dict[str, Any]
    scores: list[dict[str, Any]]
    data: dict[str, Any]
    steps: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    files: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Story:
        """Read a run's files."""
        optional = (
            "best.json",
            "costs.json",
            "timing.json",
            "env.json",
            "setup.json",
            "check.json",
            "model/manifest.json",
        )
        return cls(
            path=run.path,
            recipe=Recipe.load(run.path / "recipe.yaml"),
            record=run.read_json("evaluation.json"),
            scores=run.records("scores.jsonl"),
            data=run.read_json("data.json"),
            steps=run.records("steps.jsonl"),
            validation=run.records("evaluations.jsonl"),
            files={name: run.read_json(name) for name in optional if (run.path / name).exists()},
        )

    @property
    def primary(self) -> str:
        return self.record["primary"]

    @property
    def texts(self) -> bool:
        """Whether rows are answered with texts, and not with labels."""
        return self.record.get("answers") == "texts"

    def splits(self, *roles: str) -> list[str]:
        """Return the names of the splits with one of these roles."""
        return [name for name, split in self.record["splits"].items() if split["role"] in roles]

    @property
    def others(self) -> list[str]:
        """Where data lie that were scored beside the recipe's own."""
        return [self.record["splits"][split]["source"] for split in self.splits("on")]

    @property
    def main(self) -> str:
        """The split the headline speaks of: the first test set, else validation."""
        return (self.splits("test") or self.splits("selection") or list(self.record["splits"]))[0]

    def line(self, split: str, who: str, metric: str) -> dict[str, Any] | None:
        """Return one line of the scores."""
        wanted = (split, who, metric)
        return next((line for line in self.scores if (line["split"], line["who"], line["metric"]) == wanted), None)

    def who(self, split: str) -> list[str]:
        """Return who answered a split: the tuned model first, then from the best baseline down.

        Those that the primary metric cannot be measured of come last, by the metric of what they wrote.
        """
        found = [line for line in self.scores if line["split"] == split and line["metric"] == self.primary]
        ordered = sorted(found, key=lambda line: line["value"], reverse=self.record["higher_is_better"])
        if self.texts:
            wrote = [line for line in self.scores if line["split"] == split and line["metric"] == self.writing(split)]
            ordered += sorted(wrote, key=lambda line: -line["value"])
        return sorted(dict.fromkeys(line["who"] for line in ordered), key=lambda who: who != TUNED)

    def writing(self, split: str) -> str | None:
        """Return the metric by which written answers are shown; None where none were written."""
        return writing_metric(self.scores, split)


def write(run: Run) -> Path:
    """Write the page of an evaluated run, and return its path.

    Raises:
        UsageError: the run was not evaluated yet.
    """
    from septet.page import data

    story = Story.of(run)
    data.write(run, story.recipe)  # again: rows have been cut to length since
    return run.write_text(NAME, Places.of(story.recipe, run.path, others=story.others).shorten(page(story)))


def page(story: Story) -> str:
    """Return the whole page."""
    from septet.page import answers, data, evidence, remedies, sections

    parts: list[tuple[str, str, Callable[[Story], Html | None]]] = [
        ("samples", "Samples", answers.samples),
        ("diagnosis", "Diagnosis", sections.diagnosis),
        ("learning", "Learning", sections.learning),
        ("scores", "Scores", sections.scores),
        ("limits", "Limits", answers.limits),
        ("labels", "By label", sections.labels),
        ("plain", "Beside the plain run", remedies.remedies),
        ("variants", "Variants of training rows", remedies.variants),
        ("confusion", "Confusion", evidence.confusion),
        ("confidence", "Confidence", evidence.confidence),
        ("mistakes", "Worst mistakes", evidence.mistakes),
        ("hardest", "Hardest rows", answers.hardest),
        ("data", "Data", data.summary),
        ("findings", "Findings", evidence.findings),
        ("costs", "Costs", evidence.costs),
        ("environment", "Environment", evidence.environment),
        ("recipe", "Recipe", evidence.recipe),
        ("reproduce", "Reproduce", evidence.reproduce),
    ]
    shown = [(name, title, body) for name, title, make in parts if (body := make(story)) is not None]
    menu = tag("nav", [tag("a", title, href=f"#{name}") for name, title, _ in shown], aria_label="Sections")
    body = [tag("section", tag("h2", title), content, id=name) for name, title, content in shown]
    foot = tag(
        "footer",
        f"Written by Septet on {time.strftime('%Y-%m-%d %H:%M')} from {story.path.name}. One file; it loads nothing and sends nothing.",
    )
    main = tag("main", sections.headline(story), menu, body, foot)
    styles = ["style.css", *(["answers.css"] if story.texts else [])]
    return f"<!doctype html>\n{tag('html', head(sections.title(story), styles), tag('body', main), lang='en')}\n"


def head(title: str, styles: Sequence[str]) -> Html:
    """Return the head of a page, its style inside."""
    style = "".join(resources.files("septet.page").joinpath(name).read_text() for name in styles)
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        Html(f"<style>\n{style}</style>"),
    )
