"""The only inference path: training's validation, `evaluate`, `predict`, the server and `monitor` all come through here.

Rows are sorted by length, run in batches of a token budget, and answered in the order they came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.data.clean import Cleaning, clean_text, clean_value
from septet.errors import ResourceError, out_of_memory
from septet.model.features import by_tokens
from septet.model.placing import device_for, put
from septet.progress import Listen, quiet
from septet.tasks import Example, Prediction, Row

if TYPE_CHECKING:
    from septet.tasks import Batch

# tokens of a batch: of a model that gives a label a row, and of one that gives a probability for every word at every token
TOKENS, TOKENS_OF_WORDS = 8192, 2048
# a GPU has room for more, and writes a word of many answers in the time of one; where it has not, batches are halved
MORE_ON_GPU = 8
CHUNK = 4096


class Predictor:
    """Answers rows with a model.

    Args:
        model: a transformers model; it is put into `eval()` for each call and back as it was.
        task: the task with its labels.
        processor: the tokenizer, or what makes pixels of pictures.
        length: pad every batch to this many tokens; None pads to its longest row.
        clean: how texts are cleaned first, as the training rows were; None where they are clean already.
    """

    def __init__(
        self, model: Any, task: Any, processor: Any, *, length: int | None = None, clean: Cleaning | None = None
    ):
        self.model = model
        self.task = task
        self.processor = processor
        self.length = length
        self.clean = clean
        # times that memory ran out with larger batches
        self.halved = 0
        # whether smaller ones may be tried: not in the middle of a pass that other processes make, too
        self.halves = True

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None, code: Sequence[str] = ()) -> Predictor:
        """Load an artifact (a model folder, or a run folder that holds one), its files checked against their hashes.

        Args:
            device: where it answers; None: on a GPU that has room for it, else on the CPU.
            code: files of parts of your own that it was made with.

        Raises:
            ModelError: not an artifact, damaged, or made with `--code` that was not given.
        """
        from septet.model.artifact import open_artifact

        artifact = open_artifact(Path(folder), code=code)
        return cls(
            artifact.model.to(device or device_for(artifact.model)),
            artifact.task,
            artifact.processor,
            clean=artifact.clean,
        )

    @property
    def device(self) -> Any:
        """The device that answers."""
        return next(self.model.parameters()).device

    @property
    def max_length(self) -> int | None:
        return self.task.max_length

    def parse(self, value: Any, where: str = "input") -> dict[str, str]:
        """Return one served JSON item as a row.

        Raises:
            DataError: it does not have the task's shape.
        """
        return self.task.parse(value, where)

    def predict(self, rows: Sequence[Row | str], *, embed: bool = False, listen: Listen = quiet) -> list[Prediction]:
        """Return one prediction a row, in the order of the rows.

        Args:
            rows: dicts with the task's columns, or plain texts.
            embed: add the mean-pooled last hidden state of each row.
            listen: told of the progress.
        """
        found: list[Prediction] = []
        for start in range(0, len(rows), CHUNK):
            chunk = [self._cleaned(self._row(row)) for row in rows[start : start + CHUNK]]
            found += self._answer(self.task.prompts(chunk, self.processor), self.task.predict, embed)
            if len(rows) > CHUNK:
                listen("progress", what="predict", done=len(found), total=len(rows))
        return found

    def stream(self, row: Row, streamer: Any) -> None:
        """Write the answer to one row, its pieces handed to a transformers streamer as they come."""
        import torch

        ((example,),) = self.task.prompts([self._cleaned(row)], self.processor)
        with torch.inference_mode():
            self.task.write(self.model, self._batch([example]), streamer=streamer)

    def measure(
        self, examples: Sequence[list[Example]], batched: Callable[[list[int]], Batch] | None = None
    ) -> list[Prediction]:
        """Return what encoded rows come to, held against their targets.

        Args:
            batched: gives a batch by the places of its examples, all rows' one after the other; None collates them.
        """
        return self._answer(examples, self.task.measure, False, batched)

    def kept(self, row: Row) -> Row:
        """Return a row as it may be kept in a log: personal data replaced, where the model reads them so (`data.clean.mask`)."""
        if self.clean is None or not self.clean.mask:
            return row
        masked = Cleaning("none", control=False, whitespace=False, mask=self.clean.mask)
        return {column: value if value is None else clean_value(value, masked) for column, value in row.items()}

    def _row(self, row: Row | str) -> Row:
        """Return a row with the task's texts; of one with the columns that make its text, that text."""
        texts = self.task.texts
        made = isinstance(row, dict) and (self.task.fields == texts or any(column in row for column in texts))
        return row if made else self.parse(row)  # pyright: ignore[reportReturnType]

    def _cleaned(self, row: Row) -> Row:
        if self.clean is None or not self.task.input.varies:
            return row
        if self.task.answers_with == "choices":
            return {**row, **{column: clean_text(str(row[column]), self.clean) for column in self.task.texts}}
        read = {*self.task.texts, "messages"}
        return {
            column: clean_value(value, self.clean) if column in read and value is not None else value
            for column, value in row.items()
        }

    def _answer(
        self,
        encoded: Sequence[list[Example]],
        ask: Any,
        embed: bool,
        batched: Callable[[list[int]], Batch] | None = None,
    ) -> list[Prediction]:
        """Return a prediction a row; where memory runs out, all are asked again in batches of half the size.

        All, so that the answers do not depend on where it ran out.

        Raises:
            ResourceError: there is no memory for a batch of one row.
        """
        import torch

        budget = tokens_of_batch(self.task, self.device)
        least = min((example.size for examples in encoded for example in examples), default=0)
        while True:
            try:
                return self._answer_within(encoded, ask, embed, max(1, budget >> self.halved), batched)
            except Exception as error:
                if not out_of_memory(error) or not self.halves:
                    raise
            # here, because the handler's traceback holds the tensors of the batch that failed
            if budget >> self.halved <= least:
                raise ResourceError(
                    "The machine ran out of memory while it answered one row.", hint="a smaller model.max_length"
                )
            self.halved += 1
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _answer_within(
        self,
        encoded: Sequence[list[Example]],
        ask: Any,
        embed: bool,
        budget: int,
        batched: Callable[[list[int]], Batch] | None,
    ) -> list[Prediction]:
        import torch

        flat = [(i, example) for i, examples in enumerate(encoded) for example in examples]
        order = sorted(range(len(flat)), key=lambda i: flat[i][1].size)
        parts: list[list[Prediction]] = [[] for _ in encoded]
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                for chunk in by_tokens(order, [max(e.size, self.length or 0) for _, e in flat], budget):
                    batch = self._batch([flat[i][1] for i in chunk]) if batched is None else batched(chunk)
                    for i, prediction in zip(chunk, ask(self.model, batch, self.processor, embed), strict=True):
                        prediction.tokens = flat[i][1].size
                        parts[flat[i][0]].append(prediction)
        finally:
            self.model.train(was_training)
        return [self.task.join(part) for part in parts]

    def _batch(self, examples: list[Example]) -> Batch:
        batch = self.task.collate(examples, self.processor, self.length)
        batch.inputs = {key: put(value, self.device) for key, value in batch.inputs.items()}
        return batch


def tokens_of_batch(task: Any, device: Any) -> int:
    """Return the tokens that are answered together."""
    budget = TOKENS if task.answers_with == "choices" else TOKENS_OF_WORDS
    return budget * MORE_ON_GPU if device.type == "cuda" else budget
