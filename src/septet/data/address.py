"""Where one file of a row lies, a picture or a recording, and its bytes.

An address is an absolute path; one that goes through an archive (`a.zip/cat/1.png`) is read from it in memory.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from septet.data import archive
from septet.data.files import in_archive, read_bytes, shown
from septet.errors import DataError, amount

LARGEST = 512 << 20  # bytes of a file
SHOWN = 10  # places that a finding keeps
_OPEN_ARCHIVES = 4


class Unreadable(Exception):  # noqa: N818  (a reason, not a failure)
    """Why a file cannot be read."""


def read(address: str) -> bytes:
    """Return the bytes of a file.

    Raises:
        Unreadable: it cannot be read, or is empty; says why.
    """
    within = _within(address)
    if within is not None:
        member = members_of(Path(within[0])).get(within[1])
        if member is None:
            raise Unreadable("there is no such file in the archive")
        raw = member.read()
    else:
        raw = _read_file(Path(address))
    if not raw:
        raise Unreadable("an empty file")
    return raw


def sha256_of(address: str) -> str | None:
    """Return what a file is known by; None where it is gone."""
    try:
        return hashlib.sha256(read(address)).hexdigest()
    except (Unreadable, DataError):
        return None


def file_of(address: str) -> str:
    """Return the file that an address is in."""
    within = _within(address)
    return address if within is None else within[0]


def members_of(path: Path) -> dict[str, archive.Member]:
    """Return the files of an archive by name."""
    status = path.stat()
    return _opened(str(path.absolute()), status.st_size, status.st_mtime_ns)


def listed(names: Sequence[str]) -> str:
    """Return the first names of several, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _within(address: str) -> tuple[str, str] | None:
    """Return the archive that an address goes through, and the name in it; None of a plain file."""
    archived = _archive_of(address.rpartition("/")[0])
    return None if archived is None else (archived, address[len(archived) + 1 :])


@lru_cache(maxsize=4096)  # thousands of files lie in one folder
def _archive_of(folder: str) -> str | None:
    found = None if Path(folder).is_dir() else in_archive(Path(folder) / "x")
    return None if found is None else str(found[0])


@lru_cache(maxsize=_OPEN_ARCHIVES)
def _opened(path: str, size: int, mtime_ns: int) -> dict[str, archive.Member]:
    raw, _ = read_bytes(Path(path))
    if not archive.is_archive(raw):
        raise DataError("The file is no archive.", where=shown(Path(path)))
    return {member.name.removeprefix("./"): member for member in archive.members(raw, shown(Path(path)))}


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > LARGEST:
            raise Unreadable(f"a file of more than {amount(LARGEST)}")
        return path.read_bytes()
    except FileNotFoundError:
        raise Unreadable("a link to nothing" if path.is_symlink() else "there is no such file") from None
    except PermissionError:
        raise Unreadable("no permission to read it") from None
    except OSError as error:
        raise Unreadable(f"it cannot be read ({error.strerror or error})") from None
