"""A second device that computes on the host, so that a training can be tried as on a GPU without one: what mixes devices fails as it would there.

    python tests/far_device.py classify bf16    # trains a tiny model there, and prints as JSON what it came to

Tensors of the device hold their numbers in a tensor of the host that only this file sees. It says which steps wait for the device: those that
bring numbers back, or make a tensor whose size depends on them. PyTorch's hooks for devices in Python are experimental; they serve for tests alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing

NAME = "far"
aten = torch.ops.aten
# take indices or numbers from the host, as a GPU does
MIXING = {
    aten.copy_.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten.lift_fresh.default,
}
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}


class Far(torch.Tensor):
    """A tensor of the other device; `near` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        facts = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, near.size(), device=device(), **facts)  # type: ignore[attr-defined]

    def __init__(self, near: torch.Tensor):
        self.near = near

    @property
    def data(self) -> Any:
        return self.detach()

    @data.setter
    def data(self, value: Far) -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.near = value.near

    def tolist(self) -> Any:
        WAITS.append("tolist")
        return self.near.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("a tensor of another device is no array")

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func} of the other device outside of `Device`")


WAITS: list[str] = []


class Device(TorchDispatchMode):
    """Within, operations on the other device are computed on the host, and devices may not be mixed."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        tensors = [x for x in pytree.tree_leaves((args, options)) if isinstance(x, torch.Tensor)]
        far = any(isinstance(x, Far) for x in tensors)
        near = [tuple(x.shape) for x in tensors if not isinstance(x, Far) and x.dim() > 0]
        if far and near and func not in MIXING:
            raise RuntimeError(f"{func} mixes devices: the host has {near}")
        wanted = options.get("device")
        goes = far if wanted is None else torch.device(wanted).type == NAME
        if goes and wanted is not None:
            options["device"] = torch.device("cpu")
        if far and (func in WAITING or not goes):
            WAITS.append(str(func))
        if func is aten._local_scalar_dense.default:
            goes = False
        options.pop("pin_memory", None)
        found = func(*pytree.tree_map(_near, args), **pytree.tree_map(_near, options))
        if func is aten.copy_.default:
            if far and not isinstance(args[0], Far):
                WAITS.append(str(func))
            return args[0]
        if not goes:
            return found
        found = pytree.tree_map(lambda x: Far(x) if isinstance(x, torch.Tensor) else x, found)
        return return_and_correct_aliasing(func, args, options, found) if far else found


class Made(TorchFunctionMode):
    """Lets `torch.tensor` make tensors of the other device, which PyTorch does below every mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.tensor and torch.device(options.get("device") or "cpu").type == NAME:
            return func(*args, **options | {"device": "cpu"}).to(options["device"])
        return func(*args, **options)


class Module(backend_registration._DummyBackendModule):
    """What PyTorch asks a device for; nothing is drawn on this one."""

    def get_rng_state(self, *_: Any) -> torch.Tensor:
        return torch.zeros(8, dtype=torch.uint8)

    def set_rng_state(self, *_: Any) -> None:
        pass

    def device(self, *_: Any) -> Any:
        return contextlib.nullcontext()


def device() -> torch.device:
    return torch.device(NAME, 0)


def begin(patch: pytest.MonkeyPatch) -> None:
    """Make the device known to PyTorch, and the device that Septet chooses."""
    from septet import setup
    from septet.engine import device as devices
    from septet.engine import varlen
    from septet.model import artifact, load

    backend_registration._setup_privateuseone_for_python_backend(NAME, Module())
    patch.setattr(
        torch, "inference_mode", torch.no_grad
    )  # its tensors have no versions, which views of subclasses want
    patch.setattr(torch.nn.Module, "to", _to)
    patch.setattr(devices, "choose_device", lambda wanted: device())
    patch.setattr(varlen, "lacking", lambda *_: "")
    patch.setattr(setup, "used_embedding_rows", lambda *_: {})  # sparse gradients are of PyTorch's own tensors alone
    for module, name in ((load, "load_model"), (artifact, "open_artifact")):
        patch.setattr(module, name, _on_the_host(getattr(module, name)))


def _near(x: Any) -> Any:
    return x.near if isinstance(x, Far) else x


def _on_the_host(function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **options)

    return call


_usual_to = torch.nn.Module.to


def _to(self: torch.nn.Module, *args: Any, **options: Any) -> torch.nn.Module:
    """Move a module as PyTorch does it for a GPU: parameters that are shared stay shared, which they do not for a subclass."""
    if args and str(args[0]).startswith(NAME):
        moved: dict[int, tuple[Any, torch.nn.Parameter]] = {}
        for module in self.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    new = moved.get(id(p)) or (p, torch.nn.Parameter(p.detach().to(device()), p.requires_grad))
                    moved[id(p)] = new
                    module._parameters[name] = new[1]
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to(device())
        return self
    return _usual_to(self, *args, **options)


def main(what: str, precision: str) -> None:
    import one_call
    import small
    from septet import journey
    from septet.course import Course

    def attend(*args: Any, **options: Any) -> Any:
        before = len(WAITS)
        found = one_call.varlen_attn(*args, **options)
        del WAITS[before:]  # the kernel waits for nothing
        return found

    waits: list[list[str]] = []
    usual = Course._record

    def record(course: Course, step: Any) -> None:
        waits.append(list(WAITS))
        usual(course, step)
        WAITS.clear()

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        begin(patch)
        patch.setattr(Course, "_record", record)
        folder = Path(name)
        source = small.of(what, folder, device="cuda", precision=precision)
        with one_call.standing_in(attend) as calls, Made(), Device():
            run = journey.train(source, run=folder / "run").run
        losses = [step["loss"] for step in run.records("steps.jsonl")]
    print(json.dumps({"losses": losses, "calls": len(calls), "waits": waits}))


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent)]
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # threads of the device's backward pass would end the process with an error
