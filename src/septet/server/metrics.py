"""The server's Prometheus metrics: base units, `_total` on counters, and labels from fixed lists only.

Nothing a client sends becomes a label value: an unknown path or method counts as `other`.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_LABELS = 100
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        paths: the routes; any other path counts as `other`.
    """

    def __init__(self, paths: Sequence[str]):
        self.registry = CollectorRegistry()
        self.paths = frozenset(paths)
        self.labels: frozenset[str] = frozenset()
        self._http(self.registry)
        self._model(self.registry)
        self._log(self.registry)

    def _http(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "septet_http_requests", "Requests answered.", ["method", "path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "septet_http_request_duration_seconds", "Time to answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self.in_flight = Gauge("septet_http_requests_in_flight", "Requests being answered.", registry=registry)
        self.connections_refused = Counter(
            "septet_connections_refused", "Connections beyond the limit.", registry=registry
        )
        self.ready = Gauge("septet_ready", "1 once the model answers.", registry=registry)

    def _model(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter("septet_predictions", "Inputs answered, by label.", ["label"], registry=registry)
        self.failures = Counter("septet_prediction_failures", "Inputs the model could not answer.", registry=registry)
        self.tokens = Counter("septet_input_tokens", "Tokens read by the model.", registry=registry)
        self.truncated = Counter("septet_truncated_tokens", "Tokens cut off at the maximum length.", registry=registry)
        self.batch_size = Histogram("septet_batch_size", "Inputs in a batch.", buckets=_SIZES, registry=registry)
        self.batch_seconds = Histogram(
            "septet_batch_duration_seconds", "Time of a batch in the model.", buckets=_SECONDS, registry=registry
        )
        self.queue_seconds = Histogram(
            "septet_queue_wait_seconds", "Time an input waited for the model.", buckets=_SECONDS, registry=registry
        )
        self.queued = Gauge("septet_queue_inputs", "Inputs waiting now.", registry=registry)
        self.dropped = Counter(
            "septet_inputs_dropped", "Inputs whose client had left before the model ran.", registry=registry
        )
        self.model = Gauge("septet_model_info", "The model that answers.", ["name", "sha256"], registry=registry)

    def _log(self, registry: CollectorRegistry) -> None:
        self.logged = Counter("septet_log_records", "Requests written to the log.", registry=registry)
        self.log_dropped = Counter(
            "septet_log_records_dropped", "Requests the log could not take.", ["reason"], registry=registry
        )

    def describe(self, name: str, sha256: str, *, labels: Sequence[str]) -> None:
        """State which model answers; its labels become the only label values of `septet_predictions_total`."""
        self.labels = frozenset(labels[:MAX_LABELS])
        self.model.labels(name, sha256).set(1)
        self.ready.set(1)

    def answered(self, method: str, path: str, *, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        path = path if path in self.paths else "other"
        self.requests.labels(method if method in METHODS else "other", path, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)

    def predicted(self, label: str, *, tokens: int, truncated: int) -> None:
        """Count one answered input."""
        self.predictions.labels(label if label in self.labels else "other").inc()
        self.tokens.inc(tokens)
        self.truncated.inc(truncated)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
