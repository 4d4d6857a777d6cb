"""The metric catalogue: every name, defined once. A process registers only what it owns.

Labels are closed sets, never ids, URLs or messages. Known label sets are touched at start, so that a rate
over a counter that never moved is 0 and not absent. This module is a leaf: it imports nothing of ours, and
every room may import it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

PREFIX: Final = "finestream"
DEATHS: Final = ("EmptyOutcome", "RecordError", "RecordTooLarge", "killed_worker")
"""Dead letters that every stage may have; others carry the name of their error's class."""
LLM_OUTCOMES: Final = (
    "ok", "truncated", "refused", "error", "timeout", "lost", "unreachable", "turned_away", "unusable",
    "too_long",
)  # fmt: skip
"""How a request to a model ends: `truncated` at max_tokens, `error` with a 5xx, `turned_away` with a 429,
`unusable` with a body that is no answer."""
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

disable_created_metrics()  # type: ignore[no-untyped-call]


def serve(host: str, port: int, registry: CollectorRegistry) -> int:
    """Serve /metrics on a thread of its own; return the port (0 picks a free one)."""
    server, _ = start_http_server(port, addr=host, registry=registry)
    return int(server.server_port)


class BuildMetrics:
    """Which code and which process this is."""

    def __init__(self, registry: CollectorRegistry, role: str, version: str) -> None:
        info = Gauge(
            "build_info",
            "Constant 1; version and role are labels.",
            ["version", "role"],
            namespace=PREFIX,
            registry=registry,
        )
        info.labels(version, role).set(1)


class StageMetrics:
    """One stage's worker."""

    def __init__(self, registry: CollectorRegistry, stage: str, reasons: Iterable[str] = ()) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, ["stage", *labels], namespace=PREFIX, registry=registry)

        self._stage = stage
        self.records_in = counter(
            "records_in_total", "Records accepted from the input topic.", ("mode",)
        ).labels(stage, "live")
        self.records_out = counter(
            "records_out_total", "Records acknowledged in the output topic, markers too.", ("mode",)
        ).labels(stage, "live")
        self._dropped = counter("records_dropped_total", "Inputs that ended here as a marker.", ("reason",))
        self._dead = counter(
            "records_dead_lettered_total", "Inputs buried with their bytes and reason.", ("error",)
        )
        self._retries = counter("record_retries_total", "Calls tried again.", ("error",))
        self._marked = counter(
            "outputs_marked_total", "Outputs written that carry a mark, by what it says.", ("kind", "name")
        )
        self.passed = counter("records_passed_total", "Markers of earlier stages copied on.").labels(stage)
        self.duplicates = counter(
            "records_duplicate_total", "Records below the lane's position, filtered."
        ).labels(stage)
        self.losses = counter("losses_accepted_total", "Gaps crossed by --accept-loss.").labels(stage)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["stage"], namespace=PREFIX, registry=registry)

        self.inflight = gauge("records_inflight", "Records held in the window.").labels(stage)
        self.lanes = gauge("lanes_open", "Lanes this worker holds.").labels(stage)
        self.stopped = gauge("lanes_stopped", "Lanes stopped by a named error.").labels(stage)
        self.isolated = gauge("lanes_isolated", "Lanes that run record by record in a child process.").labels(
            stage
        )
        self.last_record = gauge(
            "last_record_timestamp_seconds", "Unix time of the last record sent."
        ).labels(stage)

        self._lag = Gauge(
            "consumer_lag_records",
            "Records of the input whose outputs are not acknowledged yet, as this worker sees it.",
            ["group", "topic", "partition"],
            namespace=PREFIX,
            registry=registry,
        )

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, ["stage"], namespace=PREFIX, registry=registry, buckets=SECONDS)

        self.record_seconds = histogram(
            "record_seconds", "From reading an input to its acknowledged output (sampled once a batch)."
        ).labels(stage)
        self.batch_seconds = histogram("batch_seconds", "One call of process.").labels(stage)
        self.age_seconds = histogram(
            "record_age_seconds", "From ingest to the acknowledged output (sampled once a batch)."
        ).labels(stage)
        for reason in reasons:
            self.dropped(reason, 0)
        for error in DEATHS:
            self._dead.labels(stage, error)

    def dropped(self, reason: str, n: int = 1) -> None:
        """Count inputs that ended as a marker."""
        self._dropped.labels(self._stage, reason).inc(n)

    def dead(self, error: str) -> None:
        """Count a dead letter by the name of its error."""
        self._dead.labels(self._stage, error).inc()

    def marked(self, kind: str, name: str, n: int = 1) -> None:
        """Count outputs with a mark of the stage's own closed set, such as a benchmark's name."""
        self._marked.labels(self._stage, kind, name).inc(n)

    def lag(self, group: str, topic: str, partition: int, records: int | None) -> None:
        """Say how far a lane is behind its input; None: it is not ours any more."""
        labels = (group, topic, str(partition))
        if records is None:
            self._lag.remove(*labels)
        else:
            self._lag.labels(*labels).set(records)

    def retried(self, error: str) -> None:
        """Count a call that is tried again."""
        self._retries.labels(self._stage, error).inc()


class IngestMetrics:
    """The ingester."""

    def __init__(
        self,
        registry: CollectorRegistry,
        reasons: Iterable[str] = (),
        stubs: Iterable[str] = (),
        outcomes: Iterable[str] = (),
    ) -> None:
        self.documents = Counter(
            "ingest_documents_total", "Documents acknowledged in raw.", namespace=PREFIX, registry=registry
        )
        self.bytes = Counter(
            "ingest_bytes_total", "Payload bytes acknowledged in raw.", namespace=PREFIX, registry=registry
        )
        self.stubs = Counter(
            "ingest_stubs_total",
            "Records that entered raw as stubs.",
            ["reason"],
            namespace=PREFIX,
            registry=registry,
        )
        self.skipped = Counter(
            "ingest_skipped_total",
            "Records of a source that are no documents.",
            ["reason"],
            namespace=PREFIX,
            registry=registry,
        )
        self.sources = Counter(
            "ingest_sources_total", "Sources finished.", ["outcome"], namespace=PREFIX, registry=registry
        )
        self.waiting = Gauge(
            "ingest_waiting_files",
            "New files that are not whole yet, or cannot be read now.",
            namespace=PREFIX,
            registry=registry,
        )
        self.postponed = Gauge(
            "ingest_postponed_sources",
            "Sources that were begun and whose store cannot be read now.",
            namespace=PREFIX,
            registry=registry,
        )
        self.lag = Gauge(
            "ingest_follow_lag_seconds",
            "Age of the oldest source that is whole and not read yet.",
            namespace=PREFIX,
            registry=registry,
        )
        for reason in reasons:
            self.skipped.labels(reason)
        for reason in stubs:
            self.stubs.labels(reason)
        for outcome in outcomes:
            self.sources.labels(outcome)


class SupervisorMetrics:
    """The supervisor of one machine."""

    def __init__(self, registry: CollectorRegistry, slots: Iterable[str]) -> None:
        self._up = Gauge(
            "supervised_process_up",
            "1 while the slot's process runs.",
            ["slot"],
            namespace=PREFIX,
            registry=registry,
        )
        self._restarts = Gauge(
            "supervised_process_restarts",
            "Starts of the slot beyond the first, since the supervisor began.",
            ["slot"],
            namespace=PREFIX,
            registry=registry,
        )
        for slot in slots:
            self.stands(slot, up=False, restarts=0)

    def stands(self, slot: str, up: bool, restarts: int) -> None:
        """Say how a slot stands."""
        self._up.labels(slot).set(int(up))
        self._restarts.labels(slot).set(restarts)


class ServeMetrics:
    """The servers that `finestream engine` keeps."""

    def __init__(
        self, registry: CollectorRegistry, servers: Iterable[tuple[str, int]], reasons: Iterable[str]
    ) -> None:
        """`servers`: names and ports."""
        ports = {name: str(port) for name, port in servers}
        up = Gauge(
            "engine_server_up",
            "1 while the server generates.",
            ["server", "port"],
            namespace=PREFIX,
            registry=registry,
        )
        self._up = {name: up.labels(name, port) for name, port in ports.items()}
        self._restarts = Counter(
            "engine_server_restarts_total",
            "Ends of a server's process that we did not ask for, by why.",
            ["server", "reason"],
            namespace=PREFIX,
            registry=registry,
        )
        self._ready = Gauge(
            "engine_server_ready_seconds",
            "From a server's last start to its first token.",
            ["server"],
            namespace=PREFIX,
            registry=registry,
        )
        self.installing = Gauge(
            "engine_installing",
            "1 while vLLM's environment is made.",
            namespace=PREFIX,
            registry=registry,
        )
        for reason in reasons:
            for name in ports:
                self._restarts.labels(name, reason)

    def stands(self, server: str, *, up: bool) -> None:
        """Say whether a server generates."""
        self._up[server].set(int(up))

    def restarted(self, server: str, reason: str) -> None:
        """Count an end."""
        self._restarts.labels(server, reason).inc()

    def ready(self, server: str, seconds: float) -> None:
        """Say how long the last start took."""
        self._ready.labels(server).set(seconds)


class EngineMetrics:
    """The model that one stage asks. A call that was tried twice is two requests."""

    def __init__(self, registry: CollectorRegistry, stage: str, model: str) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["stage", "model", *labels], namespace=PREFIX, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["stage", "model"], namespace=PREFIX, registry=registry).labels(
                stage, model
            )

        requests = counter(
            "llm_requests_total", "Requests to a model's servers, by how they ended.", "outcome"
        )
        self._requests = {outcome: requests.labels(stage, model, outcome) for outcome in LLM_OUTCOMES}
        tokens = counter(
            "llm_tokens_total",
            "Tokens of answered requests; cached ones are among the prompt's.",
            "kind",
        )
        self._prompt, self._cached, self._completion = (
            tokens.labels(stage, model, kind) for kind in ("prompt", "cached", "completion")
        )
        self._seconds = Histogram(
            "llm_request_seconds",
            "From sending a request that was answered to its last byte.",
            ["stage", "model"],
            namespace=PREFIX,
            registry=registry,
            buckets=SECONDS,
        ).labels(stage, model)
        self.replicas_up = gauge("llm_replicas_up", "Servers that get requests.")
        self.limit = gauge(
            "llm_requests_limit", "Requests that may be under way, over all servers that are up."
        )
        self.inflight = gauge("llm_requests_inflight", "Requests under way.")
        self.waiting = gauge("llm_requests_waiting", "Calls that wait for a place at a server.")

    def ended(self, outcome: str) -> None:
        """Count a request by one of `LLM_OUTCOMES`."""
        self._requests[outcome].inc()

    def answered(self, prompt: int, cached: int, completion: int, seconds: float) -> None:
        """Count what an answer cost."""
        self._prompt.inc(prompt)
        self._cached.inc(cached)
        self._completion.inc(completion)
        self._seconds.observe(seconds)


class TrainerMetrics:
    """The trainer of one run."""

    def __init__(self, registry: CollectorRegistry, run: str) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ["run", *labels], namespace=PREFIX, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, ["run", *labels], namespace=PREFIX, registry=registry)

        self._run = run
        self.steps = counter("trainer_steps_total", "Optimizer steps.").labels(run)
        self.tokens = counter("trainer_tokens_total", "Target tokens trained on.", "source").labels(
            run, "live"
        )
        self.pairs = counter("trainer_pairs_total", "Pairs packed.").labels(run)
        self._skipped = counter("trainer_pairs_skipped_total", "Pairs not packed.", "reason")
        self.duplicates = counter(
            "trainer_records_duplicate_total", "Records below a lane's position, filtered."
        ).labels(run)
        self.nonfinite = counter(
            "trainer_nonfinite_steps_total", "Steps skipped for a loss that is no number."
        ).labels(run)
        self.wait = counter("trainer_wait_seconds_total", "Waiting for batches, by what was missing.", "kind")
        self.loss = gauge("trainer_loss", "Mean loss of the last step, nats a token.").labels(run)
        self.heldout = gauge("trainer_eval_loss", "Loss on held-out pairs, nats a token.", "split").labels(
            run, "heldout"
        )
        self.grad_norm = gauge("trainer_grad_norm", "Norm of the last gradient before clipping.").labels(run)
        self.learning_rate = gauge("trainer_learning_rate", "Of the last step.").labels(run)
        self.checkpoint = gauge(
            "trainer_checkpoint_timestamp_seconds", "Unix time of the last durable checkpoint."
        ).labels(run)
        self.offset = gauge(
            "trainer_checkpoint_offset",
            "Next offset that the last checkpoint would read.",
            "topic",
            "partition",
        )
        self.step_seconds = Histogram(
            "trainer_step_seconds",
            "One optimizer step.",
            ["run"],
            namespace=PREFIX,
            registry=registry,
            buckets=SECONDS,
        ).labels(run)
        for kind in ("pipeline", "supply"):
            self.wait.labels(run, kind)

    def skipped(self, reason: str, n: int = 1) -> None:
        """Count pairs that selection or the token budget left out."""
        self._skipped.labels(self._run, reason).inc(n)

    def waited(self, kind: str, seconds: float) -> None:
        """Count time without a batch: `supply` where no record was there, `pipeline` where ours was slow."""
        self.wait.labels(self._run, kind).inc(seconds)
