"""The parts of `data.html` on the rows themselves: labels, lengths, columns, words, odd rows, samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from septet.page import charts, words
from septet.page.html import Html, join, table, tag
from septet.recipe.model import FILES

if TYPE_CHECKING:
    from septet.page.data import Data

SHOWN_LABELS, FOLDED_ABOVE = 15, 24
_STEPS = ("min", "p5", "p50", "p95", "p99", "max")
_STEP_NAMES = ("shortest", "5 %", "median", "95 %", "99 %", "longest", "mean")


def labels(data: Data) -> Html | None:
    """Return how often each label stands in each split, the most frequent in train first."""
    known = data.facts["labels"]
    if not known:
        return None
    counts = {split: data.profile[split]["labels"] for split in data.splits}
    first, total = counts["train"], {split: max(1, sum(each.values())) for split, each in counts.items()}
    most = max(first.values(), default=1)
    rows = []
    for label in sorted(
        {*known, *(name for each in counts.values() for name in each)}, key=lambda name: (-first.get(name, 0), name)
    ):
        shares = [f"{counts[split].get(label, 0):,}" for split in data.splits]
        share = first.get(label, 0) / total["train"]
        drawn = charts.bar(first.get(label, 0), most, title=f"{label}: {share:.1%} of train")
        rows.append([label, *shares, f"{100 * share:.1f}", drawn])
    head = ["label", *data.splits, "% of train", ""]
    numeric = range(1, len(data.splits) + 2)
    if len(rows) <= FOLDED_ABOVE:
        return table(head, rows, numeric=numeric, caption="Rows of each label", class_="quiet")
    whole = table(head, rows[SHOWN_LABELS:], numeric=numeric, caption="the other labels", class_="quiet")
    folded = tag("details", tag("summary", f"the other {len(rows) - SHOWN_LABELS} labels"), whole)
    return join(
        [table(head, rows[:SHOWN_LABELS], numeric=numeric, caption="Rows of each label", class_="quiet"), folded]
    )


def lengths(data: Data) -> Html | None:
    """Return how long the rows are: in tokens of the model where its tokenizer is at hand, in characters, and each column in words."""
    train = data.profile["train"]
    if not train["characters"]:
        return None
    tokens = data.facts.get("tokens")
    figures = []
    if tokens:
        drawn = charts.lengths(
            tokens["splits"]["train"],
            unit="tokens",
            title="Tokens of the rows of train",
            limit=tokens["limit"],
        )
        figures.append(tag("figure", drawn, tag("figcaption", _of_tokens(tokens))))
    drawn = charts.lengths(train["characters"], unit="characters", title="Characters of the rows of train")
    figures.append(
        tag("figure", drawn, tag("figcaption", "Characters, rows of train. The last bar holds the longest 1 %."))
    )
    rows = []
    for split in data.splits:
        profile = data.profile[split]
        if tokens and split in tokens["splits"]:
            rows.append([split, "tokens", *_steps(tokens["splits"][split])])
        rows.append([split, "characters", *_steps(profile["characters"])])
        for column, facts in profile["columns"].items():
            several = f"words of {column}" if len(profile["columns"]) > 1 else "words"
            rows.append([split, several, *_steps(facts["words"])])
    whole = table(["split", "in", *_STEP_NAMES], rows, numeric=range(2, 9), caption="Lengths", class_="quiet")
    return join([tag("div", figures, class_="pair"), whole])


def media(data: Data) -> str | None:
    """Return what the rows are files of, in the plural; None where they are texts."""
    return next((f"{kind}s" for kind in FILES if f"{kind}s" in data.profile["train"]), None)


def files(data: Data) -> Html | None:
    """Return the sizes and kinds of pictures or recordings, and where a few of them lie; None where the rows are texts."""
    what = media(data)
    if what is None:
        return None
    found = {split: each[what] for split, each in data.profile.items()}
    sizes = [
        [split, name, *_steps(size)] for split, each in found.items() for name, size in each["sizes"].items() if size
    ]
    kinds = [
        [split, ", ".join(f"{kind} {count:,}" for kind, count in each["kinds"].items())]
        for split, each in found.items()
    ]
    some = [
        [split, one["label"], tag("small", one["place"])] for split, each in found.items() for one in each["samples"]
    ]
    names = ("least", *_STEP_NAMES[1:5], "most", "mean")
    return join(
        [
            table(["split", "size", *names], sizes, numeric=range(2, 9), caption="Sizes", class_="quiet"),
            table(["split", "kinds"], kinds, caption="Kinds", class_="quiet"),
            table(["split", "label", "file"], some, caption="Samples", class_="quiet rows") if some else None,
        ]
    )


def columns(data: Data) -> Html:
    """Return the columns as they were read, and what the task's own hold once they are clean."""
    parts: list[Any] = []
    for split in data.splits:
        read = data.profile[split]["read"]
        if not read:
            continue
        rows = [
            [
                tag("code", name),
                ", ".join(f"{kind} {n:,}" for kind, n in facts["types"].items()) or words.NO_VALUE,
                f"{facts['missing']:,}",
                words.NO_VALUE if facts["distinct"] is None else f"{facts['distinct']:,}",
                "" if facts["used"] else tag("span", "not used", class_="muted"),
            ]
            for name, facts in read.items()
        ]
        head = ["column", "values", "missing or empty", "distinct", ""]
        parts.append(table(head, rows, numeric=(2, 3), caption=f"As read for {split}"))
    kept = [
        [split, tag("code", column), f"{facts['distinct']:,}", f"{facts['empty']:,}"]
        for split in data.splits
        for column, facts in data.profile[split]["columns"].items()
    ]
    if kept:
        parts.append(table(["split", "column", "distinct", "empty"], kept, numeric=(2, 3), caption="As kept, cleaned"))
    return join(parts)


def vocabulary(data: Data) -> Html:
    """Return the words of each split, and how much of it train does not have."""
    rows = []
    for split in data.splits:
        found = data.profile[split]["vocabulary"]
        told = [f"{found['words']:,}", f"{found['distinct']:,}"]
        if "unseen" in found:
            share, of_distinct = (
                _share(found["unseen"], found["words"]),
                _share(found["unseen_distinct"], found["distinct"]),
            )
            told += [share, of_distinct, ", ".join(found["commonest"])]
        else:
            told += [words.NO_VALUE, words.NO_VALUE, ""]
        rows.append([split, *told])
    head = ["split", "words", "distinct", "not in train", "of the distinct", "the commonest of these"]
    note = "A word is what stands between white space, in lower case, without the punctuation around it. Many words that train does not have point to another time, source or language."
    scripts = [
        f"{split}: "
        + ", ".join(
            f"{script} {share:.1%}" for script, share in data.profile[split]["scripts"].items() if share >= 0.0005
        )
        for split in data.splits
        if data.profile[split]["scripts"]
    ]
    letters = (
        tag("p", "Scripts by their share of the letters. ", "; ".join(scripts), ".", class_="muted")
        if scripts
        else None
    )
    return join(
        [
            table(head, rows, numeric=(1, 2, 3, 4), caption="Words", class_="quiet"),
            tag("p", note, class_="muted"),
            letters,
        ]
    )


def odd(data: Data) -> Html | None:
    """Return the longest, the shortest and the oddest rows of each split."""
    rows = []
    for split in data.splits:
        profile = data.profile[split]
        for what in ("longest", "shortest"):
            rows += [[split, f"{what}, {row['length']:,} characters", *_row(row)] for row in profile[what]]
        rows += [[split, f"{row['count']:,} odd: {', '.join(row['characters'])}", *_row(row)] for row in profile["odd"]]
    if not rows:
        return None
    note = "Odd are characters that are no text (U+FFFD of a wrong encoding, control, private use) and letters of a script with less than one letter in a thousand of its split."
    return join(
        [
            table(["split", "what", "text", "place"], rows, caption="Odd rows", class_="quiet rows"),
            tag("p", note, class_="muted"),
        ]
    )


def samples(data: Data) -> Html | None:
    """Return a few rows, evenly spread over train and validation."""
    rows = [[split, *_row(row)] for split in data.splits for row in data.profile[split]["samples"]]
    if not rows:
        return None
    note = "Evenly spread over the split, cut short, with addresses and long numbers replaced. Of test sets none is shown: what a model is tested on is best not read first."
    return join(
        [
            table(["split", "text", "place"], rows, caption="Samples", class_="quiet rows"),
            tag("p", note, class_="muted"),
        ]
    )


def _row(row: dict[str, Any]) -> list[Any]:
    place = tag("small", row["place"])
    if "text" not in row:
        return [tag("span", "a test row, not shown", class_="muted"), place]
    label = tag("span", row["label"], class_="under") if "label" in row else None
    text = tag("span", row["text"], dir="auto") if row["text"] else tag("span", "no text", class_="muted")
    return [join([text, label]), place]


def _steps(spread: dict[str, Any]) -> list[str]:
    if not spread:
        return [words.NO_VALUE] * len(_STEP_NAMES)
    return [*[f"{spread[step]:,.0f}" for step in _STEPS], f"{spread['mean']:,.1f}"]


def _of_tokens(tokens: dict[str, Any]) -> str:
    drawn, rows = tokens["rows"]["train"], tokens["of"]["train"]
    which = f"{drawn:,} of the {rows:,} rows of train, evenly spread" if drawn < rows else "rows of train"
    over = tokens["over"]["train"]
    cut = (
        ""
        if tokens["limit"] is None
        else f" {_share(over, drawn)} are longer than {tokens['whose']}, {tokens['limit']:,} tokens."
    )
    return f"Tokens of {tokens['model']}, {which}.{cut}"


def _share(part: int, whole: int) -> str:
    percent = 100 * part / max(1, whole)
    return "0 %" if not part else "under 0.1 %" if percent < 0.1 else f"{percent:.1f} %"
