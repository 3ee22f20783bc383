"""Files and folders that are whole or absent, also after a kill or a loss of power.

A file is written under a temporary name, synced and renamed. A folder is committed:

1. a temporary folder beside the final one;
2. each file written, hashed as it is written, and synced;
3. `manifest.json` last: the folder's own name, and size and sha256 of every file, and of itself;
4. the temporary folder synced, renamed to its final name, and the parent synced.

The manifest is the commit mark. A file `COMMIT` beside it would be one more thing that can be there without the rest; a manifest that hashes
itself is only whole when all of it is, and nothing is read that it does not list. Since it holds the folder's name, a checkpoint under another's name is noticed too.
All bytes go through the calls of `os`, so that the tests can stop before and after each of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from septet.errors import DiskFull

FORMAT = 2
MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what a call hashes and writes: large enough that calls cost nothing, small enough to stay in the cache between the two
CHUNK = 1 << 20


class Content(Protocol):
    """What a file will hold: its size, and its bytes in order."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes | memoryview]: ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """Content that is there already."""

    raw: bytes

    @property
    def size(self) -> int:
        return len(self.raw)

    def chunks(self) -> Iterator[bytes]:
        yield self.raw


# ---- files ----


def write_file(path: Path, content: Content) -> dict[str, Any]:
    """Write a new file, sync it, and return its `bytes` and `sha256`.

    Raises:
        DiskFull: there is no space for it.
    """
    digest = hashlib.sha256()
    with full_disk(path, content.size):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            for chunk in content.chunks():
                digest.update(chunk)
                _write(handle, chunk)
            os.fsync(handle)
        finally:
            os.close(handle)
    return {"bytes": content.size, "sha256": digest.hexdigest()}


def write_atomic(path: Path, content: bytes) -> Path:
    """Write a file so that it is whole or absent: temporary name, fsync, rename.

    Raises:
        DiskFull: there is no space for it; the old file is as it was.
        OSError: its folder cannot be written to; names the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_file(temporary, Bytes(content))
        with full_disk(path, len(content)):
            temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):  # of a file that only we know by this name
            raise OSError(error.errno, os.strerror(error.errno), str(path.parent)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def append(path: Path, line: bytes) -> None:
    """Add to the end of a file; a full disk leaves it as it was, not with half a line in the middle of what comes later.

    Raises:
        DiskFull: there is no space for it.
    """
    with full_disk(path, len(line)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            before = os.fstat(handle).st_size
            try:
                _write(handle, line)
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


def sync(path: Path) -> None:
    """Make durable what a file holds, or the entries of a folder (a rename in it)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and make their entries durable."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


@contextlib.contextmanager
def full_disk(path: Path, need_bytes: int) -> Iterator[None]:
    """Raise `DiskFull` for a full disk inside the block, by whatever library it is told; the outermost block says what was needed in all."""
    try:
        yield
    except DiskFull as error:
        raise DiskFull(path, max(need_bytes, error.need_bytes), free_bytes(path), error.errno or 0) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(path, need_bytes, free_bytes(path), error.errno) from error
    except Exception as error:
        if "os error 28" not in str(error):  # safetensors writes in Rust, and raises an error of its own
            raise
        raise DiskFull(path, need_bytes, free_bytes(path)) from error


def need_room(path: Path, need_bytes: int) -> None:
    """Return if so much fits where `path` will be.

    Raises:
        DiskFull: it does not; nothing was written.
    """
    free = free_bytes(path)
    if need_bytes > free:
        raise DiskFull(path, need_bytes, free)


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that a path, or the nearest folder there is above it, lies on."""
    return shutil.disk_usage(next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())).free


# ---- folders ----


def commit(final: Path, files: Mapping[str, Content]) -> None:
    """Make a folder appear whole under its final name, by the protocol above; an older one there is replaced.

    Several processes that write one folder do its parts themselves: one calls `begin`, each writes its files with `write_file` into
    `temporary(final)`, and one calls `publish` with what all those calls returned.

    Raises:
        DiskFull: there is no space for it; what was there before is as it was.
    """
    with full_disk(final, sum(content.size for content in files.values())):
        begin(final)
        try:
            publish(final, {name: write_file(temporary(final) / name, content) for name, content in files.items()})
        finally:
            shutil.rmtree(temporary(final), ignore_errors=True)


def begin(final: Path) -> None:
    """Make the temporary folder of `final`, after clearing away what a process that was killed left of its kind."""
    make_folder(final.parent)
    sweep(final.parent, final.name.partition("-")[0])
    temporary(final).mkdir()


def publish(final: Path, files: Mapping[str, dict[str, Any]]) -> None:
    """Write the manifest of the files in the temporary folder, and give the folder its final name.

    Args:
        final: whose `temporary` folder holds the files, written and synced.
        files: by name, what `write_file` returned.
    """
    prepared, old = temporary(final), final.with_name(f".{final.name}.old")
    write_file(prepared / MANIFEST, Bytes(_manifest(final.name, files)))
    sync(prepared)
    if final.exists():  # until the new one has its name, the old one can be read under this one
        final.rename(old)
    prepared.rename(final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def temporary(final: Path) -> Path:
    """Return where a folder is written before it has its name: the same for every process that writes part of it."""
    return final.with_name(f".{final.name}.tmp")


def discard(folder: Path) -> None:
    """Delete a committed folder, never leaving half of it under its name."""
    gone = folder.with_name(f".{_final_of(folder).name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def committed(parent: Path, kind: str) -> list[Path]:
    """Return the folders `<kind>-<number>`, the highest number first; as texts, 1000000 would come before 999999.

    A folder that was about to be replaced when the process died comes under its name aside, after the one that has the name.
    """
    found = [p for p in (*parent.glob(f"{kind}-*"), *parent.glob(f".{kind}-*.old")) if _digits(p)]
    return sorted(found, key=lambda p: (number(p), not p.name.startswith(".")), reverse=True)


def number(folder: Path) -> int:
    """Return the number in the name of a folder that `committed` found."""
    return int(_digits(folder))


def sweep(parent: Path, kind: str) -> None:
    """Clear away what a process that was killed left: half-written, half-deleted and replaced folders."""
    for left in parent.glob(f".{kind}-*.*"):
        if left.suffix in (".tmp", ".gone") or (left.suffix == ".old" and _final_of(left).exists()):
            shutil.rmtree(left, ignore_errors=True)


def unfinished(parent: Path, kind: str) -> list[str]:
    """Return the names of the folders that were being written when the process died."""
    return sorted(p.name[1:-4] for p in parent.glob(f".{kind}-*.tmp"))


def damage(folder: Path) -> str | None:
    """Return what is wrong with a committed folder, or None."""
    try:
        raw = (folder / MANIFEST).read_bytes()
        record = json.loads(raw)
        name, files = record["name"], dict(record["files"])
        wanted = {file: (facts["bytes"], facts["sha256"]) for file, facts in files.items()}
    except FileNotFoundError:
        return "no manifest.json: it was never committed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "manifest.json cannot be read"
    if raw != _manifest(name, files):
        return "manifest.json has changed since it was saved"
    if not files:
        return "its manifest lists no files"
    if name != _final_of(folder).name:
        return f"it was saved as {name}"
    for file, (size, sha256) in wanted.items():
        path = folder / file
        if not path.is_file():
            return f"{file} is missing"
        if path.stat().st_size != size:
            return f"{file} has {path.stat().st_size:,} of {size:,} bytes"
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                return f"{file} has changed since it was saved"
    return None


def _manifest(name: str, files: Mapping[str, Any]) -> bytes:
    """Return a manifest's bytes; its last entry is the sha256 of the others, so that any other bytes are no manifest."""
    record = {"format": FORMAT, "name": name, "files": dict(files)}
    record["sha256"] = hashlib.sha256(json.dumps(record, indent=2).encode()).hexdigest()
    return json.dumps(record, indent=2).encode() + b"\n"


def _digits(path: Path) -> str:
    digits = _final_of(path).name.partition("-")[2]
    return digits if digits.isascii() and digits.isdigit() else ""


def _final_of(path: Path) -> Path:
    return path.with_name(path.name[1:].rpartition(".")[0]) if path.name.startswith(".") else path


def _write(handle: int, raw: bytes | memoryview) -> None:
    rest = memoryview(raw)
    while rest:
        rest = rest[os.write(handle, rest) :]
