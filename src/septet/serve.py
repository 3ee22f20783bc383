"""Stage 6: a model behind HTTP, on this machine only unless a token guards it.

`serve(folder)` runs until it is asked to stop. `Server` does the same in a thread, as a context manager; `smoke` uses
it to prove a run's server with a real HTTP client. Needs the `serve` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from septet.errors import CheckError, MissingExtraError, ResourceError, UsageError, explain_foreign
from septet.inputs import require_texts
from septet.progress import Listen, quiet
from septet.run import Run
from septet.server.identity import model_name
from septet.server.settings import TOKEN, Settings

if TYPE_CHECKING:
    from septet.server.service import Model

CLIENTS = 8
TOLERANCE = 1e-4
START_S = 300.0


def serve(
    folder: str | Path | Run,
    *,
    host: str | None = None,
    port: int | None = None,
    log: bool | None = None,
    log_text: bool | None = None,
    device: str | None = None,
    code: Sequence[str] = (),
    listen: Listen = quiet,
    ready: Callable[[str], Any] = lambda url: None,
) -> None:
    """Serve a model until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        folder: a run folder or a model folder.
        host, port, log, log_text: instead of the recipe's; port 0 takes a free one.
        device: where the model runs; None: on a GPU that has room, else on the CPU.
        code: plug-in files the model was made with.
        listen: told notes for the operator.
        ready: called with the server's URL once the model answers.

    Raises:
        UsageError: no model there, the port is taken, or the host needs a token.
        ModelError: the artifact is damaged.
    """
    from septet.model.artifact import model_folder, read_task

    folder = folder_of(folder)
    require_texts(read_task(model_folder(folder), code), "septet serve")
    settings = settings_of(folder, host=host, port=port, log=log, log_text=log_text)

    def told(url: str) -> None:
        listen("note", text=f"serving {model_name(folder)} at {url} (POST /v1/predict; stop with Ctrl-C)")
        ready(url)

    Server(folder, settings=settings, device=device, code=code, listen=listen, ready=told).run()


def folder_of(run: str | Path | Run) -> Path:
    """Return the folder of a run or a model, however it is given."""
    return run.path if isinstance(run, Run) else Path(run)


def settings_of(folder: str | Path, **given: Any) -> Settings:
    """Return the settings of a run's recipe with those given on top, and the token of the environment."""
    from septet.model.artifact import model_folder

    run = model_folder(Path(folder)).resolve().parent
    section = None
    if (run / "recipe.yaml").is_file():
        from septet.recipe import Recipe

        section = Recipe.load(run / "recipe.yaml").serve
    return Settings.of(section, **given, token=os.environ.get(TOKEN) or None)


def log_file(folder: str | Path) -> Path:
    """Return where a model's requests are logged: in its run, or beside the model folder."""
    from septet.model.artifact import model_folder

    model = model_folder(Path(folder)).resolve()
    if (model.parent / "recipe.given.yaml").is_file():
        return model.parent / "requests.sqlite"
    return model.with_name(f"{model.name}.requests.sqlite")


class Server:
    """One server; `run()` blocks, `with Server(…) as server:` runs it in a thread until the block ends.

    Args:
        folder: a run folder or a model folder.
        settings: its limits.
        device, code: as for `serve`.
        listen: told notes.
        ready: called with the URL once the model answers.
        load: gives the model instead of the folder's artifact.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        settings: Settings,
        device: str | None = None,
        code: Sequence[str] = (),
        listen: Listen = quiet,
        ready: Callable[[str], Any] = lambda url: None,
        load: Callable[[], Model] | None = None,
    ):
        self.settings = settings.check()
        Service, build, listener = _parts()
        self._error: BaseException | None = None
        self._ready = ready
        self._warm = threading.Event()
        self._thread = threading.Thread(target=self._run_kept, name="septet-server", daemon=True)
        self.socket = _bind(settings.host, settings.port)
        self.port: int = self.socket.getsockname()[1]
        try:
            self.service = Service(
                load or _loader(Path(folder), device=device, code=code),
                settings,
                log_path=log_file(folder) if settings.log else None,
                listen=listen,
                warmed=self._is_warm,
                failed=self._has_failed,
            )
            self._listener = listener(build(self.service), self.service)
        except BaseException:
            self.socket.close()
            raise

    @property
    def url(self) -> str:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self.port}"

    def run(self) -> None:
        """Serve until asked to stop.

        Raises:
            SeptetError: the model could not be loaded.
        """
        try:
            asyncio.run(self._listener.serve(sockets=[self.socket]))
        finally:
            self.socket.close()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ask the server to end; requests under way are answered."""
        self._listener.should_exit = True

    def __enter__(self) -> Server:
        self._thread.start()
        if not self._warm.wait(START_S):
            self.stop()
            raise ResourceError(f"The server was not ready after {START_S:g} seconds.")
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def _is_warm(self) -> None:
        self._warm.set()
        self._ready(self.url)

    def _has_failed(self, error: BaseException) -> None:
        self._error = explain_foreign(error) or error
        self.stop()
        self._warm.set()

    def _run_kept(self) -> None:
        try:
            self.run()
        except BaseException as error:  # kept for the thread that started this one
            self._error = error
            self._warm.set()


def smoke(
    run: str | Path | Run,
    rows: Sequence[Any],
    *,
    device: str | None = None,
    code: Sequence[str] = (),
    listen: Listen = quiet,
) -> dict[str, Any]:
    """Serve a run on a free port, send it rows as a real HTTP client does, and compare with the Predictor.

    Every row that requests may hold is sent once, most of them alone and at the same time as others. The requests stay in the run's log.

    Args:
        run: a run, a run folder or a model folder.
        rows: what is sent: texts, or dicts with the task's columns.
        device, code: as for `serve`.
        listen: told notes.

    Returns:
        `rows`, `requests`, `max_difference` of a score, `labels_different`, `drawn` (answers are, and are not compared), `p50_ms`, `p95_ms`,
        `logged`.

    Raises:
        CheckError: an answer differs from the Predictor's, or a route does not answer as it must.
    """
    from septet.model.predictor import Predictor

    folder = folder_of(run)
    predictor = Predictor.load(folder, device, code)
    settings = settings_of(folder, host="127.0.0.1", port=0)
    room = settings.max_body_bytes // CLIENTS - CLIENTS  # one request holds that many rows
    texts = [text for text in map(predictor.parse, rows) if len(json.dumps(text)) < room]
    wanted = predictor.predict(texts)
    with Server(folder, settings=settings, device=device, code=code, listen=listen) as server:
        together, alone = texts[:CLIENTS], texts[CLIENTS:]
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = [_post(server, {"inputs": together})] if together else []
            answers += list(pool.map(lambda text: _post(server, {"inputs": [text]}), alone))
        routes = {path: _get(server, path)[0] for path in ("/health/live", "/health/ready", "/metrics")}
    facts: dict[str, Any] = {"rows": len(texts), "requests": len(answers), "logged": _logged(server)}
    facts |= _timing([seconds for _, _, seconds in answers])
    wrong = [f"{path} answered {status}" for path, status in routes.items() if status != 200]
    wrong += [f"/v1/predict answered {status}" for status, _, _ in answers if status != 200][:1]
    if not wrong:
        facts |= _compared([p for _, body, _ in answers for p in body["predictions"]], wanted)
        facts["drawn"] = _draws(predictor.task)
        # a batch rounds otherwise than a row alone, which can tip a written token and all that follow it
        allowed = len(texts) // 20 if predictor.task.answers_with == "texts" else 0
        if facts["max_difference"] > TOLERANCE:
            wrong.append(f"scores differ from the model's by up to {facts['max_difference']:.1e}")
        if facts["labels_different"] > allowed and not facts["drawn"]:
            wrong.append(f"{facts['labels_different']} of {len(texts)} answers differ from the model's")
    if wrong:
        raise CheckError(f"The server does not answer as it must: {'; '.join(wrong)}.", where=str(folder))
    return facts


# ---- parts ----


def _parts() -> tuple[Any, Any, Any]:
    try:
        from septet.server.app import build
        from septet.server.protocol import listener
        from septet.server.service import Service
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "septet":
            raise
        raise MissingExtraError(package, "serve", "Serving") from error
    return Service, build, listener


def _loader(folder: Path, *, device: str | None, code: Sequence[str]) -> Callable[[], Model]:
    from septet.model.artifact import model_folder
    from septet.server.service import Model

    model = model_folder(folder)
    return lambda: Model.load(model, device=device, code=code)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=512)
    except (socket.gaierror, OverflowError) as error:
        raise UsageError("The server cannot listen there.", received=f"{host}:{port}") from error
    except OSError as error:
        found = explain_foreign(error)
        hint = getattr(found, "hint", None) or "another host or port: --host, --port"
        raise UsageError(
            f"The server cannot listen there: {error.strerror}.", received=f"{host}:{port}", hint=hint
        ) from error


# ---- the smoke test's client ----


def _post(server: Server, value: Any) -> tuple[int, Any, float]:
    started = time.perf_counter()
    status, content = _ask(server, "/v1/predict", body=json.dumps(value).encode())
    return status, json.loads(content), time.perf_counter() - started


def _get(server: Server, path: str) -> tuple[int, bytes]:
    return _ask(server, path)


def _ask(server: Server, path: str, *, body: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json"} if body else {}
    if server.settings.token:
        headers["Authorization"] = f"Bearer {server.settings.token}"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    with contextlib.closing(connection):
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def _timing(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds) or [0.0]
    at = {"p50_ms": 0.5, "p95_ms": 0.95}
    return {name: round(1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))], 2) for name, q in at.items()}


def _compared(served: Sequence[dict[str, Any]], wanted: Sequence[Any]) -> dict[str, Any]:
    """Return the largest difference of a score, and the rows whose label, or text, differs."""
    largest, different = 0.0, 0
    for answer, prediction in zip(served, wanted, strict=True):
        different += answer["label" if prediction.scores else "answer"] != prediction.value
        for label, score in (prediction.scores or {}).items():
            largest = max(largest, abs(answer["scores"][label] - score))
    return {"max_difference": largest, "labels_different": different}


def _draws(task: Any) -> bool:
    """Whether answers are drawn: which words come then depends on the rows that are answered together."""
    return task.answers_with == "texts" and task.options.decode.temperature > 0


def _logged(server: Server) -> int:
    counter = server.service.metrics.logged
    return int(next(s.value for m in counter.collect() for s in m.samples if s.name.endswith("_total")))
