"""What of a model is compiled, computed by our own kernels, or computed again, how it attends, and what its optimizer is computed by."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

from septet.engine import attention_speed, compiled, kernels, native, room
from septet.engine.attention import FUSED
from septet.engine.device import DTYPES
from septet.engine.ranks import here
from septet.engine.recompute import recomputable, recompute_layers
from septet.recipe.recipe import SET_BY_OVERRIDE, SET_IN_RECIPE

if TYPE_CHECKING:
    from septet.engine.optim import Optimizer
    from septet.setup import Setup

# of what updates are computed by, as a run records it
PRECISION, MODEL = "precision of the computation", "what computes the model"
AGAIN, BUDGET = "train.activation_checkpointing", "train.token_budget"


def speed_up(setup: Setup) -> None:
    """Compile what the recipe says, or what repays it, let kernels compute what they can, choose the attention, and keep of the layers what it says."""
    keeps = _kept(setup)  # first: what is compiled would be compiled for these passes too
    _compile(setup)
    _use_kernels(setup)
    _attend(setup)
    _fit(setup, keeps)
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


def _kept(setup: Setup) -> room.Kept | str | None:
    """Return what a forward pass keeps, or why that is not told; None where nobody asks."""
    if setup.recipe.train.activation_checkpointing is not None:
        return None
    if not setup.task.input.varies:
        return "rows have one size; where memory runs out, micro-batches are halved"
    longest = max(len(e.inputs.get("input_ids", ())) for e in setup.train)
    halves = setup.recipe.train.precision not in (None, "fp32")
    try:
        return room.kept(setup.model, longest, len(recomputable(setup.model)), halves=halves)
    except Exception as error:  # whatever a model says that wants more than tokens and a mask
        return f"what a row keeps could not be told ({type(error).__name__}); where memory runs out, micro-batches are halved"


def _fit(setup: Setup, keeps: room.Kept | str | None) -> None:
    """Fill in whether layers are computed again, and let a derived micro-batch be one that has room."""
    recipe = setup.recipe
    if keeps is None:
        return
    if isinstance(keeps, str):
        setup.recipe = recipe.filled({AGAIN: (False, keeps)})
        return
    halves, budget = recipe.train.precision not in (None, "fp32"), recipe.train.token_budget or 1
    if setup.clock.native or recipe.model.attention == "sdpa":
        keeps = replace(keeps, per_pair=0.0)  # the passes were of eager attention
    mine = room.fit(
        keeps,
        room.free_bytes(setup.model, setup.device, halves=halves, processes=here().world if recipe.train.shard else 1),
        longest=max(e.size for e in setup.train),
        budget=budget,
        derived=recipe.whys.get(BUDGET) not in (SET_IN_RECIPE, SET_BY_OVERRIDE),
    )
    # all processes or none, and what has room on all of them: each plans the passes of all
    told = [room.Fit(*each) for each in here().gather(list(astuple(mine)))]
    chosen = next((each for each in told if each.again), told[0])
    recipe = recipe.filled({AGAIN: (chosen.again, chosen.why)})
    if (fits := min(each.budget for each in told)) < budget:
        why = f"a micro-batch of {fits:,} tokens has room in memory; it never changes the update"
        recipe = recipe.filled({BUDGET: (fits, why)}, over=[BUDGET])
        setup.planner = replace(setup.planner, token_budget=fits)
    setup.recipe = recipe


def _tokens(setup: Setup) -> float:
    """Return the tokens of the whole run."""
    return setup.planner.tokens_per_epoch * setup.total / setup.planner.groups_per_epoch
