"""What a recipe expects of its data (`data.expect`): data tests that stop a run, or a build, with exit code 3.

    data:
      expect: {rows: ">= 1000", duplicates: "< 1%", near-leak: "== 0", rarest-label: ">= 20"}

A name is a count of the prepared data or a finding that counts rows; a bound is a comparison with a number, or with a share of the rows read.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from septet.data.draft import Draft
from septet.errors import RecipeError
from septet.recipe.data import BOUND
from septet.registry import suggest

# what is counted when the splits are final; rows, train, validation and test are rows kept
COUNTS = ("rows", "train", "validation", "test", "dropped", "labels", "rarest-label")
# findings whose evidence counts rows, summed over the splits
FINDINGS = (
    "answer-missing",
    "contaminated",
    "data-leak",
    "duplicates",
    "empty-text",
    "html-in-text",
    "label-conflict",
    "label-missing",
    "label-unseen",
    "labels-ambiguous",
    "labels-doubtful",
    "language-other",
    "line-unreadable",
    "long-texts",
    "near-duplicates",
    "near-leak",
    "personal-data",
    "picture-unreadable",
    "recording-silent",
    "recording-unreadable",
    "row-malformed",
    "semantic-duplicates",
    "semantic-leak",
    "turns-left-out",
)
# of these, what only rows with one of a few labels have
OF_CLASSES = frozenset(name for name in (*COUNTS, *FINDINGS) if name.startswith(("label", "rarest-")))
# and what only texts have
OF_TEXTS = frozenset(
    name
    for name in FINDINGS
    if name.startswith(("near-", "semantic-", "language-", "html-", "long-", "empty-", "personal-", "turns-"))
) | {"contaminated", "labels-doubtful"}
OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison with a number, or with a share of the rows read."""

    sign: str
    value: float
    share: bool

    @classmethod
    def of(cls, text: str) -> Bound:
        """Return the bound a text such as `< 1%` names.

        Raises:
            RecipeError: it names none.
        """
        match = re.fullmatch(BOUND, text)
        if match is None:
            raise RecipeError("data.expect holds comparisons.", received=text, hint='rows: ">= 1000"')
        return cls(match[1], float(match[2].replace(",", "").replace("_", "")), match[3] == "%")

    def holds(self, count: int, read: int) -> bool:
        """Return whether a count of rows keeps the bound."""
        return OPERATORS[self.sign](100 * count / max(1, read) if self.share else count, self.value)


def check_names(data: Any) -> None:
    """Check that the names are counted by something.

    Args:
        data: the recipe's block `data`.

    Raises:
        RecipeError: a name is unknown, or nothing looks for what it counts.
    """
    known, unlooked = [*COUNTS, *FINDINGS], _unlooked(data)
    for name in data.expect:
        if name not in known:
            raise RecipeError(
                "data.expect names nothing that is counted.",
                received=name,
                hint=suggest(name, known) or ", ".join(known),
            )
        if name in unlooked:
            why, hint = unlooked[name]
            raise RecipeError(f"data.expect.{name} cannot be known: {why}.", hint=hint)


def check_expected(draft: Draft, expect: Mapping[str, str]) -> None:
    """Add a blocker for every expectation that the prepared data do not keep."""
    counted = counts(draft)
    read = sum(account.read for account in draft.ledger.accounts.values())
    for name, text in expect.items():
        bound = Bound.of(text)
        if bound.holds(counted[name], read):
            continue
        share = f" ({100 * counted[name] / max(1, read):.2g} % of the rows read)" if bound.share else ""
        draft.find(
            "expectation-failed",
            "blocker",
            message=f"data.expect: {name} must be {text}; it is {counted[name]:,}{share}.",
            fix=f"look at the finding {name}" if name in FINDINGS else "look at the ledger",
            evidence={"name": name, "expected": text, "count": counted[name], "read": read},
        )


def counts(draft: Draft) -> dict[str, int]:
    """Return every count that can be expected."""
    books = draft.ledger.accounts
    tests = sum(len(draft.splits[split]) for split in draft.tests)
    train = draft.splits["train"]
    labels = train.label_counts() if draft.schema.classes else {}
    found = dict.fromkeys(FINDINGS, 0)
    for finding in draft.report:
        if finding.slug in found:
            found[finding.slug] += int(finding.evidence.get("rows", 0))
    return found | {
        "rows": sum(map(len, draft.splits.values())),
        "train": len(train),
        "validation": len(draft.splits.get("validation", ())),
        "test": tests,
        "dropped": sum(sum(account.dropped.values()) for account in books.values()),
        "labels": len(labels),
        "rarest-label": min(labels.values(), default=0),
    }


def _unlooked(data: Any) -> dict[str, tuple[str, str]]:
    """Return the findings that the recipe's other keys do not ask for, each with why, and what would ask for it."""
    clean, near, doubtful = data.clean, data.near, data.doubtful.policy
    off = {
        ("near-duplicates", "near-leak"): near.policy == "off"
        and ("near duplicates are not looked for", "data.near.policy: warn"),
        ("semantic-duplicates", "semantic-leak"): near.semantic is None
        and ("meanings are not compared", "data.near.semantic: 0.95"),
        ("language-other",): clean.language is None and ("no language is asked for", "data.clean.language: [en]"),
        ("contaminated",): data.against is None and ("no benchmark is named", "data.against: [benchmark.csv]"),
        ("labels-doubtful",): doubtful == "off" and ("no label is doubted", "data.doubtful.policy: warn"),
        ("labels-ambiguous",): doubtful == "off" and ("no label is doubted", "data.doubtful.policy: warn"),
    }
    return {name: said for names, said in off.items() if said for name in names}
