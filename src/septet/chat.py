"""`septet chat DIR`: talk with a tuned model, several turns, as its words come; `--base` lets the model before tuning answer too.

Each voice remembers its own conversation. What is asked is rendered by the template that trained, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from septet.errors import ModelError, UsageError
from septet.model.predictor import Predictor
from septet.scoring import BASE, TUNED


@dataclass(slots=True)
class Voice:
    """One model in a conversation.

    Args:
        name: `tuned` or `base`.
        predictor: answers.
        messages: what was said so far, role and content.
    """

    name: str
    predictor: Predictor
    messages: list[dict[str, str]] = field(default_factory=list)

    def say(self, question: str) -> Iterator[str]:
        """Yield the pieces of the answer to a question as they are written; question and answer are remembered.

        Raises:
            ModelError: the model failed while it wrote.
        """
        asked = [*self.messages, {"role": "user", "content": question}]
        answer = ""
        for piece in self._written(asked):
            answer += piece
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": answer.strip()}]

    def _written(self, asked: Sequence[dict[str, str]]) -> Iterator[str]:
        from transformers import TextIteratorStreamer

        predictor = self.predictor
        if predictor.task.options.decode.beams > 1:  # which of the answers is given is known at their end
            yield str(predictor.predict([{"messages": list(asked)}])[0].value)
            return
        streamer = TextIteratorStreamer(
            predictor.processor, skip_prompt=not predictor.task.encoder, skip_special_tokens=True
        )
        failed: list[BaseException] = []

        def write() -> None:
            try:
                predictor.stream({"messages": list(asked)}, streamer)
            except BaseException as error:  # told to the one who listens
                failed.append(error)
                streamer.end()

        writer = Thread(target=write, daemon=True)
        writer.start()
        yield from (piece for piece in streamer if piece)
        writer.join()
        if failed:
            raise ModelError(f"The model failed while it wrote: {type(failed[0]).__name__}: {failed[0]}") from failed[0]


def voices(
    folder: str | Path,
    *,
    base: bool = False,
    system: str | None = None,
    device: str | None = None,
    code: Sequence[str] = (),
) -> list[Voice]:
    """Return who answers: the tuned model of a run or model folder, and the base before it where that is asked for.

    Args:
        folder: a run folder; without `base`, a model folder too.
        base: let the model before tuning answer first.
        system: a system prompt for the conversation; the recipe's own without it.
        device: where the models run; None: on a GPU that has room, else on the CPU.
        code: plug-in files the model was made with.

    Raises:
        UsageError: the model does not write texts, takes a single question, or was built from scratch.
    """
    tuned = Predictor.load(folder, device, code)
    if tuned.task.answers_with != "texts" or not tuned.task.answers_rows:
        raise UsageError(
            "Only a model that writes texts can chat.",
            received=tuned.task.name,
            hint="a recipe of the task generate, which may begin with this model",
        )
    found = [Voice(TUNED, tuned)]
    if base:
        found.insert(0, Voice(BASE, _base(folder, tuned)))
    system = system or tuned.task.options.system_prompt
    for voice in found:
        voice.messages = [{"role": "system", "content": system}] if system else []
    return found


def _base(folder: str | Path, tuned: Predictor) -> Predictor:
    from septet.recipe import Recipe
    from septet.run import Run
    from septet.scoring.texts import base_predictor

    recipe = Recipe.load(Run.open(folder).path / "recipe.yaml")
    found: Any = base_predictor(recipe, tuned)
    if found is None:
        raise UsageError("The model was built from scratch: before training it knew nothing.", hint="leave out --base")
    return found
