# Each verb sets itself up on a bare machine: Python 3.11 or newer with venv is all it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
HOST   ?= 127.0.0.1
PORT   ?= 8000
RECIPE ?= cats-undercomplete

.PHONY: serve test check bench setup train format clean

serve: $(VENV)/.service  ## start the service with the shipped models on http://$(HOST):$(PORT)
	$(BIN)/autoencoder-service serve --host $(HOST) --port $(PORT)

test: $(VENV)/.dev  ## run all tests, with branch coverage
	$(BIN)/python -m tests.run_all

check: $(VENV)/.dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## the short benchmark: the service beside the floors (needs wrk)
	$(BIN)/python -m benchmarks.serving --short

setup: $(VENV)/.training  ## autoencoder-train and autoencoder-service in $(BIN)

train: $(VENV)/.training  ## make train RECIPE=cats-stacked
	$(BIN)/autoencoder-train $(RECIPE)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build runs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'   # 25.1: dependency groups

$(VENV)/.service: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.training: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[training]'
	@touch $@ $(VENV)/.service

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --upgrade 'pip>=25.1'   # a virtual environment that was there before may have an older one
	$(PIP) install --constraint constraints.txt --editable '.[training]' --group dev
	@touch $@ $(VENV)/.training $(VENV)/.service

$(VENV)/.ray: $(VENV)/.dev   # the extra `ray`, for its tests
	$(PIP) install --constraint constraints.txt --editable '.[training,ray]'
	@touch $@
