"""What training makes of a row: the tokens of its examples, which of them are learned, and which are cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

from septet.encode import Encoded, learns_no_end
from septet.errors import SeptetError
from septet.inputs.chat import UNSUPERVISED
from septet.report import Finding
from septet.show._shown import ShownRow, Side, State, Stretch
from septet.tasks import Example, Row


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token ids of a side, and whether each is learned."""

    name: str
    ids: list[int]
    learned: list[bool]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads rows as a run's training does.

    Args:
        encoded: the run's examples, with its task and tokenizer.
        whole: the task without a limit of length.
    """

    encoded: Encoded
    whole: Any

    def row(self, row: Row, place: int, examples: Sequence[Example]) -> ShownRow:
        """Return a row with its examples, none where it is left out of training."""
        task, processor = self.encoded.task, self.encoded.processor
        if examples:
            kept = [self._tokens(example) for example in examples]
            cut = any(example.meta.get("truncated") for example in examples)
            whole = [self._tokens(example) for example in self.whole.encode([row], processor)[0]] if cut else kept
            whole = whole if len(whole) == len(kept) else kept
        else:
            whole = [self._tokens(example) for example in self._left_out(row)]
            kept = [[_first(side, task.max_length) for side in sides] for sides in whole]
        shown = [[self._side(*pair) for pair in zip(*both, strict=True)] for both in zip(whole, kept, strict=True)]
        label = self._label(examples[0]) if examples else None
        return ShownRow(int(row["_row"]), place + 1, shown, label, list(self._findings(row, examples, shown)))

    def _left_out(self, row: Row) -> list[Example]:
        """Return a row that is left out of training, as far as it can be encoded: whole, or what it asks."""
        try:
            return (
                self.whole.encode([row], self.encoded.processor)[0]
                or self.whole.prompts([row], self.encoded.processor)[0]
            )
        except SeptetError:
            return []  # the template refuses it; the finding says so

    def _tokens(self, example: Example) -> list[_Tokens]:
        """Return what the model is given of an example, and what it is to predict: the tokens of each side."""
        task = self.encoded.task
        batch = task.collate([example], self.encoded.processor)
        ids = batch.inputs["input_ids"][0].tolist()
        read = [False] * len(ids)
        if batch.targets is None or task.answers_with != "texts":
            return [_Tokens("", ids, read)]
        goals = batch.targets[0].tolist()
        learned = [goal != UNSUPERVISED for goal in goals]
        if self.encoded.config.get("is_encoder_decoder"):
            # the target's places are filled up behind its end
            end = len(goals) - sum(1 for _ in takewhile(lambda goal: goal == UNSUPERVISED, reversed(goals)))
            goals, learned = goals[:end], learned[:end]
            return [_Tokens("source", ids, read), _Tokens("target", goals, learned)]
        if sum(learned) > int(next(iter(task.weights(batch).values()))[0]):
            learned[0] = False  # there is nothing before it that it could be predicted from
        # a token that is hidden from the model is shown as what is to stand there
        found = [goal if on else token for token, goal, on in zip(ids, goals, learned, strict=True)]
        return [_Tokens("", found, learned)]

    def _side(self, whole: _Tokens, kept: _Tokens) -> Side:
        places = _places(whole.ids, kept.ids)
        if places is None:  # a task that cuts otherwise than by leaving tokens out
            whole, places = kept, list(range(len(kept.ids)))
        states: list[State] = ["truncated"] * len(whole.ids)
        for place, learned in zip(places, kept.learned, strict=True):
            states[place] = "trained" if learned else "read"
        lost = sum(whole.learned) - sum(kept.learned)
        return Side(whole.name, _stretches(whole.ids, states, self.encoded.processor), states, lost)

    def _label(self, example: Example) -> str | None:
        """Return the label that an example is compared with."""
        task = self.encoded.task
        if task.answers_with == "texts" or example.target is None:
            return None
        names = next(iter(task.heads().values())).config.get("id2label", {})
        return str(names.get(example.target, example.target))

    def _findings(self, row: Row, examples: Sequence[Example], shown: Sequence[Sequence[Side]]) -> Iterator[Finding]:
        task, processor = self.encoded.task, self.encoded.processor
        if not examples:
            yield Finding("nothing-to-learn", "warning", f"left out of training. {task.refusal(row, processor)}")
            return
        lost = sum(side.lost for sides in shown for side in sides)
        if lost:
            most = lost + sum(side.states.count("trained") for sides in shown for side in sides)
            told = f"{lost:,} of {most:,} tokens to learn are beyond model.max_length={task.max_length}."
            yield Finding("answers-cut", "warning", told)
        if learns_no_end(task, processor, self.encoded.config):
            yield Finding("answer-never-ends", "warning", "no token is learned that ends an answer.")


def _first(side: _Tokens, count: int | None) -> _Tokens:
    """Return the beginning of a side of which nothing is learned."""
    ids = side.ids[:count]
    return _Tokens(side.name, ids, [False] * len(ids))


def _places(whole: Sequence[int], kept: Sequence[int]) -> list[int] | None:
    """Return where the kept tokens stand in the whole: at its beginning, at its end, the others from the left; None if they do not."""
    head = _alike(whole, kept)
    tail = min(_alike(whole[::-1], kept[::-1]), len(kept) - head)
    places, end = list(range(head)), len(whole) - tail
    at = head
    for token in kept[head : len(kept) - tail]:
        at = next((place for place in range(at, end) if whole[place] == token), end) + 1
        if at > end:
            return None
        places.append(at - 1)
    return [*places, *range(end, len(whole))]


def _alike(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many tokens, or characters, two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _stretches(ids: Sequence[int], states: Sequence[State], processor: Any) -> list[Stretch]:
    """Return the text of tokens, cut where their state changes; a character that is split there belongs to the later stretch.

    The whole is decoded once and cut where it agrees with its own beginning: decoded alone, a stretch could lose its first space.
    """
    text = _decoded(ids, processor)
    found, told, end = [], 0, 0
    for state, run in groupby(states):
        end += len(list(run))
        upto = len(text) if end == len(ids) else max(told, _alike(_decoded(ids[:end], processor), text))
        found.append(Stretch(text[told:upto], state))
        told = upto
    return [stretch for stretch in found if stretch.text]


def _decoded(ids: Sequence[int], processor: Any) -> str:
    return processor.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
