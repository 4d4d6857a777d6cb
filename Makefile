# One verb a target. `make install` is the only step that needs a network; everything else runs on what it left.
#
#   make demo ARGS="…"     the main job, on this machine; ARGS as in `finestream demo --help`
#   make test ARGS="…"     the tests that fit into minutes, JOBS=2 files at once; ARGS go to pytest
#   make bench NAMES="…"   benchmarks, all or by name: figures against their goals
#   make chaos ARGS="…"    the long run: kills, zombies, a full comparison of the ledger (ARGS=--help); long tests
#   make lint              ruff, its formatter, mypy
#
# torch comes as its CUDA build from the default registry, about 4.5 GB. Who can reach the CPU builds sets
# UV_TORCH_BACKEND=cpu. A machine with a GPU takes EXTRAS=gpu,dev in a fresh .venv: faiss-cpu and faiss-gpu
# install the same module.

PYTHON ?= python3.11
EXTRAS ?= cpu,dev
# Most of a test's time is spent waiting for processes; more than two at once get into each other's way.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(EXTRAS)

# Where it is set, every process compiles torch anew: imports take 19 s instead of 7.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test bench chaos lint clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   make/make/p' Makefile

install: $(STAMP)

# The stamp is younger than what it was made from, so a second call does nothing. uv resolves and unpacks in
# under a minute what pip alone takes twelve for; pip stays as the way where uv cannot be had.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is no Python 3.11 with venv: install it, or name one: make install PYTHON=…/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv || \
		echo "uv cannot be had here: going on with pip, which takes some twelve minutes" >&2
	@if test -x $(BIN)/uv; then \
		UV_HTTP_TIMEOUT=$${UV_HTTP_TIMEOUT:-300} $(BIN)/uv pip install --python $(BIN)/python -e '.[$(EXTRAS)]'; \
	else \
		$(BIN)/python -m pip install --disable-pip-version-check -e '.[$(EXTRAS)]'; \
	fi
	@$(BIN)/python -m streams.broker >/dev/null || \
		echo "going on without the embedded broker: it is fetched when it is first started" >&2
	@touch $@

demo: $(STAMP)
	@$(BIN)/finestream demo $(ARGS)

test: $(STAMP)
	@$(BIN)/python -m pytest -rs -m 'not long' -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS); result=$$?; \
	echo "left out: tests marked long (named above; make chaos), figures (make bench); and, for want of the"; \
	echo "machine: faiss-gpu and torch on a GPU, vLLM on a GPU, the containers of compose.yaml (checked as text)"; \
	exit $$result

bench: $(STAMP)
	@$(BIN)/python tests/benchmarks/run.py $(NAMES)

chaos: $(STAMP)
	@$(BIN)/python tests/chaos/run.py $(ARGS)
	@$(BIN)/python -m pytest -m long

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
