# make quickstart   set up, then the whole chain in a few minutes: runs/quickstart/report/
# make test         set up, then style, types and tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup quickstart test lint types docs benchmarks horovod slurm-install slurm-up \
  slurm-down slurm-test clean

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

setup: $(VENV)/.ready

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[mpi,dev]"
	touch $@

quickstart: setup
	$(BIN)/hpc-gw run jobs/quickstart.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

test: setup lint types
	$(BIN)/python -m pytest

# make benchmarks   time waveforms and data against gwsurrogate and the published scheme
benchmarks: setup
	$(BIN)/python benchmarks/waveforms.py
	$(BIN)/python benchmarks/data.py

# make horovod      build Horovod for this Python and torch, and install it (minutes, once)
# Its last release asks compilers for C++14, and torch's headers need C++17: $(HOROVOD_CXX) is a
# compiler that reads one for the other. The wheel is kept outside the checkout.
HOROVOD := 0.28.1
HOROVOD_JOBS ?= 2
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hpc_gw/wheels
HOROVOD_CXX := $(WHEELS)/cxx17

horovod: setup
	mkdir -p "$(WHEELS)"
	printf '#!/usr/bin/env bash\nexec %s "$${@/#-std=c++14/-std=c++17}"\n' "$$(command -v $(CXX))" > "$(HOROVOD_CXX)"
	chmod +x "$(HOROVOD_CXX)"
	$(BIN)/python -m pip install --quiet wheel packaging cloudpickle psutil pyyaml "cmake<4" "setuptools<81"
	wheels="$(WHEELS)/$$($(BIN)/python -c 'import sys, torch; print("python%d.%d-torch%s" % (*sys.version_info[:2], torch.__version__))')"; \
	ls "$$wheels"/horovod-$(HOROVOD)-*.whl > /dev/null 2>&1 || \
	env PATH="$(abspath $(BIN)):$$PATH" CXX="$(HOROVOD_CXX)" MAKEFLAGS="-j$(HOROVOD_JOBS)" \
	  HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
	  HOROVOD_WITH_GLOO=1 HOROVOD_WITH_MPI=1 \
	  $(BIN)/python -m pip wheel --no-build-isolation --no-deps horovod==$(HOROVOD) -w "$$wheels" && \
	$(BIN)/python -m pip install --no-deps --force-reinstall "$$wheels"/horovod-$(HOROVOD)-*.whl
	$(BIN)/python -c 'import mpi4py.MPI, horovod.torch; print("Horovod", horovod.__version__, "is installed")'

# make slurm-install  Debian's Slurm, to try batch jobs on this machine (root)
slurm-install:
	slurm/test_cluster/install

# make slurm-up     start a Slurm of one node here, on 127.0.0.1 only (root), and say how to use it
# make slurm-down   stop it
SLURM_FOLDER ?=

slurm-up:
	@slurm/test_cluster/up $(SLURM_FOLDER)

slurm-down:
	slurm/test_cluster/down $(SLURM_FOLDER)

# make slurm-test   the tests of batch jobs: on that cluster if SLURM_CONF says so, or on their own
slurm-test: setup
	$(BIN)/python -m pytest tests/slurm

# make docs         the documentation, into site/
docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site runs *.egg-info
