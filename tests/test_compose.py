"""compose.yaml as text: its structure, its settings, and its commands against a real broker.

No container engine is needed, and none of its images is pulled: what only a running container can show, such
as the broker image's own start, is not tested here.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from streams import generations
from streams.broker.properties import FIXED
from streams.settings import STAGES, load

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
OURS = sorted(name for name in SERVICES if name != "kafka")


def environment(service):
    """A service's environment with the `${NAME:-default}` that compose would fill in."""
    return {
        key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        for key, value in SERVICES[service].get("environment", {}).items()
    }


def test_the_pipeline_is_all_there():
    assert set(SERVICES) == {"kafka", "setup", *STAGES, "trainer", "ingest"}
    assert set(COMPOSE) == {"name", "services", "volumes"} | {k for k in COMPOSE if k.startswith("x-")}
    for stage in STAGES:
        assert SERVICES[stage]["command"] == ["worker", stage]
    assert SERVICES["kafka"]["image"] == "apache/kafka:4.3.1"
    assert "profiles" in SERVICES["ingest"]  # on demand; all others start by themselves
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["ingest"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_well_formed(name):
    known = {
        "image", "build", "command", "entrypoint", "environment", "volumes", "depends_on", "healthcheck",
        "restart", "profiles", "init", "stop_grace_period",
    }  # fmt: skip
    service = SERVICES[name]
    assert set(service) <= known
    assert all(isinstance(value, str) for value in service.get("command", []))
    assert all(isinstance(value, (str, int)) for value in service.get("environment", {}).values())
    for other, condition in service.get("depends_on", {}).items():
        assert other in SERVICES
        assert "profiles" not in SERVICES[other]
        needs = condition["condition"]
        assert needs in {"service_healthy", "service_completed_successfully"}
        assert needs != "service_healthy" or "healthcheck" in SERVICES[other]
    for volume in service.get("volumes", []):
        source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
        assert source.startswith("./") or source in COMPOSE["volumes"]


def test_nothing_waits_for_itself():
    def reach(name, seen=()):
        assert name not in seen, f"{name} waits for itself"
        for other in SERVICES[name].get("depends_on", {}):
            reach(other, (*seen, name))

    for name in SERVICES:
        reach(name)


def test_the_broker_has_the_embedded_ones_settings():
    for key, value in environment("kafka").items():
        name = key.removeprefix("KAFKA_").lower().replace("_", ".")
        if name in FIXED:
            assert value == FIXED[name], name
    for name in FIXED:  # what would lose or expire records if it were left out
        if "retention" in name or "message" in name or "replication" in name or "auto.create" in name:
            assert f"KAFKA_{name.upper().replace('.', '_')}" in environment("kafka")


def settings_variables(service):
    return {k: v for k, v in environment(service).items() if k.startswith("FINESTREAM_")}


@pytest.mark.parametrize("name", OURS)
def test_a_services_environment_is_settings(name, monkeypatch):
    for key, value in settings_variables(name).items():
        monkeypatch.setenv(key, value)
    settings = load()
    assert settings.bootstrap_servers == "kafka:9092"
    assert not settings.embedded
    assert settings.pipeline.lanes == 48
    # All of one pipeline: a worker whose stage settings differ would refuse to start.
    assert settings_variables(name) == settings_variables("chunk")


def test_every_command_is_one_of_ours():
    for name in OURS:
        service = SERVICES[name]
        words = [*service.get("entrypoint", ["finestream"]), *service["command"]]
        assert words[0] == "finestream"
        done = subprocess.run(
            [sys.executable, "-c", "from streams.cli import main; main()", words[1], "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        for option in (word for word in words[2:] if word.startswith("--")):
            assert option in done.stdout


def test_setup_creates_the_pipeline_on_an_outside_cluster_and_ends(clean_broker, tmp_path):
    def finestream(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from streams.cli import main; main()", *arguments],
            env={
                **os.environ,
                **environment("setup"),
                "FINESTREAM_KAFKA__BOOTSTRAP_SERVERS": clean_broker.bootstrap_servers,
                "FINESTREAM_PIPELINE__LANES": "3",
                "FINESTREAM_METRICS__PORT": "0",
                "FINESTREAM_DATA_DIR": str(tmp_path),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=ROOT,
        )

    try:
        done = finestream(*SERVICES["setup"]["command"])
        assert done.returncode == 0, done.stderr
    finally:
        finestream("down")
    settings = load(
        data_dir=tmp_path, kafka={"bootstrap_servers": clean_broker.bootstrap_servers}, pipeline={"lanes": 3}
    )
    assert generations.load(settings, "match").lanes == 3


def test_the_image_copies_what_it_installs():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for source in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for name in source.split():
            assert f"!{name}" in ignore
    assert re.search(r"^FROM python:3\.11", dockerfile, re.MULTILINE)
    assert "USER finestream" in dockerfile
    for place in ("/data", "/cache"):  # the volumes' owner is the image's folder's
        assert re.search(rf"chown finestream .*{place}", dockerfile)
