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
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from streams.errors import SettingsError
from streams.settings.chunk import ChunkSettings
from streams.settings.infrastructure import (
    BrokerSettings,
    KafkaSettings,
    MetricsSettings,
    PipelineSettings,
    RunnerSettings,
)
from streams.settings.ingest import IngestSettings
from streams.settings.serve import ServeSettings
from streams.settings.stages import InstantiateSettings, JudgeSettings, MatchSettings, StageSettings
from streams.settings.trainer import TrainerSettings


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
    serve: ServeSettings = ServeSettings()

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
    """Return 16 hex digits over everything in a stage's section (and the seed) that shapes its output.

    Raises `SettingsError` where a file that the section names is missing.
    """
    kept = settings.stage(stage).shaping()
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
            elif isinstance(value, (tuple, dict)):
                out[key] = json.dumps(model.model_dump(mode="json", include={name})[name])
            elif value is not None:
                out[key] = str(value)

    walk("FINESTREAM_", settings)
    return out


@cache
def default() -> Settings:
    """Return the tree as environment and file give it (read once a process)."""
    return load()
