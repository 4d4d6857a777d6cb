"""How the processes reach Kafka and run: nothing here changes what is written, but for the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from streams.settings.section import Section


class KafkaSettings(Section):
    """How to reach Kafka; the same block serves kafka-python, aiokafka and Faust."""

    bootstrap_servers: str = ""
    """`host:port,…` of an outside cluster; empty: the embedded broker under `data_dir`."""
    replication_factor: int = Field(1, ge=1)
    """Of the topics we create. 3 with `min_insync_replicas` 2 on a real cluster."""
    min_insync_replicas: int = Field(1, ge=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    compression: Literal["none", "gzip", "lz4"] = "lz4"


class BrokerSettings(Section):
    """The embedded broker: one real Apache Kafka (KRaft) process on localhost."""

    port: int = Field(19092, ge=0, le=65535)
    """0 picks a free one."""
    heap_megabytes: int = Field(256, ge=128)
    jars_dir: Path | None = None
    """Where the jars are kept once fetched; default: the user's cache folder."""
    start_seconds: float = 60.0


class PipelineSettings(Section):
    """What is fixed when a pipeline is created."""

    lanes: int = Field(8, ge=1, le=4096)
    generation: str = "1"
    seed: int = 0
    """Every random choice of a stage is a hash of this, the content hash and the template."""


class MetricsSettings(Section):
    """Where each process serves /metrics."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    """0 picks a free one (shown by `status`); the supervisor sets it for its children."""


class RunnerSettings(Section):
    """How a stage is carried over Kafka; nothing here changes what is written."""

    window_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    """Inputs held by one worker; beyond it partitions are paused."""
    window_records: int = Field(2048, ge=1)
    tries: int = Field(3, ge=1)
    """Calls of a batch, then of each of its records alone, before a record is dead-lettered."""
    backoff_seconds: float = 0.2
    drain_seconds: float = 10.0
    """How long SIGTERM waits for calls in flight."""
    session_seconds: float = Field(6.0, ge=6.0)
    commit_seconds: float = 1.0
    deaths_before_isolation: int = 3
    """Deaths of a lane without progress after which it runs one record at a time in a child process."""
    memory_bytes: int = 6 * 1024**3
    """Limit of a worker's private memory (RLIMIT_DATA); 0: none. A record that needs more fails alone."""
    accept_loss: tuple[int, ...] = ()
    """Lanes that go on across a gap: counted, and recorded in `controls`."""
