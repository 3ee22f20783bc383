"""The time left of a run, corrected as it goes.

What is left is counted by the planner: the tokens of the updates to come, not so many mean updates. They are priced at the speed of the last
updates, in which one ten updates ago counts half; validations and checkpoints to come are priced at what the last ones took, and
before the first one at what `check` measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from septet.engine.plan import Planner

# updates after which one counts half
HALF_LIFE = 10
# the first updates of a process find cold caches, and their speed is forgotten once there are later ones
COLD = 2
# parts of the run after which its forecast is kept, to be held against what it then took
MARKS = (0.02, 0.1, 0.25, 0.5, 0.75)


@dataclass(slots=True)
class Forecast:
    """What is left of a run, from its last update.

    Args:
        planner: of its updates.
        total: updates of the whole run.
        evaluate_every: updates between two validations; there is one after the last update, and a checkpoint after each.
        save_every: updates between two checkpoints besides.
        estimate: what `check` measured: `tokens_per_s`, `validation_each_s`, `saving_each_s`, `finish_s`; empty where it did not.

    Attributes:
        kept: forecasts on the way: the update, the seconds then gone and left.
    """

    planner: Planner
    total: int
    evaluate_every: int
    save_every: int | None = None
    estimate: Mapping[str, Any] = field(default_factory=dict)
    kept: list[dict[str, float]] = field(default_factory=list)
    _seconds: float = 0.0
    _tokens: float = 0.0
    _seen: int = 0
    _marked: int = 0
    _each: dict[str, float] = field(default_factory=dict)
    # tokens behind each update of one epoch
    _epoch: tuple[int, Any] = (-1, None)

    def took(self, part: str, seconds: float) -> None:
        """Note what a validation (`validation`) or a checkpoint (`saving`) took."""
        self._each[part] = seconds

    def step(self, step: int, *, tokens: int, seconds: float, gone_s: float) -> float:
        """Note an update, and return the seconds left.

        Args:
            step: updates done.
            gone_s: seconds of the whole run so far.
        """
        if self._seen == COLD:
            self._seconds = self._tokens = 0.0
        self._seen += 1
        fade = 0.5 ** (1 / HALF_LIFE)
        self._seconds = fade * self._seconds + seconds
        self._tokens = fade * self._tokens + tokens
        left = self.left_s(step)
        if self._seen > COLD and (passed := sum(step >= mark * self.total for mark in MARKS)) > self._marked:
            self._marked = passed
            self.kept.append({"step": step, "gone_s": gone_s, "left_s": left})
        return left

    def left_s(self, step: int) -> float:
        """Return the seconds from an update to the end of the run."""
        ahead = self._speed() * self.tokens_left(step)
        whole = -(-self.total // self.evaluate_every) - step // self.evaluate_every if step < self.total else 0
        between = 0 if self.save_every is None else self.total // self.save_every - step // self.save_every
        ahead += whole * (self._price("validation") + self._price("saving")) + between * self._price("saving")
        return ahead + float(self.estimate.get("finish_s", 0.0))

    def tokens_left(self, step: int) -> float:
        """Return the tokens of the updates to come: of this epoch as it is drawn, of later ones as they are in the mean."""
        if step >= self.total:
            return 0.0
        groups = self.planner.groups_per_epoch
        epoch, place = divmod(step, groups)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self.planner.tokens_by_group(epoch).cumsum())
        behind = self._epoch[1]
        end = min(self.total, (epoch + 1) * groups)
        here = float(behind[end - 1 - epoch * groups] - (behind[place - 1] if place else 0))
        return here + (self.total - end) / groups * self.planner.tokens_per_epoch

    def record(self, gone_s: float) -> list[dict[str, float]]:
        """Return the forecasts on the way beside what was then left.

        Args:
            gone_s: seconds of the whole run, at its end.
        """
        return [
            {"step": at["step"], "left_s": round(at["left_s"], 1), "took_s": round(gone_s - at["gone_s"], 1)}
            for at in self.kept
        ]

    def _speed(self) -> float:
        """Return the seconds of a token; as long as the updates are cold, which take several times as long, those that `check` measured."""
        if self._seen <= COLD and (measured := float(self.estimate.get("tokens_per_s", 0.0))):
            return 1 / measured
        return self._seconds / self._tokens if self._tokens else 0.0

    def _price(self, part: str) -> float:
        return self._each.get(part, float(self.estimate.get(f"{part}_each_s", 0.0)))
