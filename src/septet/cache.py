"""What this machine keeps between runs, in the user's cache folder: measurements, compiled code, anything that can be made anew.

The folder is `$SEPTET_CACHE`, or `septet` in `$XDG_CACHE_HOME`, or `~/.cache/septet`. It may be removed at any time. Entries are small JSON files,
one a fact, found by the hash of what they depend on and replaced in one step, so that processes may write at the same time; and files of bytes, each
behind its digest, of which those used longest ago go when a kind needs the room. A folder that cannot be written, and an entry that cannot be read, count as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from septet.durable import write_atomic

FORMAT = 1  # raise it when entries are written in another way
DIGEST = 16  # bytes


def folder(name: str = "") -> Path:
    """Return the cache folder, or the folder of one kind in it; nothing is created."""
    given, shared = os.environ.get("SEPTET_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if given:
        # as a shell reads it: of a user that is not known, the name stays
        root = Path(os.path.expanduser(given)).absolute()  # noqa: PTH111
    else:
        # the XDG specification ignores a path that is not absolute
        root = (Path(shared) if Path(shared).is_absolute() else _home() / ".cache") / "septet"
    return root / name if name else root


def entry(kind: str, facts: dict[str, Any]) -> Path:
    """Return the file of what is kept for these facts.

    Args:
        kind: the folder it lies in.
        facts: JSON values; all that the entry depends on.
    """
    text = json.dumps([FORMAT, facts], sort_keys=True)
    return folder(kind) / f"{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.json"


def read(kind: str, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is kept for these facts; None where nothing is, or nothing whole."""
    try:
        found = json.loads(entry(kind, facts).read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and found.get("facts") == facts and isinstance(found.get("value"), dict)
    return found["value"] if whole else None


def write(kind: str, facts: dict[str, Any], value: dict[str, Any]) -> None:
    """Keep a value for these facts; where the folder cannot be written, nothing is kept."""
    text = json.dumps({"facts": facts, "value": value}, indent=1) + "\n"
    with contextlib.suppress(OSError):
        write_atomic(entry(kind, facts), text.encode())


def read_bytes(path: Path) -> bytes | None:
    """Return what a file of bytes holds; None where there is none, or none whole."""
    try:
        raw = path.read_bytes()
        if hashlib.blake2b(raw[DIGEST:], digest_size=DIGEST).digest() != raw[:DIGEST]:
            return None
        os.utime(path)
    except OSError:
        return None
    return raw[DIGEST:]


def write_bytes(path: Path, raw: bytes, *, most: int) -> None:
    """Keep bytes behind their digest; where the folder cannot be written, nothing is kept.

    Args:
        most: bytes that files of this kind and ending may take together; those used longest ago go first.
    """
    with contextlib.suppress(OSError):
        _sweep(path, len(raw), most)
        write_atomic(path, hashlib.blake2b(raw, digest_size=DIGEST).digest() + raw)


def _home() -> Path:
    """Return the user's home; a file where the system knows none, as of a number in a container: nothing can be kept there."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


def _sweep(path: Path, needed: int, most: int) -> None:
    kept = []
    for each in path.parent.glob(f"*{path.suffix}"):
        with contextlib.suppress(OSError):
            kept.append((each.stat().st_mtime, each.stat().st_size, each))
    total = needed + sum(size for _, size, _ in kept)
    for _, size, each in sorted(kept):
        if total <= most:
            return
        with contextlib.suppress(OSError):
            each.unlink()
            total -= size
