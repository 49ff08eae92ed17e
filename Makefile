# make quickstart   set up, then the whole chain in a few minutes: runs/quickstart/report/
# make test         set up, then style, types and tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup quickstart test lint types docs benchmarks clean

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

# make docs         the documentation, into site/
docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site runs *.egg-info
