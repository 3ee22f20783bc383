"""Kernels of our own for bf16 on a CPU with AMX or the bf16 instructions of AVX-512, compiled on the machine they run on.

PyTorch goes many times through memory for what one pass can do: dropout with its residual and norm, attention within short rows of unequal length,
an optimizer's update. Each `*.cpp` beside this file says what it computes. They are compiled by the system's C++ compiler at the first use, into
the user's cache, and loaded with ctypes. Without a compiler or the instructions nothing is lost but time.

A library is code, so it is loaded only where no other user could have put it, and whole: its digest stands behind it, where loaders do not look.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from functools import cache as once
from pathlib import Path
from typing import Any

import torch

from septet import cache
from septet.engine.machine import all_cpu_flags, cpu_flags, cpu_name

NEEDS = ("avx512f", "avx512_bf16")
# no rule of IEEE 754 is given up but for errno and traps, which nobody reads
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-fPIC", "-fopenmp")
LONGEST_S = 300
WORK = "compiling-"

# what each function takes: a tensor (t), a whole number (n, i), or a number of fp32 (f) or fp64 (d)
_SIGNATURES = {
    "septet_attention": "ttttttdfnnniitt",
    "septet_attention_back": "ttttttdfnnniittttt",
    "septet_norm": "ttttttdttfnnttt",
    "septet_norm_back": "tttttttdtttnntttt",
    "septet_square_sum": "tni",
    "septet_adamw": "ttttttni",
}
_TYPES = {"t": ctypes.c_void_p, "n": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float, "d": ctypes.c_double}


def lacking() -> str:
    """Return why the kernels cannot be used here; empty where they can. They are compiled at the first call."""
    if missing := [flag for flag in NEEDS if flag not in cpu_flags()]:
        return f"the processor has no {', '.join(missing)}"
    return _loaded()[1]


def call(name: str, *arguments: Any) -> float:
    """Call a kernel, whose shapes the caller has looked at.

    Raises:
        RuntimeError: there are no kernels here, or a tensor does not lie in one piece.
    """
    library, why = _loaded()
    if library is None:
        raise RuntimeError(why)
    if not all(a.is_contiguous() for a in arguments if isinstance(a, torch.Tensor)):
        raise RuntimeError(f"{name} takes tensors that lie in one piece")
    return getattr(library, name)(*(a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments))


@once
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    try:
        library = ctypes.CDLL(str(_built()))
    except (OSError, subprocess.SubprocessError) as error:
        return None, _told(error)
    for name, signature in _SIGNATURES.items():
        getattr(library, name).argtypes = [_TYPES[letter] for letter in signature]
        getattr(library, name).restype = ctypes.c_double if name == "septet_square_sum" else None
    if library.septet_begin():
        return None, "the system gives processes no AMX tiles"
    return library, ""


def compiler_version() -> str | None:
    """Return what the C++ compiler of this machine calls itself; None where there is none."""
    compiler = _compiler()
    try:
        return compiler and _run(compiler, "--version", limit_s=60).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return compiler


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")


def _told(error: OSError | subprocess.SubprocessError) -> str:
    """Return the line that says why there is no library; where a disk is full, the linker says "failed" first."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{error.cmd[0]} took longer than {error.timeout:.0f} s"
    said = (getattr(error, "stderr", "") or str(error)).strip()
    if isinstance(error, subprocess.CalledProcessError) and not error.stderr.strip():
        said = f"{error.cmd[0]} gives {error.returncode} and says nothing"
    return next((line for line in said.splitlines() if "error" in line or "failed" in line), said[:300])


def _built() -> Path:
    """Return the library for these sources, this compiler and this processor, compiled if it is not kept whole.

    Raises:
        OSError: there is no compiler, or the cache cannot be written, or others can write it.
        subprocess.SubprocessError: it fails.
    """
    compiler = _compiler()
    if compiler is None:
        raise OSError("no C++ compiler (g++) is installed")
    here = Path(__file__).parent
    sources = sorted(here.glob("*.cpp"))
    openmp = _openmp()
    facts = [p.read_text() for p in sorted(here.glob("*.[ch]*"))]
    # of a name of processors one may know instructions that another, a virtual machine, does not
    facts += [_run(compiler, "--version", limit_s=60).stdout, *FLAGS, cpu_name(), *all_cpu_flags(), torch.__version__]
    facts += [Path(path).name for path in openmp]
    name = f"kernels-{hashlib.blake2b(chr(0).join(facts).encode(), digest_size=10).hexdigest()}.so"
    kept = cache.folder("native") / name
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _only_ours(kept.parent):
        raise OSError(f"other users can write {kept.parent}, from where code would be loaded (SEPTET_CACHE, chmod 700)")
    if _whole(kept):
        return kept
    _sweep(kept.parent)
    work = tempfile.mkdtemp(prefix=WORK, dir=kept.parent)
    try:
        made = Path(work) / name
        _run(compiler, *FLAGS, "-shared", *map(str, sources), *openmp, "-o", str(made), limit_s=LONGEST_S)
        if not made.exists():
            raise OSError(f"{compiler} makes nothing and says nothing")
        with made.open("ab") as library:
            library.write(_digest(made.read_bytes()))
        made.chmod(0o700)
        made.replace(kept)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _sweep(folder: Path) -> None:
    """Clear away what processes that were killed while they compiled have left."""
    for left in folder.glob(f"{WORK}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 2 * LONGEST_S:
                shutil.rmtree(left)


def _run(*command: str, limit_s: float) -> subprocess.CompletedProcess[str]:
    """Run a compiler, which says in English and in whatever bytes what it has to say."""
    english = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, text=True, errors="replace", timeout=limit_s, env=english
    )


def _only_ours(path: Path) -> bool:
    """Whether nobody but this user and root may have written it."""
    facts = path.stat()
    return facts.st_uid in (os.getuid(), 0) and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _whole(library: Path) -> bool:
    """Whether a kept library is as it was compiled: loading one that is cut short ends the process."""
    if not library.exists() or not _only_ours(library):
        return False
    raw = library.read_bytes()
    return _digest(raw[: -cache.DIGEST]) == raw[-cache.DIGEST :]


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=cache.DIGEST).digest()


def _openmp(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """Return the OpenMP library that PyTorch has loaded: with a second one, threads of both would wait for one another.

    scikit-learn brings one of its own, which another process does not have.
    """
    home = Path(torch.__file__).parent
    found: list[str] = []
    with contextlib.suppress(OSError):
        for line in maps.read_text().splitlines():
            path = line.split(maxsplit=5)[-1]
            if Path(path).name.startswith(("libgomp", "libomp", "libiomp")) and path not in found:
                found.append(path)
    own = [path for path in found if Path(path).is_relative_to(home) or Path(path).parent.name == "torch.libs"]
    return (own or found)[:1]
