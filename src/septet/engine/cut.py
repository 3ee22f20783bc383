"""Where the frozen lower part of a model ends, and how a forward pass begins there.

What lies below everything that learns gives a row the same hidden states in every epoch. A `Cut` takes these states from one pass, and
in later passes hands them on instead of computing them: `model(**inputs, frozen_states=…)`. It knows two places. Where no block learns, it is the
output of the backbone, of its stack of blocks or of its encoder; where some do, the output of the block below the lowest of them. A probe with rows of the
run compares each row's loss with and without; a model that answers otherwise cannot be cut, nor one that drops something below.

Shapes: B rows, T tokens, N tokens of rows laid end to end, R real tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from septet.engine.dropout import DropoutClock
from septet.engine.loop import learn_modes
from septet.methods import layer_list
from septet.tasks import Batch

# the name under which states are handed to a model, among its inputs
STATES = "frozen_states"


@dataclass(frozen=True, slots=True)
class Place:
    """A place where a model may be cut: behind the last of some modules, none of which is then run."""

    name: str
    skipped: list[nn.Module]
    blocks: bool


class Reached(Exception):  # noqa: N818 - no error: it ends a pass
    """The frozen part is computed, and nothing above it is wanted."""


class Cut:
    """A model that can begin above its frozen part.

    Args:
        model: with its method attached.
        place: where.
        clock: of the dropout; the calls of a part that is not run are counted all the same.
    """

    def __init__(self, model: Any, place: Place, clock: DropoutClock):
        self.name = place.name
        self.blocks = place.blocks
        # what of a row is read above: its token at 0, the first, or at -1, the last; None: all of them
        self.position: int | None = None
        self.width = 0
        self._model = model
        self._clock = clock
        self._skipped = place.skipped
        self._states: torch.Tensor | None = None
        self._output: Any = None
        self._calls = [0] * len(place.skipped)
        self._plain = [module.forward for module in place.skipped]
        # what stands in a module's own place already, and not in its class
        self._own = [{k: v for k, v in vars(module).items() if k == "forward"} for module in place.skipped]
        self._handles = [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]
        for i, module in enumerate(place.skipped):
            module.forward = self._instead(i)

    @property
    def unused(self) -> list[nn.Module]:
        """The modules that are not run, but for what learns within them (a pooler)."""
        every = [m for module in self._skipped for m in module.modules()]
        return [m for m in every if not any(p.requires_grad for p in m.parameters())]

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        for module, own in zip(self._skipped, self._own, strict=True):
            vars(module).pop("forward")
            vars(module).update(own)

    def taken(self, task: Any, batch: Batch) -> torch.Tensor:
        """Return what is read above the cut, row after row: (R, H), or (B, H) where it is one token; nothing above is computed.

        Raises:
            ValueError: the module gives something else than hidden states.
        """
        return self.read(self.caught(task, batch), batch)

    def caught(self, task: Any, batch: Batch, change: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Any:
        """Return the states at the cut in a pass of the task's loss, (B, T, H) or (1, N, H).

        Args:
            change: replaces them; the pass then goes on, and its losses are returned. None ends the pass.
        """
        found: list[torch.Tensor] = []

        def catch(module: nn.Module, _args: Any, output: Any) -> Any:
            found.append(hidden_of(output))
            self._output, self.width = _blank(output), found[0].shape[-1]
            if change is None:
                raise Reached
            return packed(output, change(found[0]), getattr(module, "pooler", None))

        handle = self._skipped[-1].register_forward_hook(catch)
        try:
            with self._clock.layout(batch.layout):
                losses = task.loss(self._model, batch)
        except Reached:
            return found[0]
        finally:
            handle.remove()
        return losses

    def read(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return those of a batch's states that are kept."""
        layout = batch.layout
        if self.position is None:
            if layout is not None:
                return states[0, : layout.starts[-1]]
            mask_BT = batch.inputs.get("attention_mask")
            return states.flatten(0, 1) if mask_BT is None else states[mask_BT.bool()]
        if states.shape[1] == 1 and len(states) == len(batch):
            return states[:, 0]
        rows_B = torch.arange(len(states), device=states.device)
        return states[rows_B, places_of(batch, self.position)]

    def _begin(self, _model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        self._states = kwargs.pop(STATES, None)
        return args, kwargs

    def _end(self, _model: Any, _args: Any, _output: Any) -> None:
        self._states = None

    def _instead(self, i: int) -> Callable[..., Any]:
        module, plain, clock = self._skipped[i], self._plain[i], self._clock

        def forward(*args: Any, **options: Any) -> Any:
            if self._states is None:
                before = clock.calls
                found = plain(*args, **options)
                if clock.calls > before:
                    self._calls[i] = clock.calls - before
                return found
            clock.pass_over(self._calls[i])
            return packed(self._output, self._states, getattr(module, "pooler", None))

        return forward


def find_cut(model: Any, task: Any, clock: DropoutClock, batch: Batch, tokens: int) -> tuple[Cut | None, str]:
    """Return the highest cut that a probe allows, or None and why there is none.

    Args:
        model: with its method attached.
        task: whose losses are compared.
        clock: of the dropout.
        batch: rows of unlike length, as training sees them.
        tokens: of these rows.
    """
    why = "its lowest block learns"
    was = [(module, module.training) for module in model.modules()]
    for place in _places(model):
        cut = Cut(model, place, clock)
        try:
            refused = _refused(cut, model, task, clock, batch, tokens)
        except Exception as error:  # whatever a model says that is built in another way
            refused = f"{place.name}: {(str(error).splitlines() or [type(error).__name__])[0][:160]}"
        finally:
            for module, training in was:
                module.training = training
            model.zero_grad()
        if not refused:
            return cut, ""
        cut.remove()
        why = refused
    return None, why


def without_tokens(batch: Batch, states_BH: torch.Tensor) -> Batch:
    """Return a batch of one state a row in place of its tokens."""
    ids_B1 = torch.zeros(len(states_BH), 1, dtype=torch.int64, device=states_BH.device)
    return replace(batch, inputs={"input_ids": ids_B1, STATES: states_BH[:, None]}, layout=None)


def places_of(batch: Batch, position: int) -> torch.Tensor:
    """Return (B,) int64: the place of each padded row's first or last token."""
    ids_BT = batch.inputs["input_ids"]
    mask_BT = batch.inputs.get("attention_mask")
    if position == 0 or mask_BT is None:
        return torch.full((len(ids_BT),), position % ids_BT.shape[1], device=ids_BT.device)
    return mask_BT.shape[1] - 1 - mask_BT.flip(1).argmax(1)


def hidden_of(output: Any) -> torch.Tensor:
    """Return the hidden states in what a module gives.

    Raises:
        ValueError: there are none, or other tensors beside them.
    """
    states = getattr(output, "last_hidden_state", output)
    if isinstance(states, tuple):
        states, *others = states
        if any(other is not None for other in others):
            raise ValueError("its blocks hand on more than hidden states")
    if not isinstance(states, torch.Tensor) or states.dim() != 3:
        raise ValueError("its blocks give no hidden states")
    return states


def packed(output: Any, states: torch.Tensor, pooler: Any = None) -> Any:
    """Return states in the form of what a module gave, its pooler applied to them."""
    if isinstance(output, torch.Tensor):
        return states
    if isinstance(output, tuple):
        return (states, *output[1:])
    pooled = {} if pooler is None else {"pooler_output": pooler(states)}
    return type(output)(last_hidden_state=states, **pooled)


def _blank(output: Any) -> Any:
    """Return the form of what a module gave, without its tensors."""
    if isinstance(output, torch.Tensor):
        return output.new_empty(0)
    return (None,) * len(output) if isinstance(output, tuple) else type(output)()


def _places(model: Any) -> Iterator[Place]:
    """Yield where a model may be cut, the highest first."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    blocks = layer_list(plain)
    learning = [any(p.requires_grad for p in block.parameters()) for _, block in blocks]
    lowest = learning.index(True) if True in learning else len(blocks)
    names = {module: name for name, module in plain.named_modules()}
    if plain.config.is_encoder_decoder:
        encoder = plain.get_encoder()
        within = sum(name.startswith(f"{names[encoder]}.") for name, _ in blocks)
        if lowest >= within:
            yield Place(names[encoder], [encoder], False)
            return
    elif lowest == len(blocks):
        backbone = plain.base_model
        yield Place(names[backbone], [backbone], False)
        for name, module in backbone.named_children():
            inner = set(module.modules())
            if blocks and all(block in inner for _, block in blocks) and not isinstance(module, nn.ModuleList):
                yield Place(f"{names[backbone]}.{name}", [module], False)
    if 0 < lowest < len(blocks):
        yield Place(blocks[lowest - 1][0], [block for _, block in blocks[:lowest]], True)


def _refused(cut: Cut, model: Any, task: Any, clock: DropoutClock, batch: Batch, tokens: int) -> str:
    """Return why a cut does not do; empty where it does. It then knows what is read above it."""
    device = next(iter(batch.inputs.values())).device
    for module, learns in learn_modes(model):
        module.training = learns
    seen = []
    for epoch in (0, 1):
        clock.set(batch.rows, epoch, device)
        states = cut.caught(task, batch)
        if states.requires_grad:
            return "something learns below its blocks"
        seen.append(states)
    if not torch.allclose(seen[0], seen[1], atol=1e-5, rtol=1e-4):
        return "the part below what learns drops something (model.dropout=0 turns that off)"
    model.eval()
    expected = _losses(clock, model, task, batch)
    if not cut.blocks:
        cut.position = _read_position(cut, task, batch)
    with torch.no_grad():
        kept = cut.taken(task, batch)
    if cut.position is not None:
        given = without_tokens(batch, kept)
    elif len(kept) != tokens:
        return "its states are not one a token"
    else:
        given = replace(batch, inputs={**batch.inputs, STATES: seen[0]})
    found = _losses(clock, model, task, given)
    tolerance = 1e-5 if seen[0].dtype == torch.float32 else 3e-2
    same = all(
        torch.allclose(found[part].float(), losses.float(), atol=tolerance, rtol=tolerance)
        for part, losses in expected.items()
    )
    return "" if same else "a pass that begins there gives other losses"


def _losses(clock: DropoutClock, model: Any, task: Any, batch: Batch) -> dict[str, torch.Tensor]:
    with torch.no_grad(), clock.layout(batch.layout):
        return task.loss(model, batch)


def _read_position(cut: Cut, task: Any, batch: Batch) -> int | None:
    """Return the one token of each row that the loss depends on, 0 or -1; None where it is more, or another."""
    leaves: list[torch.Tensor] = []

    def leaf(states: torch.Tensor) -> torch.Tensor:
        leaves.append(states.detach().requires_grad_())
        return leaves[0]

    with torch.enable_grad():
        losses = cut.caught(task, batch, leaf)
        sum(each.sum() for each in losses.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
    gradient = leaves[0].grad
    if gradient is None or len(gradient) != len(batch):
        return None
    # a short cut computes it alone, or a decoder's last token stands at every place (model/last_token.py)
    if bool((leaves[0] == leaves[0][:, :1]).all()):
        return 0
    if batch.layout is not None:
        return None
    read_BT = gradient.ne(0).any(-1)
    rows_B = torch.arange(len(batch), device=read_BT.device)
    for position in (0, -1):
        if bool((read_BT.sum(1) == 1).all()) and bool(read_BT[rows_B, places_of(batch, position)].all()):
            return position
    return None
