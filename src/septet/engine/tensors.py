"""Named tensors as the bytes of a safetensors file, one chunk at a time.

safetensors' own writer first makes bytes of every tensor, a second copy of all of them; here they are read where they lie, so
that they are hashed as they are written. What is written is read by safetensors itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import torch

from septet.durable import CHUNK

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Tensors:
    """Content of a safetensors file.

    Args:
        tensors: by name; those of the host are read when the file is written, not before.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]):
        # the largest elements first keeps every tensor aligned, as safetensors does it
        order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
        self._tensors = [tensors[name].detach().contiguous().cpu() for name in order]
        entries, place = {}, 0
        for name, tensor in zip(order, self._tensors, strict=True):
            end = place + tensor.numel() * tensor.element_size()
            entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
            place = end
        header = json.dumps(entries, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        self._header = len(header).to_bytes(8, "little") + header
        self.size = len(self._header) + place

    def chunks(self) -> Iterator[bytes | memoryview]:
        yield self._header
        for tensor in self._tensors:
            raw = tensor.reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(raw), CHUNK):
                yield raw[start : start + CHUNK]
