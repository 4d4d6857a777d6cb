"""How `finestream engine` serves a model on this machine; nothing here changes what a stage asks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from streams.settings.section import Section


class ServeSettings(Section):
    """vLLM in an environment of its own: one process, or one for each group of GPUs."""

    model: str = ""
    """A folder, or a name that vLLM fetches; empty: `finestream up` starts no engine."""
    name: str = "default"
    """What the model is called in requests (`model.model` of the stages that ask it)."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """`auto`: a GPU where the machine has one."""
    servers: int = Field(1, ge=0)
    """Processes, each with a copy of the model; 0: as many as the GPUs allow."""
    port: int = Field(8000, ge=1, le=65535)
    """Of the first server, on 127.0.0.1; the others follow."""
    dtype: str = "auto"
    """`auto`: the model's own on a GPU, float32 on a CPU (bfloat16 dies where AMX is only advertised)."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    quantization: str = ""
    """Such as `fp8`; empty: as the model's files say."""
    max_model_len: int = Field(0, ge=0)
    """Tokens of prompt and answer together; 0: the model's own."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_cache_gigabytes: int = Field(4, ge=1)
    """For keys and values where the model runs on a CPU."""
    speculative: Literal["off", "ngram", "suffix"] = "off"
    """Drafts from the text so far, since answers copy their document. `suffix` wants arctic-inference in the
    environment (`serve.packages`)."""
    speculative_tokens: int = Field(5, ge=1)
    """Drafted at once (`suffix`: at most)."""
    prefix_caching: bool = True
    """Compute the head that a segment's prompts share once."""
    args: tuple[str, ...] = ()
    """Further arguments of vLLM's server, behind ours."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Further environment variables of the server."""
    packages: tuple[str, ...] = ()
    """Requirements beside vLLM in its environment, as pip writes them; each list has its own environment."""
    command: tuple[str, ...] = ()
    """Another program that speaks the same API, instead of vLLM and its environment; `{port}`, `{model}` and
    `{name}` are filled in."""
    environments_dir: Path | None = None
    """Where vLLM's environments are kept; default: the user's cache folder."""
    api_key_env: str = Field("", pattern=r"^([A-Z_][A-Z0-9_]*)?$")
    """*Name* of the environment variable that holds the key which the server insists on; empty: none."""
    start_seconds: float = Field(1800.0, gt=0)
    """From its start to its first token; past it a server is started anew."""
    hang_seconds: float = Field(120.0, gt=0)
    """Without any token while requests run or wait: then the server hangs, and is killed and started anew."""
    probe_seconds: float = Field(15.0, gt=0)
    """Without any token: then one is asked for."""
    probe_timeout_seconds: float = Field(60.0, gt=0)
    """For that token, or any other meanwhile: past it the server hangs."""
    look_seconds: float = Field(1.0, gt=0)
    """How often the server's metrics are read."""
    restart_most_seconds: float = Field(60.0, ge=0)
    """Pause before a server is started again: none at first, then 1 s, doubled up to here."""
    failed_starts: int = Field(3, ge=0)
    """In a row, before any server ever gave a token: then `finestream engine` ends with the server's last
    words. 0: it tries for ever."""

    @field_validator("environment")
    @classmethod
    def _names(cls, environment: dict[str, str]) -> dict[str, str]:
        """Refuse what is no name of a variable."""
        for name, value in environment.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"{name!r} is no environment variable")
        return environment

    @field_validator("name")
    @classmethod
    def _is_said(cls, name: str) -> str:
        """Refuse an empty name."""
        if not name.strip():
            raise ValueError("a served model has a name")
        return name
