"""Kernels of our own for bf16 on a CPU with AMX or the bf16 instructions of AVX-512, compiled on the machine they run on.

PyTorch goes many times through memory for what one pass can do: dropout with its residual and norm, attention within short rows of unequal length,
an optimiser's update. Each `*.cpp` beside this file says what it computes. They are compiled by the system's C++ compiler at the first use, into
the user's cache, and loaded with ctypes. Without a compiler or the instructions nothing is lost but time.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache as once
from pathlib import Path
from typing import Any

import torch

from septet import cache
from septet.engine.machine import cpu_flags, cpu_name

NEEDS = ("avx512f", "avx512_bf16")
# no rule of IEEE 754 is given up but for errno and traps, which nobody reads
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-fPIC", "-fopenmp")
LONGEST_S = 300

# what each function takes: a tensor (t), a whole number (n, i), or a number (f)
_SIGNATURES = {
    "septet_attention": "ttttttffnnniitt",
    "septet_attention_back": "ttttttffnnniittttt",
    "septet_norm": "ttttttfttfnnttt",
    "septet_norm_back": "tttttttftttnntttt",
    "septet_square_sum": "tni",
    "septet_adamw": "ttttttni",
}
_TYPES = {"t": ctypes.c_void_p, "n": ctypes.c_int64, "i": ctypes.c_int, "f": ctypes.c_float}


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
        said = getattr(error, "stderr", "") or str(error)
        return None, next((line for line in said.strip().splitlines() if "error" in line), said.strip()[:200])
    for name, signature in _SIGNATURES.items():
        getattr(library, name).argtypes = [_TYPES[letter] for letter in signature]
        getattr(library, name).restype = ctypes.c_double if name == "septet_square_sum" else None
    if library.septet_begin():
        return None, "the system gives processes no AMX tiles"
    return library, ""


def _built() -> Path:
    """Return the library for these sources, this compiler and this processor, compiled if it is not kept.

    Raises:
        OSError: there is no compiler, or the cache cannot be written.
        subprocess.SubprocessError: it fails.
    """
    compiler = shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise OSError("no C++ compiler (g++) is installed")
    here = Path(__file__).parent
    sources = sorted(here.glob("*.cpp"))
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=60).stdout  # noqa: S603
    facts = [p.read_text() for p in sorted(here.glob("*.[ch]*"))]
    facts += [version, *FLAGS, cpu_name(), *cpu_flags(), torch.__version__]
    name = f"kernels-{hashlib.blake2b(chr(0).join(facts).encode(), digest_size=10).hexdigest()}.so"
    kept = cache.folder("native") / name
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    work = tempfile.mkdtemp(dir=kept.parent)
    try:
        made = Path(work) / name
        command = [compiler, *FLAGS, "-shared", *map(str, sources), *_openmp(), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_S)  # noqa: S603
        made.replace(kept)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return kept


def _openmp() -> list[str]:
    """Return the OpenMP library that PyTorch has loaded: with a second one, threads of both would wait for one another."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            path = line.split(maxsplit=5)[-1]
            if "/libgomp" in path or "/libomp" in path or "/libiomp" in path:
                return [path]
    return []
