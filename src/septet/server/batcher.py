"""Dynamic batching on one model thread.

Requests put their inputs in a bounded queue; one loop takes up to `max_batch` of them and runs the model on its only
thread. While a batch runs the next one gathers. A batch waits, `max_wait_s` at most, for as many inputs as the last two
had: a lone client waits for nobody, and many are answered together. An input that fails takes no other with it: the batch
is repeated one by one. Inputs whose client has left are dropped unanswered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from septet.tasks import Prediction, Row

if TYPE_CHECKING:
    from septet.server.metrics import Metrics

Answer = Prediction | Exception


class QueueFullError(Exception):
    """More inputs are waiting than the queue may hold."""


@dataclass(slots=True)
class Waiting:
    """One input in the queue."""

    row: Row
    future: asyncio.Future[Prediction]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Gathers inputs into batches for one model.

    Args:
        predict: answers rows in order; called on the model thread only.
        max_batch: inputs in a batch at most.
        max_wait_s: how long the first input of a batch waits at most.
        queue: inputs waiting at most.
        metrics: where sizes and times are counted.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Row]], Sequence[Prediction]],
        *,
        max_batch: int,
        max_wait_s: float,
        queue: int,
        metrics: Metrics,
    ):
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="septet-model")
        self._predict = predict
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._queue = queue
        self._metrics = metrics
        self._waiting: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._last = (1, 1)

    def submit(self, rows: Sequence[Row]) -> list[asyncio.Future[Prediction]]:
        """Queue the rows of one request, all or none, and return the futures of their answers.

        Raises:
            QueueFullError: they do not fit.
        """
        if len(self._waiting) + len(rows) > self._queue:
            self._forget_cancelled()
        if len(self._waiting) + len(rows) > self._queue:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        added = [Waiting(row, loop.create_future()) for row in rows]
        self._waiting.extend(added)
        self._note_length()
        return [w.future for w in added]

    async def run(self) -> None:
        """Answer batches until cancelled."""
        while True:
            await self._gather()
            batch = self._take()
            if batch:
                await self._answer(batch)

    def close(self) -> None:
        """Let the model thread end; inputs still waiting are cancelled."""
        for waiting in self._waiting:
            waiting.future.cancel()
        self._waiting.clear()
        self.thread.shutdown(wait=False, cancel_futures=True)

    async def _gather(self) -> None:
        await self._arrived.wait()
        if not self._waiting:
            return
        left_s = self._waiting[0].since + self._max_wait_s - time.monotonic()
        if left_s > 0 and not self._enough.is_set():
            try:
                async with asyncio.timeout(left_s):
                    await self._enough.wait()
            except TimeoutError:
                return

    def _take(self) -> list[Waiting]:
        batch: list[Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if waiting.future.done():
                self._metrics.dropped.inc()
            else:
                batch.append(waiting)
        self._last = (len(batch), self._last[0])
        self._note_length()
        return batch

    async def _answer(self, batch: list[Waiting]) -> None:
        now = time.monotonic()
        for waiting in batch:
            self._metrics.queue_seconds.observe(now - waiting.since)
        self._metrics.batch_size.observe(len(batch))
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self.thread, self._run, [w.row for w in batch])
        self._metrics.batch_seconds.observe(time.monotonic() - now)
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                self._metrics.failures.inc()
            if waiting.future.done():
                continue
            if isinstance(answer, Exception):
                waiting.future.set_exception(answer)
            else:
                waiting.future.set_result(answer)

    def _run(self, rows: list[Any]) -> Sequence[Answer]:
        try:
            answers = list(self._predict(rows))
            if len(answers) != len(rows):
                raise RuntimeError(f"the model gave {len(answers)} answers for {len(rows)} rows")
        except Exception as error:  # whatever the model raises belongs to its inputs, not to the server
            if len(rows) == 1:
                return [error]
            return [self._run([row])[0] for row in rows]
        return answers

    def _forget_cancelled(self) -> None:
        live = [w for w in self._waiting if not w.future.done()]
        self._metrics.dropped.inc(len(self._waiting) - len(live))
        self._waiting = deque(live)
        self._note_length()

    def _note_length(self) -> None:
        count = len(self._waiting)
        self._metrics.queued.set(count)
        self._arrived.set() if count else self._arrived.clear()
        enough = count >= min(max(self._last), self._max_batch)
        self._enough.set() if enough else self._enough.clear()
