"""Raw files: finding them, reading their bytes, unpacking gzip, xz and zstd, decoding.

A path in a recipe is a file, a folder (its tables, sorted by name), a pattern with `*`, or a list of these. Bytes are
read once and hashed on the way. Left out: URLs and archives; the messages say what to do instead.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from septet.data.arrow import saved_files
from septet.data.table import Stamp
from septet.errors import DataError, RecipeError, UsageError
from septet.recipe.data import counted
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
}
PACKED = (".gz", ".xz", ".zst")
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
RATIO, FREE_BYTES = 200, 50_000_000  # real text packs 3 to 20 times; a bomb a thousand times
CHUNK = 1 << 20
_SPLITS = {
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
    if path.exists():
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
    name = "text" if plain and last == ".txt" else FORMATS.get(last)
    if name is None:
        hint = "data.format: csv   (or tsv, json, jsonl, parquet, arrow, excel, conll, text)"
        raise RecipeError(
            "The file's ending does not say its format.", where=shown(path), received=path.name, hint=hint
        )
    return name


def read_bytes(path: Path) -> tuple[bytes, Stamp]:
    """Return a file's bytes, unpacked when it is gzip, xz or zstd, and its stamp (taken before reading).

    Raises:
        DataError: the file is empty, damaged, or unpacks to far more than real data do.
    """
    status = path.stat()
    raw = path.read_bytes()
    stamp = Stamp(str(path.resolve()), status.st_size, status.st_mtime_ns, hashlib.sha256(raw).hexdigest())
    if not raw:
        raise DataError("The file is empty.", where=shown(path))
    packing = next((name for magic, name in MAGIC.items() if raw.startswith(magic)), None)
    if packing is not None:
        raw = b"".join(unpacked(raw, path, packing=packing))
        if not raw:
            raise DataError("The file is empty.", where=shown(path))
    return raw, stamp


def decode(raw: bytes, path: Path, *, encoding: str = "utf-8", lenient: bool = False) -> str:
    """Return the text of a file, without a byte order mark.

    Args:
        lenient: a byte that does not fit becomes half a character (U+DC80 to U+DCFF), and a NUL stays.

    Raises:
        RecipeError: there is no such encoding.
        DataError: a byte does not fit; names its line.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding.lower().replace("-", "") == "utf8":
        raise DataError("The file is UTF-16, not utf-8.", where=f"{shown(path)} line 1", hint="data.encoding: utf-16")
    try:
        text = raw.decode(encoding, "surrogateescape" if lenient else "strict")
    except LookupError:
        raise RecipeError(
            "data.encoding is no encoding known here.", received=encoding, hint="utf-8, latin-1, cp1252, utf-16"
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"Byte 0x{raw[error.start]:02x} is not valid {encoding}.",
            where=f"{shown(path)} line {line}",
            hint="data.encoding: latin-1   (what older Western files use), or save the file as UTF-8",
        ) from None
    text = text.removeprefix("\ufeff")
    nul = -1 if lenient else text.find("\0")
    if nul >= 0:
        raise DataError(
            "There is a NUL byte in the text.",
            where=f"{shown(path)} line {text.count(chr(10), 0, nul) + 1}",
            hint="the file is binary, damaged, or of another encoding (data.encoding: utf-16)",
        )
    if not text.strip():
        raise DataError("The file is empty.", where=shown(path))
    return text


def packing_of(path: Path) -> str | None:
    """Return how a file is packed, by its first bytes; None where it is not."""
    with path.open("rb") as file:
        head = file.read(max(map(len, MAGIC)))
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


def _folder(folder: Path, *, plain: bool) -> list[Path]:
    found = [
        p
        for p in sorted(folder.iterdir())
        if p.is_file() and p.name[0] not in "._~" and ending(p) in FORMATS and (plain or ending(p) != ".txt")
    ]
    if not found:
        kinds = "csv, tsv, json, jsonl, parquet, arrow, xlsx, ods, conll" + (", txt" if plain else "")
        raise UsageError(f"The folder holds no table ({kinds}; .gz, .xz and .zst too).", where=shown(folder))
    splits = {
        _SPLITS[word]
        for p in found
        if (word := p.name.lower().replace("-", ".").replace("_", ".").split(".")[0]) in _SPLITS
    }
    if len(splits) > 1:
        raise RecipeError(
            f"The folder holds files of several splits ({', '.join(p.name for p in found[:6])}); together they would leak.",
            where=shown(folder),
            hint=f"name the file: {shown(found[0])}",
        )
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
