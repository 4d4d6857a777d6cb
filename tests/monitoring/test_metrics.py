"""Each process's metrics as Prometheus sees them: served, scraped over HTTP, read by its own rules."""

import re
import urllib.request

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from monitoring.metrics import (
    DEATHS,
    LLM_OUTCOMES,
    BuildMetrics,
    EngineMetrics,
    IngestMetrics,
    StageMetrics,
    SupervisorMetrics,
    TrainerMetrics,
    serve,
)
from streams.ingest.items import SkipReason, StubReason
from streams.settings import STAGES


def scrape(registry):
    """Serve a registry, read it over HTTP as Prometheus would, and return (text, families by name)."""
    port = serve("127.0.0.1", 0, registry)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    return text, {family.name: family for family in text_string_to_metric_families(text)}


def samples(families):
    """All samples of a scrape: (name, labels) -> value."""
    return {
        (s.name, frozenset(s.labels.items())): s.value for family in families.values() for s in family.samples
    }


def value(families, name, **labels):
    return samples(families)[f"finestream_{name}", frozenset(labels.items())]


def everything(registry):
    """One of each class, as its process makes it."""
    return {
        "build": lambda: BuildMetrics(registry, "worker-chunk", "0.1.0"),
        "stage": lambda: StageMetrics(registry, "chunk", ("too_short", "language")),
        "ingest": lambda: IngestMetrics(registry, SkipReason, StubReason, ("done", "damaged")),
        "supervisor": lambda: SupervisorMetrics(registry, ("chunk-0", "chunk-1")),
        "trainer": lambda: TrainerMetrics(registry, "main"),
        "engine": lambda: EngineMetrics(registry, "judge", "m"),
    }


CLASSES = sorted(everything(None))


@pytest.fixture(params=CLASSES)
def scraped(request):
    registry = CollectorRegistry()
    it = everything(registry)[request.param]()
    text, families = scrape(registry)
    return request.param, it, text, families


# https://prometheus.io/docs/practices/naming: base units, counters end in _total, no unit twice.
NOT_BASE = re.compile(r"_(milliseconds|ms|minutes|hours|kilobytes|kb|mb|percent|megabytes)(_|$)")


def test_names_follow_the_rules(scraped):
    _, _, text, families = scraped
    assert families
    for name, family in families.items():
        assert re.fullmatch(r"finestream_[a-z][a-z0-9_]*", name), name
        assert "__" not in name
        assert not NOT_BASE.search(name), name
        assert family.type in {"counter", "gauge", "histogram"}, (name, family.type)
        assert family.documentation.endswith("."), name
        assert not name.endswith(("_total", "_sum", "_count", "_bucket")), name  # the parser took them off
        suffixes = {s.name.removeprefix(name) for s in family.samples}
        match family.type:
            case "counter":
                assert suffixes <= {"_total"}, (name, suffixes)
            case "gauge":
                assert suffixes <= {""}, (name, suffixes)
            case "histogram":
                assert suffixes <= {"_bucket", "_count", "_sum"}, (name, suffixes)
                assert name.endswith("_seconds"), name
                assert {s.labels["le"] for s in family.samples if "le" in s.labels} >= {
                    "+Inf",
                    "0.001",
                    "300.0",
                }
        for sample in family.samples:
            for label in sample.labels:
                assert re.fullmatch(r"[a-z][a-z0-9_]*", label), (name, label)
                assert label not in {"job", "instance"}  # the scraper's own
    assert "_created" not in text


def test_a_process_owns_what_it_exports(scraped):
    """A catalogue registered whole would export another process's gauges as 0."""
    name, _, _, families = scraped
    prefix = {
        "build": "finestream_build_",
        "stage": "finestream_",
        "ingest": "finestream_ingest_",
        "supervisor": "finestream_supervised_",
        "trainer": "finestream_trainer_",
        "engine": "finestream_llm_",
    }[name]
    assert all(family.startswith(prefix) for family in families)
    if name == "stage":
        strangers = (
            "finestream_llm",
            "finestream_ingest",
            "finestream_trainer",
            "finestream_supervised",
            "finestream_build",
        )
        assert not [family for family in families if family.startswith(strangers)]


def test_no_two_classes_define_a_name():
    registry = CollectorRegistry()
    for make in everything(registry).values():
        make()  # the registry refuses a name it has
    _, families = scrape(registry)
    assert len(families) > 30


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_starts_at_zero_and_counts(stage):
    registry = CollectorRegistry()
    metrics = StageMetrics(registry, stage, ("too_short", "language"))
    _, before = scrape(registry)
    for reason in ("too_short", "language"):
        assert value(before, "records_dropped_total", stage=stage, reason=reason) == 0
    for error in DEATHS:
        assert value(before, "records_dead_lettered_total", stage=stage, error=error) == 0
    assert value(before, "records_in_total", stage=stage, mode="live") == 0
    assert value(before, "records_out_total", stage=stage, mode="live") == 0
    for name in ("records_passed_total", "records_duplicate_total", "losses_accepted_total"):
        assert value(before, name, stage=stage) == 0
    for name in ("records_inflight", "lanes_open", "lanes_isolated", "lanes_stopped"):
        assert value(before, name, stage=stage) == 0
    for name in ("record_seconds", "batch_seconds", "record_age_seconds"):
        assert value(before, f"{name}_count", stage=stage) == 0

    metrics.records_in.inc(5)
    metrics.dropped("too_short", 2)
    metrics.dead("RecordError")
    metrics.retried("TimeoutError")
    metrics.inflight.set(3)
    metrics.batch_seconds.observe(0.02)
    _, after = scrape(registry)
    assert value(after, "records_in_total", stage=stage, mode="live") == 5
    assert value(after, "records_dropped_total", stage=stage, reason="too_short") == 2
    assert value(after, "records_dead_lettered_total", stage=stage, error="RecordError") == 1
    assert value(after, "record_retries_total", stage=stage, error="TimeoutError") == 1
    assert value(after, "records_inflight", stage=stage) == 3
    assert value(after, "batch_seconds_bucket", stage=stage, le="0.025") == 1
    assert value(after, "batch_seconds_bucket", stage=stage, le="0.01") == 0


def test_the_ingester_starts_at_zero_for_every_reason():
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry, SkipReason, StubReason, ("done", "damaged"))
    _, before = scrape(registry)
    assert {value(before, "ingest_skipped_total", reason=r.value) for r in SkipReason} == {0}
    assert {value(before, "ingest_stubs_total", reason=r.value) for r in StubReason} == {0}
    assert {value(before, "ingest_sources_total", outcome=o) for o in ("done", "damaged")} == {0}
    assert value(before, "ingest_documents_total") == value(before, "ingest_bytes_total") == 0
    metrics.skipped.labels(SkipReason.REVISIT.value).inc()
    _, after = scrape(registry)
    assert value(after, "ingest_skipped_total", reason="revisit") == 1


def test_the_trainer_starts_at_zero_and_counts():
    registry = CollectorRegistry()
    metrics = TrainerMetrics(registry, "main")
    _, before = scrape(registry)
    for name in ("steps", "pairs", "records_duplicate", "nonfinite_steps"):
        assert value(before, f"trainer_{name}_total", run="main") == 0
    assert value(before, "trainer_tokens_total", run="main", source="live") == 0
    assert {
        value(before, "trainer_wait_seconds_total", run="main", kind=k) for k in ("pipeline", "supply")
    } == {0}
    metrics.skipped("score", 4)
    metrics.waited("supply", 1.5)
    metrics.loss.set(float("nan"))  # a loss that is no number is shown as it is
    metrics.offset.labels("main", "judged", "3").set(17)
    _, after = scrape(registry)
    assert value(after, "trainer_pairs_skipped_total", run="main", reason="score") == 4
    assert value(after, "trainer_wait_seconds_total", run="main", kind="supply") == 1.5
    assert value(after, "trainer_loss", run="main") != value(after, "trainer_loss", run="main")
    assert value(after, "trainer_checkpoint_offset", run="main", topic="judged", partition="3") == 17


def test_an_engine_starts_at_zero_and_counts():
    registry = CollectorRegistry()
    metrics = EngineMetrics(registry, "judge", "m")
    _, before = scrape(registry)
    names = {"stage": "judge", "model": "m"}
    assert {value(before, "llm_requests_total", **names, outcome=o) for o in LLM_OUTCOMES} == {0}
    kinds = ("prompt", "cached", "completion")
    assert {value(before, "llm_tokens_total", **names, kind=kind) for kind in kinds} == {0}
    assert value(before, "llm_replicas_up", **names) == value(before, "llm_requests_limit", **names) == 0
    metrics.ended("timeout")
    metrics.answered(10, 8, 2, 0.02)
    _, after = scrape(registry)
    assert value(after, "llm_requests_total", **names, outcome="timeout") == 1
    assert [value(after, "llm_tokens_total", **names, kind=kind) for kind in kinds] == [10, 8, 2]
    assert value(after, "llm_request_seconds_bucket", **names, le="0.025") == 1


def test_slots_and_build_are_named():
    registry = CollectorRegistry()
    BuildMetrics(registry, "supervisor", "0.1.0")
    supervisor = SupervisorMetrics(registry, ("chunk-0",))
    supervisor.stands("chunk-0", up=True, restarts=2)
    _, families = scrape(registry)
    assert value(families, "build_info", version="0.1.0", role="supervisor") == 1
    assert value(families, "supervised_process_up", slot="chunk-0") == 1
    assert value(families, "supervised_process_restarts", slot="chunk-0") == 2
