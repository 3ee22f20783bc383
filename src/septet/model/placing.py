"""Where tensors and models go: to a GPU without waiting for it, and to a GPU at all where it has room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# free memory that a model needs to answer rows, in sizes of its weights
ROOM = 1.5


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device.

    A plain copy from the host makes the program wait until a GPU has done all that was asked of it before. One from pinned memory does not;
    PyTorch gives that memory to nobody else until the copy is done.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def roomy(num_bytes: int) -> bool:
    """Whether there is a CUDA device, with memory free for a model of so many bytes to answer rows."""
    import torch

    if not torch.cuda.is_available():
        return False
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return free > ROOM * num_bytes


def device_for(model: Any) -> str:
    """Return where a model answers if nobody says: on a GPU that has room for it, else on the CPU."""
    return "cuda" if roomy(sum(p.numel() * p.element_size() for p in model.parameters())) else "cpu"
