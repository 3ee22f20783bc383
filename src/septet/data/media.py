"""Files as rows, pictures or recordings: a folder of them as a table, and what is wrong with one.

A folder (or an archive, or a folder in one) becomes two columns: `image` or `audio`, a path, and `label`, the name of the sub-folder; a table names its files
in a column of paths, relative to it or to a folder that is named. `look` opens every file once: those that cannot be read are left out and counted, the others are known by
the sha256 of their bytes from then on, so that copies, conflicts and leaks are found as those of texts are. A file that was saved anew has other bytes and
is another one. Files are not copied: prepared data hold where they lie, and `check` tells when they have changed since.

A kind of file is a module, `picture` or `sound`; `KINDS` has them by name.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from septet.data import archive, picture, sound
from septet.data.address import SHOWN, Unreadable, file_of, listed, members_of, sha256_of
from septet.data.files import ARCHIVES, ENDINGS, SPLITS, ending, in_archive, is_table, shown
from septet.data.table import Part, Stamp, Table
from septet.errors import DataError, RecipeError
from septet.recipe.model import FILES
from septet.report import Finding

LABEL = "label"
# files beside one text at the top of a folder, from which on it is a note beside them
FILES_A_NOTE = 10


class Kind(Protocol):
    """What is asked of a kind of file: what one is called, and the finding of those that cannot be read.

    `read_whole` opens a file and raises `Unreadable`; what it returns has an `address`, its `sha256` and its `kind`. `measured` gives the sizes
    that a profile tells, `told` the findings.
    """

    @property
    def NAME(self) -> str: ...  # noqa: N802  (a constant of a module)
    @property
    def SLUG(self) -> str: ...  # noqa: N802

    def read_whole(self, address: str, /) -> Any: ...
    def measured(self, files: Sequence[Any], /) -> dict[str, list[int]]: ...
    def told(self, files: Sequence[Any], /) -> list[Finding]: ...


KINDS: dict[str, Kind] = {picture.NAME: picture, sound.NAME: sound}


@dataclass(slots=True)
class Media:
    """The files of a table.

    Args:
        kind: their name in `KINDS`.
        known: sha256 -> the first file with these bytes.
        watched: every file and folder that was looked at -> its size and time; a file that was missing has the size -1.
    """

    kind: str
    known: dict[str, Any] = field(default_factory=dict)
    watched: dict[str, tuple[int, int]] = field(default_factory=dict)

    def with_(self, other: Media) -> Media:
        """Return these and others."""
        return Media(self.kind, other.known | self.known, self.watched | other.watched)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of files: a folder or an archive without a table in it, or a folder in an archive."""
    if path.is_dir():
        return not any(each.is_file() and is_table(each.name, plain=False) for each in path.iterdir())
    if path.is_file():
        return ending(path) in ARCHIVES and not any(is_table(name, plain=False) for name in members_of(path))
    within = in_archive(path)
    return within is not None and within[1] not in members_of(within[0])


def folder(path: Path, kind: str, *, labelled: bool = True) -> Table:
    """Return the table of a folder of files: their paths, and `label`, the names of its sub-folders.

    Args:
        kind: which files, by their name in `KINDS`.
        labelled: the sub-folders are labels; else there is no such column.

    Raises:
        DataError: it holds none.
        RecipeError: its sub-folders are those of several splits.
    """
    root = path.absolute()
    names, others, table = _in_archive(root, kind) if not root.is_dir() else _in_folder(root, kind)
    if not names:
        raise DataError(
            f"The folder holds no {kind} ({', '.join(end[1:] for end in ENDINGS[kind])}) and no table.",
            where=shown(path),
            **({"received": ", ".join(others[:6])} if others else {}),
        )
    table.columns[FILES[kind]] = [f"{root}/{name}" for name in names]
    if labelled:
        _check_splits(list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name)), path)
        table.columns[LABEL] = [name.split("/")[0] if "/" in name else None for name in names]
    table.parts = [Part(shown(path), 0, files=[f"{shown(path)}/{name}" for name in names])]
    if others:
        table.findings.append(_skipped(shown(path), kind, len(names), others))
    return table


def splits(path: Path) -> tuple[str, dict[str, Path]] | None:
    """Return the kind of a folder's files, and the folders by split where their names tell, else the folder as train.

    None where it is a folder of texts, or holds no file of any kind.
    """
    if not path.is_dir() or not is_folder(path):
        return None
    kind, names = max(((kind, _in_folder(path.absolute(), kind)[0]) for kind in KINDS), key=lambda each: len(each[1]))
    # a note may lie beside pictures, as some pictures may beside texts
    if len(names) <= FILES_A_NOTE * sum(1 for _ in path.glob("*.txt")):
        return None
    heads = list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name))
    found = {SPLITS[head.lower()]: path / head for head in heads if head.lower() in SPLITS}
    return kind, (found if "train" in found and len(found) == len(heads) else {"train": path})


def look(table: Table, column: str, kind: str, *, base: Path | None = None) -> Table:
    """Return a table with its files opened: the column holds what each is known by, and rows whose file cannot be read are left out.

    Args:
        kind: which files, by their name in `KINDS`.
        base: the folder or archive that paths are relative to; None: that of the table.

    Raises:
        DataError: none can be read.
    """
    of = KINDS[kind]
    bases = _bases(table, base)
    media = table.media or Media(kind)
    kept, reasons, digest = [], {}, hashlib.sha256()
    found: list[str] = []
    for i, (value, above) in enumerate(zip(table.columns[column], bases, strict=True)):
        try:
            address = _address(value, above, kind)
            media.watched.setdefault(*_watched(address))
            file = of.read_whole(address)
        except Unreadable as error:
            reasons[i] = str(error)
            digest.update(f"{value}: {error}\n".encode("utf-8", "replace"))
            continue
        media.known.setdefault(file.sha256, file)
        digest.update(f"{value} {file.sha256}\n".encode("utf-8", "replace"))
        kept.append(i)
        found.append(file.sha256)
    if reasons:
        table.findings.append(_unreadable(table, of, reasons))
    if not kept:
        counts = Counter(reasons.values())
        raise DataError(
            f"No {kind} of {column!r} can be read: {counts.most_common(1)[0][0]}.",
            where=table.where(0) if reasons else table.name,
            hint=f"is task.{FILES[kind]} the column with the paths? data.media names the folder or archive they begin at"
            if len(table.columns) > 2
            else None,
        )
    looked = table.take(kept)
    looked.columns[column] = found
    looked.media = media
    for reason, count in Counter(reasons.values()).items():
        looked.left_out[reason] = looked.left_out.get(reason, 0) + count
    total = sum(size for size, _ in media.watched.values() if size > 0)
    looked.stamps = [*table.stamps, Stamp(f"media:{table.name}", total, 0, digest.hexdigest())]
    looked.findings += of.told([media.known[key] for key in found])
    return looked


def addresses(table: Table, column: str, kind: str) -> list[str]:
    """Return the address of each row's file; of a value that is none, the value as text."""
    found = []
    for value, base in zip(table.columns[column], _bases(table, None), strict=True):
        try:
            found.append(_address(value, base, kind))
        except Unreadable:
            found.append(str(value or ""))
    return found


def check(kind: str, watched: Mapping[str, Sequence[int]], rows: Iterable[tuple[str, str]]) -> None:
    """Check that the files of prepared rows are those that were prepared.

    Args:
        kind: what one is called.
        watched: as `Media.watched` was then.
        rows: address and sha256 of each.

    Raises:
        DataError: one is gone or another one.
    """
    changed = {path for path, then in watched.items() if _stat(path) != tuple(then)}
    gone = [address for address, sha256 in rows if file_of(address) in changed and sha256_of(address) != sha256]
    if gone:
        raise DataError(
            f"{len(gone):,} {kind}{' is' if len(gone) == 1 else 's are'} gone or no longer the one{'' if len(gone) == 1 else 's'} that {'was' if len(gone) == 1 else 'were'} prepared.",
            where=gone[0],
            hint="bring them back, or prepare again",
        )


def unchanged(watched: Mapping[str, Sequence[int]]) -> bool:
    """Whether all that was looked at has the size and the time it had; nothing is opened."""
    return all(_stat(path) == tuple(then) for path, then in watched.items())


def _check_splits(heads: Sequence[str], path: Path) -> None:
    """Refuse to take the folders of splits for labels."""
    splits = [head for head in heads if head.lower() in SPLITS]
    if len({SPLITS[head.lower()] for head in splits}) > 1 or (splits and len(splits) == len(heads)):
        raise RecipeError(
            f"The folder holds those of splits ({', '.join(splits)}), not of labels.",
            where=shown(path),
            hint=f"name each: data: {{{', '.join(f'{SPLITS[head.lower()]}: {shown(path)}/{head}' for head in splits)}}}",
        )


def _address(value: Any, base: Path, kind: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"no path of a {kind}" if value not in (None, "") else "no path")
    if "://" in value or value.startswith("data:"):
        raise Unreadable("an address of the web, which is not read")
    if "\0" in value:
        raise Unreadable("a path with a NUL in it")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unreadable("a name that is not UTF-8") from None
    if not base.is_dir():  # in an archive, where no link can lead elsewhere
        return os.path.normpath(base / value)
    return str(base.resolve() / Path(value).expanduser())


def _base(part: Part) -> Path:
    """Return what the paths of a table's part are relative to: its folder, or that of the archive it is in."""
    parent = Path(part.name).parent
    return (parent if parent.is_dir() or in_archive(Path(part.name)) is not None else Path()).absolute()


def _bases(table: Table, base: Path | None) -> list[Path]:
    """Return, for each row, what its path is relative to."""
    if base is not None:
        return [base] * len(table)
    return [_base(part) for part in table.parts for _ in range(_length(table, part))]


def _length(table: Table, part: Part) -> int:
    later = [each.start for each in table.parts if each.start > part.start]
    return min(later, default=len(table)) - part.start


def _in_folder(root: Path, kind: str) -> tuple[list[str], list[str], Table]:
    """Return the files of a kind below a folder by name, the others, and a table without rows that knows what was looked at."""
    names, others, table = [], [], Table({}, [])
    table.media = Media(kind)
    inside, stack = root.resolve(), [root]
    links: list[str] = []
    while stack:
        place = stack.pop()
        table.media.watched.setdefault(*_watched(str(place)))
        for entry in sorted(os.scandir(place), key=lambda e: e.name):
            name = Path(entry.path).relative_to(root).as_posix()
            if entry.name.startswith("."):
                others.append(name)
            elif entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                links.append(name)
            elif entry.is_dir():
                # a link to a folder above would never end
                (others.append(name) if entry.is_symlink() else stack.append(Path(entry.path)))
            else:
                (names if Path(name).suffix.lower() in ENDINGS[kind] else others).append(name)
    if links:
        table.left_out["a link out of the folder"] = len(links)
        table.findings.append(_links(shown(root), KINDS[kind], sorted(links)))
    return sorted(names), sorted(others), table


def _in_archive(root: Path, kind: str) -> tuple[list[str], list[str], Table]:
    path, under = (root, "") if root.is_file() else in_archive(root) or (root, "")
    prefix = f"{under.rstrip('/')}/" if under else ""
    every = sorted(name.removeprefix(prefix) for name in members_of(path) if name.startswith(prefix))
    names = [name for name in every if Path(name).suffix.lower() in ENDINGS[kind] and not archive.hidden(name)]
    taken = set(names)
    table = Table({}, [])
    table.media = Media(kind, watched=dict([_watched(str(path))]))
    return names, [name for name in every if name not in taken], table


def _watched(address: str) -> tuple[str, tuple[int, int]]:
    outer = file_of(address)
    return outer, _stat(outer)


def _stat(path: str) -> tuple[int, int]:
    try:
        status = Path(path).stat()
    except OSError:
        return -1, 0
    return (0 if stat.S_ISDIR(status.st_mode) else status.st_size), status.st_mtime_ns


def _unreadable(table: Table, kind: Kind, reasons: Mapping[int, str]) -> Finding:
    by_reason: dict[str, list[str]] = {}
    for i, reason in reasons.items():
        by_reason.setdefault(reason, []).append(table.where(i))
    told = "; ".join(f"{len(places):,} {reason} ({listed(places)})" for reason, places in by_reason.items())
    return Finding(
        kind.SLUG,
        "warning",
        f"{table.name}: {len(reasons):,} of {len(table):,} {kind.NAME}s cannot be read and {'was' if len(reasons) == 1 else 'were'} left out: {told}.",
        "mend or remove these files",
        {
            "rows": len(reasons),
            "reasons": {reason: len(places) for reason, places in by_reason.items()},
            "places": [table.where(i) for i in list(reasons)[:SHOWN]],
        },
    )


def _links(name: str, kind: Kind, links: Sequence[str]) -> Finding:
    return Finding(
        kind.SLUG,
        "warning",
        f"{name}: {len(links):,} {'link leads' if len(links) == 1 else 'links lead'} out of the folder and {'was' if len(links) == 1 else 'were'} not followed: {listed(links)}.",
        f"copy what they lead to, or name the {kind.NAME}s in a table",
        {"rows": len(links), "reasons": {"a link out of the folder": len(links)}, "places": list(links[:SHOWN])},
    )


def _skipped(name: str, kind: str, files: int, others: Sequence[str]) -> Finding:
    return Finding(
        "files-skipped",
        "note",
        f"{name}: {files:,} {kind}s were found; {len(others):,} other files are left out: {listed(others)}.",
        f"nothing, if these are no {kind}s",
        {"file": name, f"{kind}s": files, "others": list(others[:50])},
    )
