"""`data.html` of a prepared run: what the data are, in one file; `report.html` has its main parts.

    write(run, recipe)

Nothing is computed here that is not in the run's `data.json`. Its parts: the ledger and the findings (here), columns, lengths, labels, words and rows
(`columns`), and how far the rows are from those they are meant for (`target`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data import sql
from septet.data.sources import IN_MEMORY
from septet.page import words
from septet.page.html import Html, join, table, tag
from septet.page.places import Places
from septet.recipe.data import counted

if TYPE_CHECKING:
    from septet.page.report import Story
    from septet.recipe import Recipe
    from septet.run import Run

NAME = "data.html"
OF_TEXTS = ("lengths", "words", "odd", "samples")


@dataclass(frozen=True, slots=True)
class Data:
    """What a run's `data.json` holds, and the recipe that asked for it."""

    recipe: Recipe
    facts: dict[str, Any]

    @property
    def profile(self) -> dict[str, dict[str, Any]]:
        """Split -> its profile."""
        return self.facts["profile"]

    @property
    def splits(self) -> list[str]:
        return list(self.profile)


def write(run: Run, recipe: Recipe) -> Path:
    """Write the page of a prepared run, and return its path.

    Raises:
        UsageError: the run was not prepared yet.
    """
    shown = page(Data(recipe, run.read_json("data.json")))
    return run.write_text(NAME, Places.of(recipe, run.path).shorten(shown))


def page(data: Data) -> str:
    """Return the whole page."""
    from septet.page import columns
    from septet.page.report import head
    from septet.page.target import target

    parts: list[tuple[str, str, Callable[[Data], Html | None]]] = [
        ("findings", "Findings", lambda data: listed(data.facts["findings"])),
        ("ledger", "Ledger", lambda data: books(data.facts)),
        ("target", "Target", target),
        ("labels", "Labels", columns.labels),
        ("files", "Files", columns.files),
        ("lengths", "Lengths", columns.lengths),
        ("columns", "Columns", columns.columns),
        ("words", "Words", columns.vocabulary),
        ("odd", "Odd rows", columns.odd),
        ("samples", "Samples", columns.samples),
        ("origin", "Where from", origin),
    ]
    if columns.media(data):
        parts = [part for part in parts if part[0] not in OF_TEXTS]
    shown = [(name, title, body) for name, title, make in parts if (body := make(data)) is not None]
    menu = tag("nav", [tag("a", title, href=f"#{name}") for name, title, _ in shown], aria_label="Sections")
    body = [tag("section", tag("h2", title), content, id=name) for name, title, content in shown]
    foot = tag(
        "footer",
        "Written by Septet. One file; it loads nothing and sends nothing. It shows some rows, cut short, with addresses and long numbers replaced: "
        "share it as you would the data.",
    )
    main = tag("main", _headline(data), menu, body, foot)
    return f"<!doctype html>\n{tag('html', head(f'{data_name(data.recipe)}: data', ['style.css']), tag('body', main), lang='en')}\n"


def summary(story: Story) -> Html:
    """Return the part of `report.html` on the data: the ledger, the lengths, and where the whole page is."""
    from septet.page import columns

    data = Data(story.recipe, story.data)
    link = tag("a", "The page of the data", href=NAME)
    more = tag("p", link, " beside this file has columns, labels, words, odd rows and samples.", class_="muted")
    return join([more, books(story.data), columns.files(data) or columns.lengths(data)])


def books(data: dict[str, Any]) -> Html:
    """Return the ledger: every row read, and what became of it; the sources and the files."""
    ledger, media = data["ledger"], data["columns"].get("media")
    rows = []
    for split, account in ledger.items():
        dropped = ", ".join(f"{reason} {n:,}" for reason, n in account["dropped"].items()) or words.NO_VALUE
        truncated = (
            words.NO_VALUE
            if account["truncated_rows"] is None
            else f"{account['truncated_rows']:,} rows" + ("" if media else f", {account['truncated_tokens']:,} tokens")
        )
        figures = (account["read"], account["received"], sum(account["moved"].values()))
        figures = (*figures, sum(account["dropped"].values()), account["kept"])
        rows.append([split, *[f"{n:,}" for n in figures], dropped, truncated])
    mixed = [
        [path, f"{rows['read']:,}", f"{rows['kept']:,}", f"{rows['weight']:g}"]
        for path, rows in ledger["train"].get("sources", {}).items()
    ]
    cleaned = [
        [split, ", ".join(f"{kind} {n:,}" for kind, n in account["cleaned"].items())]
        for split, account in ledger.items()
        if account["cleaned"]
    ]
    files = [
        [split, f"{facts['rows']:,}", tag("code", facts["sha256"][:16])] for split, facts in data["splits"].items()
    ]
    head = ["split", "read", "received", "moved", "dropped", "kept", "dropped because", "cut to length"]
    told = "Sources of train; the weight is how often an epoch shows each row on average"
    prepared = table(["split", "rows", "sha256"], files, numeric=(1,), caption=f"prepared/{data['hash']}")
    return join(
        [
            table(head, rows, numeric=range(1, 6), caption="Ledger: read + received = moved + dropped + kept"),
            table(["source of train", "read", "kept", "weight"], mixed, numeric=(1, 2, 3), caption=told)
            if mixed
            else None,
            table(["split", "rows changed, by kind"], cleaned, caption="Cleaned") if cleaned else None,
            tag("details", tag("summary", "Prepared files"), prepared),
        ]
    )


def listed(found: Sequence[dict[str, Any]]) -> Html:
    """Return findings as a list, blockers first."""
    if not found:
        return tag("p", "Nothing was found.", class_="muted")
    order = {"blocker": 0, "warning": 1, "note": 2}
    items = [
        tag(
            "li",
            tag("span", finding["level"], class_=f"mark {finding['level']}"),
            tag("code", finding["slug"]),
            tag("p", finding["message"]),
            tag("p", finding["fix"], class_="muted") if finding["fix"] else None,
        )
        for finding in sorted(found, key=lambda f: order.get(f["level"], 3))
    ]
    return tag("ul", items, class_="findings")


def origin(data: Data) -> Html:
    """Return the raw files with their hashes, and the prepared folder that they became."""
    rows = [
        [each["split"], tag("code", _short(each["path"])), words.size(each["size"]), tag("code", each["sha256"][:16])]
        for each in data.facts["raw"]
    ]
    told = f"Together with the settings of data they make prepared/{data.facts['hash']}; the same files and settings make the same bytes."
    return join(
        [
            table(["split", "read from", "size", "sha256"], rows, numeric=(2,), caption="Raw files"),
            tag("p", told, class_="muted"),
        ]
    )


def data_name(recipe: Recipe) -> str:
    """Return what the data of a recipe are called: the name of the file, or of its folder."""
    data = recipe.data
    if data.hub is not None:
        return Path(data.hub.path).name
    first = data.train if isinstance(data.train, str) else (data.train or ["data"])[0]
    if first == IN_MEMORY:
        return "a table in memory"
    if sql.is_database(first):
        return sql.title(first)
    path = Path(counted(first)[0])
    stem = path.name.split(".")[0]
    return path.parent.name if stem in ("train", "data") and path.parent.name else stem


def _headline(data: Data) -> Html:
    ledger, kept = data.facts["ledger"], {split: each["rows"] for split, each in data.profile.items()}
    read, total = sum(account["read"] for account in ledger.values()), sum(kept.values())
    lost = sum(sum(account["dropped"].values()) for account in ledger.values())
    labels = data.facts["labels"]
    splits = ", ".join(f"{split} {rows:,}" for split, rows in kept.items())
    lead = f"{read:,} rows read, {lost:,} dropped, {total:,} kept: {splits}" + (
        f"; {len(labels):,} labels" if labels else ""
    )
    levels = [finding["level"] for finding in data.facts["findings"]]
    counts = [
        f"{levels.count(level)} {level}{'s' if levels.count(level) != 1 else ''}"
        for level in ("blocker", "warning", "note")
        if level in levels
    ]
    kind = "bad" if "blocker" in levels else "" if "warning" in levels else "good"
    return tag(
        "header",
        tag("p", "Septet · data", class_="eyebrow brand"),
        tag("h1", data_name(data.recipe)),
        tag("p", lead, class_="lead"),
        tag("p", tag("strong", "Findings: "), ", ".join(counts) or "none", ".", class_=f"verdict {kind}", role="note"),
    )


def _short(path: str) -> str:
    """Return a path without the folders above it, which are the machine's and not the data's."""
    return path if "://" in path or path.startswith("memory:") else "/".join(Path(path).parts[-2:])
