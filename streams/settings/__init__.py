"""Settings: one tree for every process, one file a part of it."""

from streams.settings.chunk import ChunkSettings
from streams.settings.contamination import ContaminationSettings
from streams.settings.duplicates import DuplicateSettings
from streams.settings.infrastructure import (
    BrokerSettings,
    KafkaSettings,
    MetricsSettings,
    PipelineSettings,
    RunnerSettings,
)
from streams.settings.ingest import FieldSettings, IngestSettings
from streams.settings.section import STAGES, Section, Tuning
from streams.settings.serve import ServeSettings
from streams.settings.stages import (
    InstantiateSettings,
    JudgeSettings,
    MatchSettings,
    ModelStageSettings,
    StageSettings,
)
from streams.settings.trainer import TrainerSettings
from streams.settings.tree import Settings, config_file, default, load, stage_hash, to_environment

__all__ = [
    "STAGES",
    "BrokerSettings",
    "ChunkSettings",
    "ContaminationSettings",
    "DuplicateSettings",
    "FieldSettings",
    "IngestSettings",
    "InstantiateSettings",
    "JudgeSettings",
    "KafkaSettings",
    "MatchSettings",
    "MetricsSettings",
    "ModelStageSettings",
    "PipelineSettings",
    "RunnerSettings",
    "Section",
    "ServeSettings",
    "Settings",
    "StageSettings",
    "TrainerSettings",
    "Tuning",
    "config_file",
    "default",
    "load",
    "stage_hash",
    "to_environment",
]
