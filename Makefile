# One command each; every target sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

demo: $(READY)  ## A year of flights: a model made, served, going stale, remade, swapped, undone
	$(BIN)/python examples/flights/demo.py

test: $(READY) lint  ## Lint, types, import contracts and the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not soak"

lint: $(READY)  ## Style, types and import contracts
	$(BIN)/ruff check src tests benchmarks examples docs/generate.py
	$(BIN)/ruff format --check src tests benchmarks examples docs/generate.py
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## Every benchmark; results go to benchmarks/results
	$(BIN)/python -m benchmarks

soak: $(READY)  ## Long campaigns: thousands of kills and histories
	$(BIN)/python -m pytest -q -m soak

clean:  ## Remove the environment and what runs left behind
	rm -rf $(VENV) examples/*/data examples/*/.everloop out

# PyTorch first and alone: with its version pinned, nothing later pulls in another build of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
