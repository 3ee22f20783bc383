"""What of a model is compiled, computed by our own kernels, or computed again, how it attends, and what its optimizer is computed by."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from septet.engine import attention_speed, compiled, kernels, native
from septet.engine.attention import FUSED
from septet.engine.device import DTYPES
from septet.engine.ranks import here
from septet.engine.recompute import recompute_layers

if TYPE_CHECKING:
    from septet.engine.optim import Optimizer
    from septet.setup import Setup

# of what updates are computed by, as a run records it
PRECISION, MODEL = "precision of the computation", "what computes the model"


def speed_up(setup: Setup) -> None:
    """Compile what the recipe says, or what repays it, let kernels compute what they can, choose the attention, and keep of the layers what it says."""
    _compile(setup)
    _use_kernels(setup)
    _attend(setup)
    if setup.recipe.train.activation_checkpointing:
        setup.findings.add(recompute_layers(setup.model, setup.clock))


def optimizer_by(setup: Setup) -> str:
    """Return what computes an optimizer's pass over masters that are not their parameters: "torch", "compiled" or "kernels"."""
    if setup.clock.native:
        return "kernels"
    # masters moved by other rounding on one process than on another would part
    return "compiled" if setup.recipe.train.compile and not _lacking(compiled.no_compiler()) else "torch"


def computed_by(setup: Setup, optimizer: Optimizer) -> dict[str, Any]:
    """Return what updates are computed by, in words; the same bits come of runs in which it is the same."""
    kerneled = setup.clock.native
    compiles = any(finding.slug == "blocks-compiled" for finding in setup.findings)
    makers = ["kernels"] * kerneled + ["torch.compile"] * compiles + ["torch"]
    built = kerneled or compiles or optimizer.by != "torch"
    return {
        "processes": here().world,
        PRECISION: setup.recipe.train.precision or "fp32",
        "attention of the model": setup.model.config._attn_implementation + ", in one call" * setup.clock.varlen,
        MODEL: ", ".join(makers),
        "what computes the optimizer's pass": optimizer.by,
        "C++ compiler": native.compiler_version() if built else None,
    }


def _compile(setup: Setup) -> None:
    train = setup.recipe.train
    if train.compile is None:
        told = compiled.worth(setup.model, _tokens(setup), setup.ceiling, train.precision or "fp32")
        setup.recipe = setup.recipe.filled({"train.compile": _agreed(told)})
    if not setup.recipe.train.compile:
        return
    why = _lacking(compiled.no_compiler(setup.device.type))
    setup.findings.add(compiled.unused(why) if why else compiled.compile_blocks(setup.model))


def _use_kernels(setup: Setup) -> None:
    train = setup.recipe.train
    where = (setup.device, train.precision or "fp32")
    divided = train.shard and here().world > 1
    if train.kernels is None:
        told = kernels.worth(setup.flops_per_token * _tokens(setup), *where, divided=divided)
        setup.recipe = setup.recipe.filled({"train.kernels": _agreed(told)})
    if not setup.recipe.train.kernels:
        return
    # each moves its own masters, which must stay the same
    if why := _lacking(kernels.unfit(*where, divided=divided)):
        setup.findings.add(kernels.unused(why))
    else:
        kernels.install(setup.model, setup.clock)


def _lacking(why: str) -> str:
    """Return why one of the processes cannot do something, given why this one cannot; empty where all can."""
    return _agreed((not why, why))[1]


def _agreed(mine: tuple[bool, str]) -> tuple[bool, str]:
    """Return what all processes do, given whether this one would and why: all or none, and where some would not, who that is."""
    told: Sequence[Sequence[Any]] = here().gather([*mine, socket.gethostname()])
    against = [(rank, why, host) for rank, (yes, why, host) in enumerate(told) if not yes]
    if not against:
        return mine
    rank, why, host = against[0]
    if len(against) == len(told):
        return False, why
    more = f", and {len(against) - 1} more" if len(against) > 1 else ""
    return False, f"{why} (rank {rank} of {len(told)}, on {host}{more})"


def _attend(setup: Setup) -> None:
    """Fill in the attention that is faster for rows of these lengths, and let the model attend in this way."""
    recipe = setup.recipe
    if recipe.model.attention is not None:
        return
    facts = {
        "dtype": DTYPES[recipe.train.precision or "fp32"],
        "budget": recipe.train.token_budget or 1,
        "laid": setup.unpadder is not None,
        "native": setup.clock.native,
    }
    told = here().decide(lambda: attention_speed.choose(setup.model, [e.size for e in setup.train], **facts))
    if told[0] == "sdpa":
        setup.model.set_attn_implementation(FUSED)
    setup.recipe = recipe.filled({"model.attention": told})


def _tokens(setup: Setup) -> float:
    """Return the tokens of the whole run."""
    return setup.planner.tokens_per_epoch * setup.total / setup.planner.groups_per_epoch
