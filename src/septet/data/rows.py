"""The rows of one split while they are prepared, and the id each keeps for life.

A row's id is a hash of its content and its ordinal among equal rows, so that it does not depend on the order of the
file, on other columns or on the split. It is the key of the ledger, of randomness, of paired tests and of lineage.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Texts = tuple[str, ...]
_MASK = (1 << 63) - 1  # 63 of the 64 bits, so that an id fits a signed 64-bit column and is never negative


@dataclass(slots=True)
class Rows:
    """Parallel lists, one item a row.

    Args:
        texts: the text, or the pair.
        labels: None where the source has no label.
        groups: the value of the group column, or None when no such column is used.
        places: index of the row in the table it was read from.
        where: index in that table -> `tickets.csv line 17`.
        times: numbers that grow with time, or None when no such column is used.
    """

    texts: list[Texts]
    labels: list[str | None]
    groups: list[str | None] | None
    places: list[int]
    where: Callable[[int], str]
    times: list[float] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> Rows:
        """Return the rows at these indices, in their order."""
        groups = None if self.groups is None else [self.groups[i] for i in indices]
        return Rows(
            [self.texts[i] for i in indices],
            [self.labels[i] for i in indices],
            groups,
            [self.places[i] for i in indices],
            self.where,
            None if self.times is None else [self.times[i] for i in indices],
        )

    def place(self, index: int) -> str:
        """Return where a row stands in its source."""
        return self.where(self.places[index])

    def some(self, indices: Sequence[int], most: int = 10) -> list[str]:
        """Return the places of the first few rows."""
        return [self.place(i) for i in indices[:most]]

    def lengths(self, *, labels: bool = False) -> list[int]:
        """Return the characters of each row's texts together, with those of its label where asked."""
        added = [len(label or "") if labels else 0 for label in self.labels]
        return [sum(map(len, texts)) + more for texts, more in zip(self.texts, added, strict=True)]

    def label_counts(self) -> dict[str, int]:
        """Return rows by label, most frequent first."""
        return dict(
            sorted(
                Counter(label for label in self.labels if label is not None).items(),
                key=lambda item: (-item[1], item[0]),
            )
        )


def row_ids(rows: Rows) -> list[int]:
    """Return the 64-bit id of each row: hash of texts and label, and the ordinal among equals."""
    seen: Counter[tuple[Texts, str | None]] = Counter()
    ids = []
    for texts, label in zip(rows.texts, rows.labels, strict=True):
        content = (texts, label)
        ids.append(row_id(texts, label, ordinal=seen[content]))
        seen[content] += 1
    return ids


def row_id(texts: Texts, label: str | None, *, ordinal: int = 0) -> int:
    """Return the id of one row."""
    parts = [text.encode("utf-8", "surrogatepass") for text in (*texts, "" if label is None else label)]
    content = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    digest = hashlib.blake2b(content + ordinal.to_bytes(8, "little"), digest_size=8, person=b"septet-row").digest()
    return int.from_bytes(digest, "little") & _MASK
