"""Archives (.zip, .tar, also packed): the tables in them, read like those of a folder, and nothing is written to disk.

Only regular files are read. Links, devices, sparse files, names that lead out of the archive, and archives in archives are refused by name, and so is what
unpacks to far more than real tables do. Hidden files and those of other kinds are left out and counted. An archive that is damaged anywhere is
refused as a whole: `tarfile` alone would end in silence at a header it cannot read. Left out: passwords, 7-Zip, RAR.
"""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from septet.data.files import CHUNK, FREE_BYTES, KINDS, RATIO, check_splits, is_table
from septet.errors import DataError, UsageError, amount
from septet.registry import suggest
from septet.report import Finding

MOST_MEMBERS = 100_000  # a folder of tables has tens, one of images ten thousands; each costs half a kilobyte to list
MOST_BYTES = 4 << 30  # of the tables in it; as Python's texts these take several times that
_ZIP, _TAR = b"PK\x03\x04", b"ustar"
_EMPTY_ZIP = b"PK\x05\x06"
_TAR_AT, _BLOCK = 257, 512
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|[\x00-\x1f]")
_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe"}
_TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive: its name, its size, and how its bytes are read."""

    name: str
    size: int
    read: Callable[[], bytes]


def is_zip(raw: bytes) -> bool:
    """Whether bytes are those of a zip: an archive, a spreadsheet, or arrays of NumPy."""
    return raw.startswith((_ZIP, _EMPTY_ZIP))


def is_archive(raw: bytes) -> bool:
    """Whether bytes are those of a zip or a tar."""
    return is_zip(raw) or raw[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def tables(
    raw: bytes, name: str, *, plain: bool = False, only: str | None = None
) -> tuple[list[Member], Finding | None]:
    """Return the tables of an archive by name, and what is to be told of the files that are left out.

    Args:
        plain: `.txt` files are plain text, and are read too.
        only: the one file that is wanted, or the folder.

    Raises:
        DataError: the archive is damaged, holds no table, or something that is refused.
        RecipeError: its tables are of several splits.
        UsageError: there is no such file in it.
    """
    members = _members(raw, name)
    below = [] if only is None else [m for m in members if m.name.removeprefix("./").startswith(f"{only}/")]
    if below:
        members, name = below, f"{name}/{only}"
    elif only is not None:
        found = [member for member in members if member.name.removeprefix("./") == only]
        if not found:
            names = [member.name for member in members]
            raise UsageError(
                "There is no such file in the archive.",
                where=name,
                received=only,
                hint=suggest(only, names) or f"it holds: {', '.join(names[:8])}",
            )
        _check_size(found, raw, name)
        return found, None
    found = sorted((m for m in members if not hidden(m.name) and is_table(m.name, plain=plain)), key=lambda m: m.name)
    if not found:
        raise DataError(
            f"The archive holds no table ({KINDS}{', txt' if plain else ''}; .gz, .xz and .zst too).",
            where=name,
            received=", ".join(member.name for member in members[:6]),
        )
    check_splits([m.name.removeprefix("./").removeprefix(f"{only}/" if below else "") for m in found], name)
    _check_size(found, raw, name)
    return found, _left_out([m.name for m in members], [m.name for m in found], name)


def members(raw: bytes, name: str) -> list[Member]:
    """Return all files of an archive.

    Raises:
        DataError: it is damaged, or holds something that is refused.
    """
    found = _members(raw, name)
    _check_size(found, raw, name)
    return found


def _members(raw: bytes, name: str) -> list[Member]:
    found = list(_zipped(raw, name) if is_zip(raw) else _tarred(raw, name))
    _check_names([member.name for member in found], name)
    return found


def _zipped(raw: bytes, name: str) -> Iterator[Member]:
    try:
        file = zipfile.ZipFile(io.BytesIO(raw))
        entries = file.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _damaged(name, error) from None
    _check_count(len(entries), name)
    for entry in entries:
        if entry.is_dir():
            continue
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if mode not in (0, stat.S_IFREG):
            raise _refused(name, entry.filename, _KINDS.get(mode, "no regular file"))
        if entry.flag_bits & 1:
            raise DataError(
                "The archive has a password.",
                where=f"{name}/{entry.filename}",
                hint="unpack it, or write it without one",
            )
        yield Member(entry.filename, entry.file_size, _unzip(file, entry, name))


def _unzip(file: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        found = io.BytesIO()
        try:
            with file.open(entry) as stream:
                while chunk := stream.read(CHUNK):
                    found.write(chunk)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            OSError,
            ValueError,
            RuntimeError,
        ) as error:
            raise _damaged(f"{name}/{entry.filename}", error) from None
        return found.getvalue()

    return read


def _tarred(raw: bytes, name: str) -> Iterator[Member]:
    try:
        file = tarfile.open(fileobj=io.BytesIO(raw), mode="r:")  # noqa: SIM115  (its members are read later)
        count, before = 0, -1
        while (entry := file.next()) is not None:
            count += 1
            _check_count(count, name)
            if entry.offset <= before or entry.size < 0:
                raise DataError("The archive is damaged: its entries overlap.", where=f"{name}/{entry.name}")
            before = entry.offset
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise _refused(name, entry.name, _TAR_KINDS.get(entry.type, "no regular file"))
            start, size = entry.offset_data, entry.size
            yield Member(entry.name, size, lambda start=start, size=size: raw[start : start + size])
            if start + size > len(raw):
                raise _damaged(f"{name}/{entry.name}", "its end is missing")
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise _damaged(name, error) from None
    _check_end(raw, file.offset, name)


def _check_end(raw: bytes, offset: int, name: str) -> None:
    """Refuse a tar that does not end in empty blocks: `tarfile` takes a header that is damaged for the end."""
    rest = raw[offset:]
    if len(rest) < _BLOCK:
        raise _damaged(name, "its end is missing")
    if rest.strip(b"\0"):
        raise _damaged(name, f"there is more after the entry that ends at byte {offset:,}")


def _check_count(count: int, name: str) -> None:
    if count > MOST_MEMBERS:
        raise DataError(
            f"The archive holds more than {MOST_MEMBERS:,} files; that is no archive of data.",
            where=name,
            hint="unpack the tables yourself if you trust it",
        )


def _check_names(names: Sequence[str], name: str) -> None:
    for each in names:
        if _OUTSIDE.search(each) or not each:
            raise _refused(name, each, "a name that leads out of the archive")
    twice = next((each for each, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            "The archive holds two files of one name.",
            where=f"{name}/{twice}",
            hint="unpack it, and name the one you mean",
        )


def _check_size(members: Sequence[Member], raw: bytes, name: str) -> None:
    size = sum(member.size for member in members)
    if size > max(FREE_BYTES, RATIO * len(raw)):
        raise DataError(
            f"The archive unpacks to more than {RATIO} times its size; that is no real data.",
            where=name,
            received=amount(size),
            hint="unpack it yourself if you trust it",
        )
    if size > MOST_BYTES:
        raise DataError(
            f"What is read of the archive is more than {amount(MOST_BYTES)}.",
            where=name,
            received=amount(size),
            hint="unpack it: large files are read in pieces",
        )


def hidden(name: str) -> bool:
    """Whether a file is none of the user's own: hidden, temporary, or of macOS."""
    parts = [part for part in name.split("/") if part != "."]
    return any(part[:1] in (".", "~") or part == "__MACOSX" for part in parts)


def _refused(name: str, member: str, what: str) -> DataError:
    return DataError(
        f"The archive holds {what}; only regular files are read.",
        where=f"{name}/{member}" if member else name,
        hint="make the archive anew, of the tables alone",
    )


def _damaged(name: str, error: object) -> DataError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return DataError(f"The archive is damaged or cut short ({reason}).", where=name, hint="copy or download it again")


def _left_out(members: Sequence[str], read: Sequence[str], name: str) -> Finding | None:
    ours = [each for each in members if hidden(each)]
    others = [each for each in members if each not in set(read) and each not in set(ours)]
    if not ours and not others:
        return None
    parts = [
        f"{len(found):,} {what} ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})"
        for what, found in (("hidden", ours), ("no table", others))
        if found
    ]
    return Finding(
        "archive-skipped",
        "note",
        f"{name}: {len(read):,} of {len(members):,} files were read; left out: {', '.join(parts)}.",
        "nothing, if these are no rows",
        {"file": name, "read": list(read)[:50], "hidden": len(ours), "others": others[:50]},
    )
