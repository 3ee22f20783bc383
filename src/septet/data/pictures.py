"""Pictures as rows: a folder of them as a table, and what is wrong with a file.

A folder (or an archive, or a folder in one) becomes the columns `image`, a path, and `label`, the name of the sub-folder; a table names its pictures in a
column of paths, relative to it. `look` opens every picture once: those that cannot be read are left out and counted, the others are known by
the sha256 of their file from then on, so that copies, conflicts and leaks are found as those of texts are. A picture that was saved anew has other bytes and
is another one. Pictures are not copied: prepared data hold where they lie, and `check` tells when they have changed since.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from septet.data import archive
from septet.data.files import ARCHIVES, PICTURES, SPLITS, ending, in_archive, is_table, shown
from septet.data.picture import Picture, Unreadable, file_of, members_of, read_whole, sha256_of
from septet.data.table import Part, Stamp, Table
from septet.errors import DataError, RecipeError
from septet.report import Finding

IMAGE, LABEL = "image", "label"
SHOWN = 10
# pictures beside one text at the top of a folder, from which on it is a note beside them
PICTURES_A_NOTE = 10


@dataclass(slots=True)
class Pictures:
    """The pictures of a table.

    Args:
        known: sha256 -> the first picture with these bytes.
        watched: every file and folder that was looked at -> its size and time; a file that was missing has the size -1.
    """

    known: dict[str, Picture] = field(default_factory=dict)
    watched: dict[str, tuple[int, int]] = field(default_factory=dict)

    def with_(self, other: Pictures) -> Pictures:
        """Return these and others."""
        return Pictures(other.known | self.known, self.watched | other.watched)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder of pictures: a folder or an archive without a table in it, or a folder in an archive."""
    if path.is_dir():
        return not any(each.is_file() and is_table(each.name, plain=False) for each in path.iterdir())
    if path.is_file():
        return ending(path) in ARCHIVES and not any(is_table(name, plain=False) for name in members_of(path))
    within = in_archive(path)
    return within is not None and within[1] not in members_of(within[0])


def folder(path: Path, *, labelled: bool = True) -> Table:
    """Return the table of a folder of pictures: `image`, their paths, and `label`, the names of its sub-folders.

    Args:
        labelled: the sub-folders are labels; else there is no such column.

    Raises:
        DataError: it holds no picture.
        RecipeError: its sub-folders are those of several splits.
    """
    root = path.absolute()
    names, others, table = _in_archive(root) if not root.is_dir() else _in_folder(root)
    if not names:
        raise DataError(
            f"The folder holds no picture ({', '.join(end[1:] for end in PICTURES)}) and no table.",
            where=shown(path),
            **({"received": ", ".join(others[:6])} if others else {}),
        )
    table.columns[IMAGE] = [f"{root}/{name}" for name in names]
    if labelled:
        _check_splits(list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name)), path)
        table.columns[LABEL] = [name.split("/")[0] if "/" in name else None for name in names]
    table.parts = [Part(shown(path), 0, files=[f"{shown(path)}/{name}" for name in names])]
    if others:
        table.findings.append(_skipped(shown(path), len(names), others))
    return table


def splits(path: Path) -> dict[str, Path] | None:
    """Return the folders of pictures by split, where their names tell, else the folder as train; None where it is one of texts, or there is no picture."""
    if not path.is_dir() or not is_folder(path):
        return None
    names, _, _ = _in_folder(path.absolute())
    # a note may lie beside pictures, as some pictures may beside texts
    if len(names) <= PICTURES_A_NOTE * sum(1 for _ in path.glob("*.txt")):
        return None
    heads = list(dict.fromkeys(name.split("/")[0] for name in names if "/" in name))
    found = {SPLITS[head.lower()]: path / head for head in heads if head.lower() in SPLITS}
    return found if "train" in found and len(found) == len(heads) else {"train": path}


def look(table: Table, column: str) -> Table:
    """Return a table with its pictures opened: the column holds what each is known by, and rows whose picture cannot be read are left out.

    Raises:
        DataError: none can be read.
    """
    bases = [_base(part) for part in table.parts for _ in range(_length(table, part))]
    pictures = table.pictures or Pictures()
    kept, reasons, digest = [], {}, hashlib.sha256()
    found: list[str] = []
    for i, (value, base) in enumerate(zip(table.columns[column], bases, strict=True)):
        try:
            address = _address(value, base)
            pictures.watched.setdefault(*_watched(address))
            picture = read_whole(address)
        except Unreadable as error:
            reasons[i] = str(error)
            digest.update(f"{value}: {error}\n".encode("utf-8", "replace"))
            continue
        pictures.known.setdefault(picture.sha256, picture)
        digest.update(f"{value} {picture.sha256}\n".encode("utf-8", "replace"))
        kept.append(i)
        found.append(picture.sha256)
    if reasons:
        table.findings.append(_unreadable(table, reasons))
    if not kept:
        counts = Counter(reasons.values())
        raise DataError(
            f"No picture of {column!r} can be read: {counts.most_common(1)[0][0]}.",
            where=table.where(0) if reasons else table.name,
            hint="is task.image the column with the paths?" if len(table.columns) > 2 else None,
        )
    looked = table.take(kept)
    looked.columns[column] = found
    looked.pictures = pictures
    for reason, count in Counter(reasons.values()).items():
        looked.left_out[reason] = looked.left_out.get(reason, 0) + count
    total = sum(size for size, _ in pictures.watched.values() if size > 0)
    looked.stamps = [*table.stamps, Stamp(f"pictures:{table.name}", total, 0, digest.hexdigest())]
    if frames := [pictures.known[key] for key in found if pictures.known[key].frames > 1]:
        looked.findings.append(_frames(frames))
    return looked


def addresses(table: Table, column: str) -> list[str]:
    """Return the address of each row's picture; of a value that is none, the value as text."""
    bases = [_base(part) for part in table.parts for _ in range(_length(table, part))]
    found = []
    for value, base in zip(table.columns[column], bases, strict=True):
        try:
            found.append(_address(value, base))
        except Unreadable:
            found.append(str(value or ""))
    return found


def check(watched: Mapping[str, Sequence[int]], rows: Iterable[tuple[str, str]]) -> None:
    """Check that the pictures of prepared rows are those that were prepared.

    Args:
        watched: as `Pictures.watched` was then.
        rows: address and sha256 of each.

    Raises:
        DataError: one is gone or another one.
    """
    changed = {path for path, then in watched.items() if _stat(path) != tuple(then)}
    gone = [address for address, sha256 in rows if file_of(address) in changed and sha256_of(address) != sha256]
    if gone:
        raise DataError(
            f"{len(gone):,} picture{' is' if len(gone) == 1 else 's are'} gone or no longer the one{'' if len(gone) == 1 else 's'} that {'was' if len(gone) == 1 else 'were'} prepared.",
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


def _address(value: Any, base: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Unreadable("no path of a picture" if value not in (None, "") else "no path")
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


def _length(table: Table, part: Part) -> int:
    later = [each.start for each in table.parts if each.start > part.start]
    return min(later, default=len(table)) - part.start


def _in_folder(root: Path) -> tuple[list[str], list[str], Table]:
    """Return the pictures below a folder by name, the other files, and a table without rows that knows what was looked at."""
    names, others, table = [], [], Table({}, [])
    table.pictures = Pictures()
    inside, stack = root.resolve(), [root]
    links: list[str] = []
    while stack:
        place = stack.pop()
        table.pictures.watched.setdefault(*_watched(str(place)))
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
                (names if Path(name).suffix.lower() in PICTURES else others).append(name)
    if links:
        table.left_out["a link out of the folder"] = len(links)
        table.findings.append(_links(shown(root), sorted(links)))
    return sorted(names), sorted(others), table


def _in_archive(root: Path) -> tuple[list[str], list[str], Table]:
    path, under = (root, "") if root.is_file() else in_archive(root) or (root, "")
    prefix = f"{under.rstrip('/')}/" if under else ""
    every = sorted(name.removeprefix(prefix) for name in members_of(path) if name.startswith(prefix))
    names = [name for name in every if Path(name).suffix.lower() in PICTURES and not archive.hidden(name)]
    taken = set(names)
    table = Table({}, [])
    table.pictures = Pictures(watched=dict([_watched(str(path))]))
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


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _unreadable(table: Table, reasons: Mapping[int, str]) -> Finding:
    by_reason: dict[str, list[str]] = {}
    for i, reason in reasons.items():
        by_reason.setdefault(reason, []).append(table.where(i))
    told = "; ".join(f"{len(places):,} {reason} ({_listed(places)})" for reason, places in by_reason.items())
    return Finding(
        "picture-unreadable",
        "warning",
        f"{table.name}: {len(reasons):,} of {len(table):,} pictures cannot be read and {'was' if len(reasons) == 1 else 'were'} left out: {told}.",
        "mend or remove these files",
        {
            "rows": len(reasons),
            "reasons": {reason: len(places) for reason, places in by_reason.items()},
            "places": [table.where(i) for i in list(reasons)[:SHOWN]],
        },
    )


def _links(name: str, links: Sequence[str]) -> Finding:
    return Finding(
        "picture-unreadable",
        "warning",
        f"{name}: {len(links):,} {'link leads' if len(links) == 1 else 'links lead'} out of the folder and {'was' if len(links) == 1 else 'were'} not followed: {_listed(links)}.",
        "copy what they lead to, or name the pictures in a table",
        {"rows": len(links), "reasons": {"a link out of the folder": len(links)}, "places": list(links[:SHOWN])},
    )


def _skipped(name: str, pictures: int, others: Sequence[str]) -> Finding:
    return Finding(
        "files-skipped",
        "note",
        f"{name}: {pictures:,} pictures were found; {len(others):,} other files are left out: {_listed(others)}.",
        "nothing, if these are no pictures",
        {"file": name, "pictures": pictures, "others": list(others[:50])},
    )


def _frames(pictures: Sequence[Picture]) -> Finding:
    names = [Path(picture.address).name for picture in pictures]
    return Finding(
        "picture-frames",
        "note",
        f"{len(names):,} {'picture has' if len(names) == 1 else 'pictures have'} several frames, of which the first is read: {_listed(names)}.",
        "save the frames as pictures of their own where they matter",
        {"rows": len(names), "places": names[:SHOWN]},
    )
