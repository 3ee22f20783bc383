"""Raw files: finding them, reading their bytes, unpacking gzip, xz and zstd.

A path in a recipe is a file, a folder (its tables, sorted by name), a pattern with `*`, a file or a folder in an archive (`data.zip/train.csv`), or
a list of these. Bytes are read once and hashed on the way. Left out: URLs; the message says what to do instead.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from septet.data.arrow import saved_files
from septet.data.table import Stamp
from septet.errors import DataError, RecipeError, UsageError
from septet.recipe.data import counted
from septet.recipe.model import FILES
from septet.recipe.write import redact

FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".npy": "numpy",
    ".npz": "numpy",
}
# of files that are rows themselves, by what one is called
ENDINGS = {
    "picture": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "recording": (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
}
LOOKED_AT = 1_000  # files of a folder without a table, to see whether it is one of pictures or recordings
PACKED = (".gz", ".xz", ".zst")
ARCHIVES = (".zip", ".tar", ".tgz", ".txz")
KINDS = "csv, tsv, json, jsonl, parquet, arrow, xlsx, ods, npy, npz, conll"
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
RATIO, FREE_BYTES = 200, 50_000_000  # real text packs 3 to 20 times; a bomb a thousand times
CHUNK = 1 << 20
LONGEST_LINE = 64 << 20  # bytes; the longest book has 10 million letters, and a line that never ends fills the memory
TOO_LONG = "A line is longer"
SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "dev": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}


def find_files(source: str | Path | Sequence[str | Path], *, plain: bool = False) -> list[Path]:
    """Return the files a source names, in order.

    Args:
        plain: `.txt` files are plain text, and so a folder's are read too.

    Raises:
        UsageError: one is missing, or a folder holds no table.
    """
    if isinstance(source, (list, tuple)):
        return [path for item in source for path in find_files(item, plain=plain)]
    text = str(source)  # type: ignore[arg-type]
    if "://" in text:
        raise UsageError(
            "Data are read from files on this machine, and from SQLite and PostgreSQL.",
            received=redact(text),
            hint="download it first, or name a hub data set: data.hub: {path: owner/name}",
        )
    path = Path(text).expanduser()
    if path.is_dir():
        return saved_files(path) or _folder(path, plain=plain)
    if path.exists() or in_archive(path) is not None:
        return [path]
    if "*" in path.name and path.parent.is_dir():
        found = sorted(p for p in path.parent.glob(path.name) if p.is_file() and not p.name.startswith("."))
        if found:
            return found
    raise _missing(path)


def format_of(path: Path, *, plain: bool = False) -> str:
    """Return the format a file's name says.

    Args:
        plain: a `.txt` file is plain text and no CSV.

    Raises:
        RecipeError: the ending is none of those read here.
    """
    last = ending(path)
    name = "text" if plain and last == ".txt" else "archive" if last in ARCHIVES else FORMATS.get(last)
    if name is None and in_archive(path) is not None:  # a folder of it
        return "archive"
    if name is None:
        hint = "data.format: csv   (or tsv, json, jsonl, parquet, arrow, excel, numpy, conll, text)"
        raise RecipeError(
            "The file's ending does not say its format.", where=shown(path), received=path.name, hint=hint
        )
    return name


def read_bytes(path: Path, *, longest: Callable[[bytes], int | None] = lambda head: None) -> tuple[bytes, Stamp]:
    """Return a file's bytes, unpacked when it is gzip, xz or zstd, and its stamp (taken before reading).

    Args:
        longest: of how a file begins, to how many bytes its lines may run; None where it is not read by lines.

    Raises:
        DataError: the file is empty, damaged, has a line that is too long, or unpacks to far more than real data do.
    """
    status, digest = path.stat(), hashlib.sha256()
    with path.open("rb") as file:
        chunks = _hashed(file, digest)
        first = next(chunks, b"")
        packing = packing_in(first)
        if packing is not None:
            chunks = unpacked(b"".join((first, *chunks)), path, packing=packing)
            first = next(chunks, b"")
        if not first:
            raise DataError("The file is empty.", where=shown(path))
        most, found = longest(first), io.BytesIO()
        for chunk in measured(chain((first,), chunks), shown(path), most=most):
            found.write(chunk)
    stamp = Stamp(str(path.resolve()), status.st_size, status.st_mtime_ns, digest.hexdigest())
    return found.getvalue(), stamp


def measured(chunks: Iterable[bytes], name: str, *, most: int | None = LONGEST_LINE) -> Iterator[bytes]:
    """Yield pieces of a text, none much larger than `CHUNK`.

    Raises:
        DataError: a line is longer than `most` bytes; the rest is then not read.
    """
    line, length = 1, 0
    for chunk in chunks:
        ends = [end for end in (chunk.find(b"\n"), chunk.find(b"\r")) if end >= 0]
        if most is not None and length + min(ends, default=len(chunk)) > most:
            raise DataError(
                f"{TOO_LONG} than {most >> 20} MiB; no row is.",
                where=f"{name} line {line}",
                hint="check what writes it: each row needs a line of its own, or is the file of another format?",
            )
        line += chunk.count(b"\n")
        length = len(chunk) - 1 - max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) if ends else length + len(chunk)
        yield chunk


def _hashed(file: BinaryIO, digest: Any) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        yield chunk


def packing_of(path: Path) -> str | None:
    """Return how a file is packed, by its first bytes; None where it is not."""
    with path.open("rb") as file:
        return packing_in(file.read(max(map(len, MAGIC))))


def packing_in(head: bytes) -> str | None:
    """Return how bytes are packed that begin so; None where they are not."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


def unpacked(raw: bytes, path: Path, *, packing: str) -> Iterator[bytes]:
    """Yield what a packed file holds, in pieces.

    Raises:
        DataError: it is damaged, or unpacks to far more than real data do.
    """
    limit, size = max(FREE_BYTES, RATIO * len(raw)), 0
    try:
        for chunk in _unxz(raw) if packing == "xz" else _unstream(raw, packing):
            size += len(chunk)
            if size > limit:
                raise DataError(
                    f"The {packing} file unpacks to more than {RATIO} times its size; that is no real text.",
                    where=shown(path),
                    hint="unpack it yourself if you trust it",
                )
            yield chunk
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"The {packing} file is damaged or cut short ({error}).",
            where=shown(path),
            hint="copy or download it again",
        ) from None


def shown(path: Path) -> str:
    """Return the path as messages show it: relative where that is shorter to read."""
    full = path.absolute()
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(path)


def in_archive(path: Path) -> tuple[Path, str] | None:
    """Return the archive and the name in it of a path such as `data.zip/train.csv`; None where no file is an archive on its way."""
    for parent in path.parents:
        if ending(parent) in ARCHIVES and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def is_table(name: str, *, plain: bool) -> bool:
    """Whether a file of a folder or an archive is read, by its name: it is not hidden, and its ending is that of a table."""
    path = Path(name)
    return path.name[0] not in "._~" and ending(path) in FORMATS and (plain or ending(path) != ".txt")


def check_splits(names: Sequence[str], where: str) -> None:
    """Refuse to read files of several splits as one.

    Raises:
        RecipeError: their names are those of several splits.
    """
    words = [re.split(r"[._-]", Path(name).name.lower())[0] for name in names]
    if len({SPLITS[word] for word in words if word in SPLITS}) > 1:
        raise RecipeError(
            f"The {'archive' if Path(where).is_file() else 'folder'} holds files of several splits ({', '.join(names[:6])}); together they would leak.",
            where=where,
            hint=f"name the file: {where}/{names[0]}",
        )


def _folder(folder: Path, *, plain: bool) -> list[Path]:
    found = [p for p in sorted(folder.iterdir()) if p.is_file() and is_table(p.name, plain=plain)]
    if not found:
        kinds = KINDS + (", txt" if plain else "")
        some = {*islice((p.suffix.lower() for p in folder.rglob("*")), LOOKED_AT)}
        hints = [
            f"task: {{name: classify, {column}: {column}, label: label}}   for {kind}s"
            for kind, column in FILES.items()
            if some & {*ENDINGS[kind]}
        ]
        hint = hints[0] if hints else None
        raise UsageError(f"The folder holds no table ({kinds}; .gz, .xz and .zst too).", where=shown(folder), hint=hint)
    check_splits([p.name for p in found], shown(folder))
    return found


def ending(path: Path) -> str:
    """Return the ending of a file's name, that of a packed one without `.gz`."""
    inner = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return inner.suffix.lower()


def _missing(path: Path) -> UsageError:
    folder = path.parent
    bare, rows = counted(str(path))
    if rows is not None and Path(bare).exists():
        what = "A number of rows is drawn in data.train, data.validation and data.test of a recipe, and nowhere else."
        return UsageError(what, received=path.name, hint=bare)
    if not folder.is_dir():
        return UsageError("There is no such file, nor its folder.", where=str(path))
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    near = (
        difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
        or [n for n in names if ending(Path(n)) in FORMATS][:5]
    )
    return UsageError(
        "There is no such file.", where=str(path), hint=f"in that folder: {', '.join(near)}" if near else None
    )


def _unstream(raw: bytes, packing: str) -> Iterator[bytes]:
    if packing == "gzip":
        stream = gzip.GzipFile(fileobj=io.BytesIO(raw))
    else:
        import pyarrow as pa

        stream = pa.input_stream(io.BytesIO(raw), compression=packing)
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _unxz(raw: bytes) -> Iterator[bytes]:
    """Yield what xz data hold, all streams of them; `lzma.LZMAFile` would be silent about one that is damaged after the first."""
    import lzma  # not every Python is built with it

    while raw:
        unpacker, fed = lzma.LZMADecompressor(lzma.FORMAT_XZ), raw
        while not unpacker.eof:
            try:
                chunk = unpacker.decompress(fed, CHUNK)
            except lzma.LZMAError as error:
                raise EOFError(error) from None
            if not chunk and unpacker.needs_input:
                raise EOFError("the end is missing")
            fed = b""
            yield chunk
        raw = unpacker.unused_data.lstrip(b"\0")
