"""Several annotations of each row (`data.annotations`): the label that most gave, how far they agree, and the rows on which they are tied.

An empty annotation is none. A row whose annotators are tied has no label: it is dropped from its split, and is on the sheet of `septet prepare RECIPE --review FILE`, where
somebody can decide. Agreement is told as the share of pairs of annotations of one row that are equal, and as Krippendorff's alpha, from which chance is taken out: 1 is
perfect, 0 what would be without looking. Below 0.667 conclusions from the labels are tentative at best (Krippendorff 2004, "Content Analysis", ch. 11).

Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", for nominal data and missing values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from septet.data.draft import Draft, share
from septet.data.schema import Schema, as_labels
from septet.data.table import Table, require_columns
from septet.errors import RecipeError

TENTATIVE = 0.667
EXAMPLES, SHOWN = 10, 120


@dataclass(frozen=True, slots=True)
class Votes:
    """What the annotators of a table gave.

    Args:
        given: annotator -> label of each row, None where there is none.
        tied: row -> the labels that most gave, as often as each other.
    """

    given: Mapping[str, list[str | None]]
    tied: dict[int, list[str]]

    @property
    def rows(self) -> list[list[str]]:
        """The annotations of each row."""
        return [[label for label in each if label is not None] for each in zip(*self.given.values(), strict=True)]


def settle(table: Table, names: Sequence[str], schema: Schema) -> Votes | None:
    """Give a table the label that most annotators gave; None where it has a label of its own and no annotations.

    Raises:
        RecipeError: it has both, or an annotation's column is missing.
    """
    label = str(schema.label)
    there = [name for name in names if name in table.columns]
    if label in table.columns:
        if not there:
            return None
        raise RecipeError(
            "data.annotations makes the label, and the table has one already.",
            where=table.name,
            received=f"task.label: {label}",
            hint="give the label that is made another name: task.label: majority",
        )
    require_columns(list(table.columns), dict.fromkeys(names, "data.annotations"), where=table.name)
    votes = Votes({name: as_labels(table.columns[name], name, where=table.where) for name in names}, {})
    made: list[str | None] = []
    for place, given in enumerate(votes.rows):
        counts = Counter(given)
        most = max(counts.values(), default=0)
        first = sorted(each for each, n in counts.items() if n == most)
        if len(first) > 1:
            votes.tied[place] = first
        made.append(first[0] if first else None)
    table.columns[label] = made
    return votes


def tell(draft: Draft, split: str, votes: Votes) -> None:
    """Report where annotators disagree, and remember the rows on which they are tied."""
    draft.tied[split] = votes.tied
    rows = votes.rows
    several = [i for i, given in enumerate(rows) if len(given) > 1]
    torn = [i for i in several if len(set(rows[i])) > 1]
    if not torn:
        return
    alpha, equal = agreement(rows)
    pairs = Counter(tuple(sorted(pair)) for i in torn for pair in combinations(rows[i], 2) if pair[0] != pair[1])
    read = draft.splits[split]
    shown = ", ".join(f'"{one}" or "{other}" {n:,}' for (one, other), n in pairs.most_common(3))
    draft.find(
        "annotators-disagree",
        "warning" if alpha < TENTATIVE else "note",
        message=f"{split}: annotators disagree on {share(len(torn), len(rows))} and are tied on {len(votes.tied):,}; Krippendorff's alpha is {alpha:.2f}, {equal:.1%} of the pairs are equal. Most often {shown}.",
        fix="septet prepare RECIPE --review review.csv lists the tied rows; say in the labelling guide what tells these labels apart",
        evidence={
            "split": split,
            "rows": len(torn),
            "tied": len(votes.tied),
            "alpha": round(alpha, 4),
            "equal": round(equal, 4),
            "annotated": {name: sum(label is not None for label in given) for name, given in votes.given.items()},
            "pairs": [{"labels": list(pair), "times": n} for pair, n in pairs.most_common(EXAMPLES)],
            "examples": [_example(read.place(i), " | ".join(read.texts[i]), votes, i) for i in torn[:EXAMPLES]],
        },
    )


def drop_tied(draft: Draft) -> None:
    """Drop rows on which annotators are tied and nobody has decided since."""
    for split, tied in draft.tied.items():
        rows = draft.splits[split]
        seen = draft.reviewed.get(split, set())
        gone = [i for i, place in enumerate(rows.places) if place in tied and place not in seen]
        if gone:
            draft.undecided[split] = rows.take(gone)
            draft.drop(split, gone, reason="annotators tied")


def agreement(rows: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return Krippendorff's alpha of nominal labels, and the share of pairs within a row that are equal; rows with one annotation do not count."""
    paired = [given for given in rows if len(given) > 1]
    total = sum(map(len, paired))
    if not total:
        return 1.0, 1.0
    differ = pairs = unequal = 0.0
    for given in paired:
        same = sum(n * n for n in Counter(given).values())
        apart = len(given) ** 2 - same  # ordered pairs of different labels
        differ += apart / (len(given) - 1)
        pairs += len(given) * (len(given) - 1)
        unequal += apart
    counts = Counter(label for given in paired for label in given)
    expected = (total * total - sum(n * n for n in counts.values())) / (total * (total - 1))
    alpha = 1.0 if expected == 0 else 1 - differ / total / expected
    return alpha, 1 - unequal / pairs


def _example(place: str, text: str, votes: Votes, row: int) -> dict[str, Any]:
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return {"place": place, "text": text, "labels": {name: given[row] for name, given in votes.given.items()}}
