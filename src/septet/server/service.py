"""What the routes share: the model, its batcher, the request log, the metrics, and whether the server is ready.

The model loads on the model thread while the server already answers `/health/live`; `/health/ready` follows the first
answered row. Failing to load ends the server with the error that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from septet.errors import DataError, SeptetError
from septet.progress import Listen, quiet
from septet.server.batcher import Batcher
from septet.server.identity import model_hash, model_name
from septet.server.log import Record, RequestLog
from septet.server.metrics import Metrics
from septet.server.refusal import Refusal
from septet.server.settings import Settings
from septet.tasks import Prediction, Row

LIVE, READY, METRICS, PREDICT = "/health/live", "/health/ready", "/metrics", "/v1/predict"
PATHS = (LIVE, READY, METRICS, PREDICT)


@dataclass(frozen=True, slots=True)
class Model:
    """What the server knows of the model it answers with.

    Args:
        predictor: answers rows; has `parse`, `predict` and a `task` with `labels`.
        name: the name shown in answers.
        sha256: 16 hexadecimal digits that identify the artifact.
    """

    predictor: Any
    name: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "sha256": self.sha256}

    @classmethod
    def load(cls, folder: Path, *, device: str | None = None, code: Sequence[str] = ()) -> Model:
        """Load an artifact, its files checked against the manifest.

        Raises:
            ModelError: damaged, unsafe, or not an artifact.
        """
        from septet.model.predictor import Predictor

        predictor = Predictor.load(folder, device, code)
        return cls(predictor, model_name(folder), model_hash(folder))


class Service:
    """One server's state.

    Args:
        load: gives the model; runs on the model thread.
        settings: the limits.
        log_path: where requests are logged; None logs nothing.
        listen: told one sentence of what an operator should know; never what a client sent.
        warmed: called when the model answers.
        failed: called with the error when the model does not load.
    """

    def __init__(
        self,
        load: Callable[[], Model],
        settings: Settings,
        *,
        log_path: Path | None = None,
        listen: Listen = quiet,
        warmed: Callable[[], Any] = lambda: None,
        failed: Callable[[Exception], Any] = lambda error: None,
    ):
        self.settings = settings
        self.metrics = Metrics(PATHS)
        self.model: Model | None = None
        self.closing = False
        self._load = load
        self._listen = listen
        self._warmed = warmed
        self._failed = failed
        self._log_path = log_path
        self._log: RequestLog | None = None
        self._batcher: Batcher | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the model, the batcher and the log; end them when the block ends."""
        settings = self.settings
        self._batcher = Batcher(
            self._predict,
            max_batch=settings.max_batch,
            max_wait_s=settings.max_wait_ms / 1000,
            queue=settings.queue,
            metrics=self.metrics,
        )
        if self._log_path is not None:
            self._log = self._open_log(self._log_path)
        self._tasks = [asyncio.create_task(self._warm(self._batcher))]
        try:
            yield
        finally:
            self.closing = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._batcher.close()
            if self._log is not None:
                await asyncio.to_thread(self._log.close)

    @property
    def live(self) -> bool:
        """Whether nothing the server needs has died."""
        return not any(task.done() and not task.cancelled() and task.exception() for task in self._tasks)

    @property
    def ready(self) -> bool:
        return self.model is not None and not self.closing and self.live

    def require_ready(self) -> tuple[Model, Batcher]:
        """Return the model and its batcher.

        Raises:
            Refusal: 503 while the model loads or the server ends.
        """
        if self.model is None or self._batcher is None or not self.ready:
            message = "The server is shutting down." if self.closing else "The model is still loading."
            raise Refusal(503, "not_ready", message=message, retry_after_s=1)
        return self.model, self._batcher

    def rows(self, model: Model, inputs: Sequence[Any]) -> list[Row]:
        """Return the rows of a request's inputs.

        Raises:
            Refusal: 422 naming the input that does not fit the task.
        """
        rows = []
        for i, value in enumerate(inputs):
            try:
                rows.append(model.predictor.parse(value, f"inputs[{i}]"))
            except DataError as error:
                raise unfit(error, i) from error
        return rows

    def record(self, model: Model, rows: Sequence[Row], *, predictions: Sequence[Prediction], seconds: float) -> None:
        """Count and log the answered rows of one request."""
        for row, prediction in zip(rows, predictions, strict=True):
            self.metrics.predicted(prediction.label, tokens=prediction.tokens, truncated=prediction.truncated)
            if self._log is not None:
                self._log.put(Record(model.predictor.kept(row), prediction, seconds, model.sha256))

    def note(self, text: str) -> None:
        """Tell the operator something."""
        self._listen("note", text=text)

    # ---- private ----

    def _predict(self, rows: Sequence[Row]) -> list[Prediction]:
        if self.model is None:
            raise RuntimeError("the model is not loaded")
        return self.model.predictor.predict(rows, embed=self._log is not None)

    async def _warm(self, batcher: Batcher) -> None:
        try:
            model = await asyncio.get_running_loop().run_in_executor(batcher.thread, self._load_and_try)
        except Exception as error:  # handed to whoever runs the server, which ends with it
            self._failed(error)
            return
        labels = [str(label) for label in getattr(model.predictor.task, "labels", ("stop", "length"))]
        self.metrics.describe(model.name, model.sha256, labels=labels)
        self.model = model
        self._tasks.append(asyncio.create_task(batcher.run()))
        self._warmed()

    def _load_and_try(self) -> Model:
        model = self._load()
        task = model.predictor.task
        chats = getattr(task, "answers_with", "choices") == "texts"
        row = model.predictor.parse(
            "warm up" if chats else dict.fromkeys(getattr(task, "fields", getattr(task, "texts", ["text"])), "warm up")
        )
        model.predictor.predict([row], embed=True)
        return model

    def _open_log(self, path: Path) -> RequestLog:
        def dropped(reason: str, count: int) -> None:
            self.metrics.log_dropped.labels(reason).inc(count)

        return RequestLog(
            path, keep_text=self.settings.log_text, wrote=self.metrics.logged.inc, dropped=dropped, tell=self.note
        ).start()


def unfit(error: SeptetError, index: int) -> Refusal:
    """Return the refusal of an input that does not fit; what was received is left out of it."""
    message = error.what.split(" Received: ")[0]
    return Refusal(422, "invalid_input", message=message, param=error.where or f"inputs[{index}]")
