"""What this machine has: processor, memory, accelerators, disk, and the versions of what computes."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

VERSIONS = (
    "septet",
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "tokenizers",
    "pyarrow",
    "scikit-learn",
    "numpy",
    "pydantic",
)
OTHERS = {"tensorflow": "TensorFlow", "jax": "JAX", "datasets": "datasets", "torch_xla": "PyTorch/XLA"}
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "amx_fp16", "asimd", "bf16", "sve")


def machine(folder: Path) -> dict[str, Any]:
    """Return the facts of this machine, as `env.json` records them.

    Args:
        folder: where the run will write; its disk is the one that counts.
    """
    import torch

    memory = psutil.virtual_memory()
    return {
        "cpu": {"name": cpu_name(), "cores": cores(), "flags": cpu_flags()},
        "memory_bytes": {"total": memory_limit(memory.total), "available": memory.available},
        "disk_bytes": {"free": shutil.disk_usage(_existing(folder)).free, "folder": str(folder)},
        "accelerators": accelerators(torch),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in VERSIONS},
        "frameworks": {title: version(name) for name, title in OTHERS.items() if importlib.util.find_spec(name)},
    }


def cores() -> int:
    """Return the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags() -> list[str]:
    """Return the instruction sets that matter for matrix products, as Linux names them."""
    there = all_cpu_flags()
    return [flag for flag in _FLAGS if flag in there]


def all_cpu_flags() -> list[str]:
    """Return all that the processor can do, as Linux names it; nothing where there is no Linux."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return []
    line = next((line for line in path.read_text().splitlines() if line.startswith(("flags", "Features"))), "")
    return line.partition(":")[2].split()


def accelerators(torch: Any) -> list[dict[str, Any]]:
    """Return the GPUs, Apple GPU and TPUs that are found."""
    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(i)
        found.append(
            {
                "kind": "cuda",
                "name": facts.name,
                "memory_bytes": facts.total_memory,
                "capability": f"{facts.major}.{facts.minor}",
            }
        )
    if torch.backends.mps.is_available():
        found.append({"kind": "mps", "name": "Apple GPU"})
    if Path("/dev/accel0").exists() or "TPU_NAME" in os.environ:
        usable = importlib.util.find_spec("torch_xla") is not None
        found.append(
            {
                "kind": "tpu",
                "name": "TPU",
                "note": "found; Septet does not train on it" + ("" if usable else " (torch_xla is not installed)"),
            }
        )
    return found


def peak_memory_bytes() -> int:
    """Return this process's largest resident size so far, or since `forget_peak`."""
    import resource

    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), "")
        if line:
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def gpu_peak_bytes() -> int:
    """Return the most of the GPU's memory that PyTorch's tensors took at a time, since `forget_peak`; 0 where there is none."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0


def held_bytes() -> int:
    """Return this process's resident size now."""
    return psutil.Process().memory_info().rss


def forget_peak() -> None:
    """Let the peaks begin anew, where the system can: Linux forgets this process's when 5 is written to `clear_refs` (proc(5))."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Let the system have what this process has freed; glibc would keep most of it (malloc_trim(3)). Elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts as lines for a reader."""
    cpu, memory = facts["cpu"], facts["memory_bytes"]
    shown = [
        f"processor   {cpu['name']}, {cpu['cores']} cores, {' '.join(cpu['flags']) or 'no vector flags read'}",
        f"memory      {memory['available'] / 2**30:.1f} of {memory['total'] / 2**30:.1f} GiB free",
        f"disk        {facts['disk_bytes']['free'] / 2**30:.1f} GiB free at {facts['disk_bytes']['folder']}",
        "accelerator " + (", ".join(f"{a['name']} ({a['kind']})" for a in facts["accelerators"]) or "none found"),
        f"versions    python {facts['python']}, "
        + ", ".join(f"{n} {v}" for n, v in facts["versions"].items() if v and n in ("torch", "transformers", "peft")),
    ]
    if facts["frameworks"]:
        shown.append("also found  " + ", ".join(f"{n} {v}" for n, v in facts["frameworks"].items()))
    return shown


def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_limit(total: int) -> int:
    """Return the bytes of memory that this process may have, of those the machine has: its control group may allow fewer."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return None


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
